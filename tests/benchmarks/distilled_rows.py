"""A model whose new rows are distilled from what its base makes of the same words, for `rows.py --also`.

    python tests/benchmarks/distilled_rows.py --run RUN --out MODEL [--tokens 300000] [--lr 1e-3]

--run: a run with adapt.vocabulary = "replace"; its start/ is where the rows begin. The base reads a stretch of the
run's training text in its own pieces, the start reads it in the new ones, and the rows of the new pieces alone are
learnt, until the words' states after the last layer are alike: the distillation of AweDist (arXiv 2505.20133), by
words on both sides, as no new piece is a row of old ones here. Prints the distance, mean squared over variance.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medlingua.languages.pack import load_pack
from medlingua.languages.words import words
from medlingua.recipes.resolve import read_run
from medlingua.recipes.text.corpus import training_texts
from medlingua.recipes.text.inputs import Inputs
from medlingua.recipes.text.sources import select
from medlingua.recipes.text.task_set import TaskSet
from transformers import AutoModelForMaskedLM, AutoTokenizer

WORDS, BATCH, LOG_EVERY = 64, 16, 100

Stretch = tuple[str, list[tuple[int, int]]]


def stretches(run: Any) -> Iterator[Stretch]:
    """Texts of 64 words and where each word lies, in an order drawn from the run's seed."""
    pack = load_pack(run.lang)
    excerpts = []
    for text in training_texts(Inputs(run, pack, select(run, pack), TaskSet((), {}, (), ()))):
        places = words(text, pack.spacy)
        for first in range(0, len(places) - WORDS + 1, WORDS):
            chosen = places[first : first + WORDS]
            begin = chosen[0][0]
            excerpts.append((text[begin : chosen[-1][1]], [(a - begin, b - begin) for a, b in chosen]))
    for index in np.random.default_rng(run.train.seed).permutation(len(excerpts)):
        yield excerpts[index]


def read(body: Any, tokenizer: Any, batch: list[Stretch]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(words, width) the mean of each word's pieces after the last layer, (words,) whether it has any, and tokens."""
    rows = tokenizer([text for text, _ in batch], padding=True, return_tensors="pt", return_offsets_mapping=True)
    offsets = rows.pop("offset_mapping").numpy()
    states = body(**{key: rows[key] for key in ("input_ids", "attention_mask")}).last_hidden_state
    inside = np.zeros((len(batch), WORDS, offsets.shape[1]), dtype=np.float32)
    for row, (_, places) in enumerate(batch):
        starts, ends = offsets[row, :, 0], offsets[row, :, 1]
        for word, (a, b) in enumerate(places):
            inside[row, word] = (starts < b) & (ends > a) & (ends > starts)
    weights = torch.from_numpy(inside)
    counts = weights.sum(-1, keepdim=True)
    means = (weights / counts.clamp(min=1)) @ states
    return means.flatten(0, 1), counts.flatten() > 0, int(rows["attention_mask"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    run, start = read_run(given.run), str(given.run / "start")
    torch.manual_seed(run.train.seed)
    teacher = AutoModelForMaskedLM.from_pretrained(run.base, dtype=torch.float32).eval()
    student = AutoModelForMaskedLM.from_pretrained(start, dtype=torch.float32).eval()
    old, new = AutoTokenizer.from_pretrained(run.base), AutoTokenizer.from_pretrained(start)
    table = student.get_input_embeddings().weight
    student.requires_grad_(False)
    table.requires_grad_(True)
    optimizer = torch.optim.AdamW([table], lr=given.lr, weight_decay=0.0)
    texts, done, steps, recent = stretches(run), 0, 0, []
    while done < given.tokens:
        batch = [next(texts) for _ in range(BATCH)]
        with torch.no_grad():
            taught, known, _ = read(teacher.base_model, old, batch)
        learnt, seen, tokens = read(student.base_model, new, batch)
        both = known & seen
        loss = torch.nn.functional.mse_loss(learnt[both], taught[both]) / taught[both].var()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = given.lr * (1 - done / given.tokens)
        optimizer.step()
        done, steps = done + tokens, steps + 1
        recent.append(float(loss.detach()))
        if steps % LOG_EVERY == 0 or done >= given.tokens:
            print(f"{done:>9,} tokens, distance {np.mean(recent[-LOG_EVERY:]):.4f}", flush=True)
    student.save_pretrained(given.out)
    AutoTokenizer.from_pretrained(start).save_pretrained(given.out)  # a tokenizer keeps the padding of its last call


if __name__ == "__main__":
    main()
