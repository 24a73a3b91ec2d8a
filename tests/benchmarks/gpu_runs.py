"""What whole runs do on a GPU: speed beside the stock Trainer, a stop and a resumption, fine-tuning, two processes.

    python tests/benchmarks/gpu_runs.py [--only run trainer resume finetune processes] [--seconds 300]

No download, no corpus: a BERT of base size with random weights and a tokenizer learnt here, on synthetic French cases
written for this project. Writes reports/results/benchmarks/gpu-runs-<name>.json. Runs on a CPU too, with a tiny
model, which shows that the script itself is right.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import throughput
from tests.benchmarks.gpu_device import ON_GPU, attempt
from tests.recipes.conftest import cases, write_base, write_jsonl

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks"
COMMAND = [sys.executable, "-m", "medlingua.recipes.command"]


class Scale(NamedTuple):
    """model: changes to the config of the tests' BERT. tokens, checkpoint: of a run. steps: of a comparison."""

    vocabulary: int
    model: dict[str, int]
    documents: int
    tokens: int
    checkpoint: int
    steps: int


GPU = Scale(
    8_000,
    {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3_072,
     "max_position_embeddings": 512},
    4_000, 8_000_000, 2_000_000, 40,
)  # fmt: skip
CPU = Scale(600, {"max_position_embeddings": 512}, 80, 30_000, 8_000, 2)


def line(folder: Path, tokens: int, scale: Scale) -> list[str]:
    """The command line of a run, without --out."""
    settings = {
        "train.tokens": tokens,
        "train.batch_tokens": 65_536 if ON_GPU else 512,
        "train.checkpoint_tokens": scale.checkpoint,
        "train.eval_tokens": tokens,
        "train.lr": 5e-5 if ON_GPU else 1e-3,
        "train.collapse": "warn",
        "eval.tasks": "none",
    }
    given = [*COMMAND, "--strategy", "continue", "--lang", "fr", "--base", str(folder / "base")]
    given += ["--corpus", str(folder / "notes.jsonl")]
    for key, value in settings.items():
        given += ["--set", f"{key}={value}"]
    return given


def finished(command: list[str]) -> float:
    """Seconds of a command, which must end well."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stderr[-800:]}")
    return round(time.perf_counter() - began, 1)


def distance(left: Path, right: Path) -> dict[str, Any]:
    """Between the weights of two runs: whether all bits are equal, else the relative distance."""
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (left, right))
    equal = all(torch.equal(ours[name], theirs[name]) for name in ours)
    apart = sum(float((ours[n].double() - theirs[n].double()).square().sum()) for n in ours) ** 0.5
    length = sum(float(weight.double().square().sum()) for weight in ours.values()) ** 0.5
    return {"equal": equal, "relative_distance": apart / length}


def run(folder: Path, scale: Scale) -> dict[str, Any]:
    """A run that nobody stops: tokens a second of training, and of its last half, after what is compiled."""
    seconds = finished([*line(folder, scale.tokens, scale), "--out", str(folder / "run")])
    cost = json.loads((folder / "run" / "cost.json").read_text(encoding="utf-8"))
    rows = [json.loads(row) for row in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    late = [row for row in rows if row["kind"] == "train" and row["tokens"] > scale.tokens / 2]
    bits = [row["bits_per_byte"] for row in rows if row["kind"] == "eval"]
    return {
        "seconds": seconds,
        "train_seconds": round(cost["train_seconds"], 1),
        "tokens_per_second": round(cost["tokens_per_second"]),
        "tokens_per_second_late": round(float(np.median([row["tokens_per_second"] for row in late]))),
        "bits_per_byte": [round(bits[0], 3), round(bits[-1], 3)],
        "peak_gib": round(cost["peak_memory_bytes"] / 2**30, 1),
    }


def trainer(folder: Path, scale: Scale) -> dict[str, Any]:
    """Steps of ours and of the stock Trainer, padded, on the same documents and masked share."""
    precision = "bf16" if ON_GPU else "fp32"
    common = (str(folder / "base"), str(folder / "notes.jsonl"), 600 if ON_GPU else 60, precision)
    ours = throughput.ours(*common, 5, scale.steps)["tokens_per_second"]
    stock = throughput.trainer(*common, 5, scale.steps, blocks=False)["tokens_per_second"]
    return {"ours": round(ours), "stock": round(stock), "times": round(ours / stock, 2)}


def resume(folder: Path, scale: Scale) -> dict[str, Any]:
    """The same run twice, once stopped after its first checkpoint; and once more, unstopped: does it repeat?"""
    command = line(folder, scale.tokens // 2, scale)
    for name in ("whole", "again"):
        finished([*command, "--out", str(folder / name)])
    stopped = folder / "stopped"
    process = subprocess.Popen(
        [*command, "--out", str(stopped)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list((stopped / "checkpoints").glob("step-*"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    finished([*command, "--out", str(stopped)])
    resumed = json.loads((stopped / "cost.json").read_text(encoding="utf-8"))["resumed"]
    return {
        "stopped_with": code,
        "resumed": resumed,
        "resumed_and_whole": distance(folder / "whole", stopped),
        "whole_twice": distance(folder / "whole", folder / "again"),
    }


def finetune(folder: Path, scale: Scale) -> dict[str, Any]:
    """Three fits on each of three short synthetic tasks, and on a long one, with everything around them."""
    seeds = 3 if ON_GPU else 1
    given = [*COMMAND, "evaluate", str(folder / "base"), "--lang", "fr", "--seeds", str(seeds)]
    if not ON_GPU:
        given += ["--set", "eval.epochs=1", "--set", "eval.min_steps=0"]
    return {
        task: finished([*given, "--tasks", task, "--out", str(folder / task)])
        for task in (
            "synthetic_ner",
            "synthetic_outcome",
            "synthetic_long_outcome" if ON_GPU else "synthetic_specialty",
        )
    }


def processes(folder: Path, scale: Scale) -> dict[str, Any]:
    """The run of one process by two: relative distance of the weights, and how much faster."""
    if ON_GPU and torch.cuda.device_count() < 2:
        return {"left out": "one GPU"}
    alone, both = folder / "one", folder / "two"
    command = line(folder, scale.tokens // 2, scale)
    first = finished([*command, "--out", str(alone)])
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", *COMMAND[2:]]
    second = finished([*launch, *command[len(COMMAND) :], "--out", str(both)])
    rates = [json.loads((f / "cost.json").read_text(encoding="utf-8"))["tokens_per_second"] for f in (alone, both)]
    return {"seconds": [first, second], "times": round(rates[1] / rates[0], 2), **distance(alone, both)}


SECTIONS: dict[str, Callable[[Path, Scale], dict[str, Any]]] = {
    "run": run, "trainer": trainer, "resume": resume, "finetune": finetune, "processes": processes,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    parser.add_argument("--seconds", type=float, default=300, help="nothing new is begun after so many")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    scale = GPU if ON_GPU else CPU
    name = torch.cuda.get_device_name().replace(" ", "-").lower() if ON_GPU else "cpu"
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = cases(scale.documents)
        write_base(folder / "base", scale.vocabulary, texts, **scale.model)
        write_jsonl(folder / "notes.jsonl", texts)
        for key in arguments.only:
            if time.monotonic() - started > arguments.seconds:
                report[key] = "no time left"
                continue
            report[key] = attempt(partial(SECTIONS[key], folder, scale))
            print(f"[{time.monotonic() - started:6.1f}] {key}: {json.dumps(report[key])}", flush=True)
            arguments.out.mkdir(parents=True, exist_ok=True)
            file = arguments.out / f"gpu-runs-{name}.json"
            file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
