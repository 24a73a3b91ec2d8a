"""Real document tokens a second: our loop against transformers' Trainer, in one run, interleaved.

    python tests/benchmarks/throughput.py --model FOLDER --corpus FILE.jsonl.zst [--rounds 3] [--precision fp32 bf16]

The same model, documents, tokenizer, masked share and length for all. Prints medians and ratios and writes
reports/results/benchmarks/throughput.json. Absolute times depend on the machine; read the ratios.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTH, MASK_RATE, BATCH = 512, 0.15, 8
RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "throughput.json"
VARIANTS = ("ours", "trainer padded", "trainer blocks")


def documents(corpus: str, tokenizer, count: int) -> list[list[int]]:
    """Token ids without specials, cut to what one context holds, as all variants train on them."""
    from medlingua.languages.documents import read_documents

    texts = [d.text for d, _ in zip(read_documents(corpus, source="benchmark"), range(count), strict=False)]
    encoded = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=LENGTH - 2)["input_ids"]
    return [ids for ids in encoded if ids]


def ours(model_folder: str, corpus: str, count: int, precision: str, warmup: int, steps: int) -> dict:
    import numpy as np
    from medlingua.adapters.encoder import load
    from medlingua.recipes.machine import Precision, device, keep_pages
    from medlingua.recipes.settings import Phase, Train
    from medlingua.recipes.text.shards import Shard
    from medlingua.recipes.training.batches import Place, Stream, batches, frame_of
    from medlingua.recipes.training.learner import plain_learner
    from medlingua.recipes.training.objectives import LanguageModelLoss, masker
    from medlingua.recipes.training.optimizer_step import step

    keep_pages()
    encoder = load(model_folder)
    encoder.model.to(device()).train()
    texts = documents(corpus, encoder.tokenizer, count)
    starts = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    shard = Shard(
        "benchmark", np.concatenate(texts).astype(np.uint16), starts, np.arange(len(texts), dtype=np.uint64),
        np.ones(len(texts), dtype=np.uint64), None, ("",),
    )  # fmt: skip
    stream = Stream(
        (shard,), Phase(tokens=1), 0, 0, frame_of(encoder.tokenizer, LENGTH),
        masker(encoder.tokenizer, "piece", MASK_RATE),
    )  # fmt: skip
    learner = plain_learner(encoder, Train(), Precision("bf16" if precision == "bf16" else "fp32", ""))
    if learner.working is not None:
        learner.working.prepare(0.0)
    objective = LanguageModelLoss(learner.passing)
    tokens, began = 0, 0.0
    faults = 0
    for number, batch in enumerate(batches(stream, Place(), 8_192, 8_192, encoder.first_position)):
        if number == warmup:
            began, faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if number == warmup + steps:
            break
        step(learner, objective, batch, 5e-5)
        tokens += batch.tokens if number >= warmup else 0
    return _measured(tokens, time.perf_counter() - began, faults, steps)


def trainer(
    model_folder: str, corpus: str, count: int, precision: str, warmup: int, steps: int, blocks: bool
) -> dict:
    import torch
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForMaskedLM.from_pretrained(model_folder, dtype=torch.float32)
    texts = documents(corpus, tokenizer, count)
    if blocks:
        flat = [i for ids in texts for i in [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]]
        examples = [flat[i : i + LENGTH] for i in range(0, len(flat) - LENGTH, LENGTH)]
    else:
        examples = [[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id] for ids in texts]

    class Counting(DataCollatorForLanguageModeling):
        real: list[int] = []  # noqa: RUF012 -- a tally for this script

        def __call__(self, features, return_tensors=None):
            self.real.append(sum(len(f["input_ids"]) for f in features))
            return super().__call__(features, return_tensors)

    class Clock(TrainerCallback):
        began, ended, faults = 0.0, 0.0, 0

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == warmup:
                self.began, self.faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            if state.global_step == warmup + steps:
                self.ended = time.perf_counter()

    collator, clock = Counting(tokenizer, mlm_probability=MASK_RATE), Clock()
    arguments = TrainingArguments(
        tempfile.mkdtemp(), per_device_train_batch_size=BATCH, max_steps=warmup + steps, bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    Trainer(
        model,
        arguments,
        data_collator=collator,
        train_dataset=[{"input_ids": e} for e in examples],
        callbacks=[clock],
    ).train()
    tokens = sum(collator.real[warmup : warmup + steps])
    return _measured(tokens, clock.ended - clock.began, clock.faults, steps)


def _measured(tokens: int, seconds: float, faults_before: int, steps: int) -> dict:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "tokens_per_second": tokens / seconds,
        "peak_memory_mib": usage.ru_maxrss / 1024,
        "faults_per_step": (usage.ru_minflt - faults_before) / steps,
    }


def one(options: argparse.Namespace) -> None:
    """One variant in a process of its own, so that peak memory and allocator settings are its own."""
    common = (options.model, options.corpus, options.documents, options.precision[0])
    if options.variant == "ours":
        # Ours fills its heap in the first steps; the trainer faults its pages in anew at each.
        measured = ours(*common, 5, 2 * options.steps)
    else:
        measured = trainer(*common, 1, options.steps, options.variant == "trainer blocks")
    print(json.dumps(measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--variant", choices=VARIANTS)
    options = parser.parse_args()
    if options.variant:
        one(options)
        return
    from medlingua.recipes.machine import describe

    cells: dict[tuple[str, str], list[dict]] = {}
    for _ in range(options.rounds):
        for precision in options.precision:
            for variant in VARIANTS:
                command = [sys.executable, __file__, "--model", options.model, "--corpus", options.corpus]
                command += ["--documents", str(options.documents), "--steps", str(options.steps)]
                command += ["--precision", precision, "--variant", variant]
                answer = subprocess.run(command, capture_output=True, text=True, check=True)
                cells.setdefault((variant, precision), []).append(json.loads(answer.stdout.splitlines()[-1]))
    import torch

    baseline = _median(cells["trainer padded", options.precision[0]], "tokens_per_second")
    rows = []
    print(f"{describe()}\n{'variant':16} {'precision':9} {'tokens/s':>9} {'ratio':>6} {'MiB':>7} {'faults/step':>12}")
    for (variant, precision), runs in cells.items():
        rate = _median(runs, "tokens_per_second")
        row = {
            "variant": variant,
            "precision": precision,
            "tokens_per_second": round(rate),
            "ratio_to_padded_fp32": round(rate / baseline, 2),
            "peak_memory_mib": round(_median(runs, "peak_memory_mib")),
            "faults_per_step": round(_median(runs, "faults_per_step")),
        }
        rows.append(row)
        print("{variant:16} {precision:9} {tokens_per_second:9} {ratio_to_padded_fp32:6} {peak_memory_mib:7} "
              "{faults_per_step:12}".format(**row))  # fmt: skip
    rates = {"fp32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    whole = {
        "machine": describe(),
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "matrix_product_tflops": {k: round(v / 1e12, 3) for k, v in rates.items()},
        "rows": rows,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def matrix_rate(dtype, size: int = 2048, repeats: int = 4) -> float:
    """Best measured rate of a square matrix product, in FLOP/s."""
    import torch

    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    a @ b
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _median(runs: list[dict], key: str) -> float:
    return statistics.median(row[key] for row in runs)


if __name__ == "__main__":
    main()
