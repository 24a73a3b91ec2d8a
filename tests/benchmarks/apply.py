"""`adapt apply` beside a pipeline of transformers on the same long notes: words a second, and shared entities.

    python -m tests.benchmarks.apply --model MODEL --notes 12 --words 2000 [--results FILE]

MODEL: a folder of adapt finetune with tags (BERT-like). Both use the same precision and threads, and take turns. The
pipeline reads long notes with its own `stride`, of a quarter of the length, which is the overlap of our windows.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from medlingua.languages.cases import generate_cases
from medlingua.languages.pack import load_pack
from medlingua.recipes import machine
from medlingua.recipes.inference.annotator import Annotator
from transformers import pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lang", default="fr")
    parser.add_argument("--notes", type=int, default=12)
    parser.add_argument("--words", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    notes = long_notes(given.lang, given.notes, given.words)
    words = sum(len(note.split()) for note in notes)
    annotate = Annotator(given.model)
    length = annotate.encoder.length
    stock = pipeline(
        "token-classification", model=str(given.model), aggregation_strategy="first", stride=length // 4, device="cpu"
    )
    precision = machine.precision_of("auto", annotate.encoder.device).name
    machine.keep_pages()
    list(annotate(notes[:1]))  # what is imported and allocated once
    stock(notes[:1])
    seconds: dict[str, list[float]] = {"medlingua": [], "pipeline": [], "pipeline, batches of 8": []}
    for _ in range(given.rounds):
        for name in seconds:
            started = time.perf_counter()
            if name == "medlingua":
                ours = [{(e.start, e.end, e.label) for e in a.entities} for a in annotate(notes)]
            else:
                with torch.inference_mode():
                    answers = stock(notes, batch_size=8 if "8" in name else 1)
                theirs = [{(e["start"], e["end"], e["entity_group"]) for e in of} for of in answers]
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {words / seconds[name][-1]:,.0f} words a second", flush=True)
    shared = sum(len(a & b) for a, b in zip(ours, theirs, strict=True))
    of_both = sum(len(a | b) for a, b in zip(ours, theirs, strict=True))
    best = {name: words / statistics.median(times) for name, times in seconds.items()}
    row = {
        "machine": machine.describe(),
        "precision": precision,
        "threads": given.threads,
        "notes": len(notes),
        "words": words,
        "length": length,
        "synthetic": True,
        "words_per_second": {name: round(value) for name, value in best.items()},
        "ratio": round(best["medlingua"] / max(v for n, v in best.items() if n != "medlingua"), 2),
        "same_entities": f"{shared} of {of_both}",
    }
    print(json.dumps(row, indent=2))
    if given.results:
        given.results.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def long_notes(lang: str, count: int, words: int) -> list[str]:
    """Synthetic cases, joined until a note is long enough."""
    notes = []
    for number in range(count):
        parts: list[str] = []
        for case in generate_cases(load_pack(lang), 40, number, (150, 400)):
            parts.append(case.document.text)
            if sum(len(part.split()) for part in parts) >= words:
                break
        notes.append("\n\n".join(parts))
    return notes


if __name__ == "__main__":
    main()
