"""One run by one, two and three processes: the same weights, and what each count costs and gains.

    python tests/benchmarks/processes.py --model FOLDER --corpus FILE [--tokens 60000] [--processes 1 2 3]

Each count does the whole run; then two do it with the model split over them, and two are stopped in its middle and
three end it. With fewer cores than processes the speeds say what sharing costs, not what more cores would gain.
Writes reports/results/benchmarks/processes.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = [measured(options, count, Path(place)) for count in options.processes]
        rows.append(measured(options, 2, Path(place), split=True))
        rows.append(resumed(options, Path(place)))
        whole = Path(place) / str(options.processes[0])
        for row in rows:
            row["largest_difference"] = furthest(whole, Path(place) / row.pop("folder"))
            print(row)
    cores = len(os.sched_getaffinity(0))
    report = {"cores": cores, "tokens": options.tokens, "precision": "fp32", "rows": rows}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "processes.json").write_text(json.dumps(report, indent=2) + "\n")


def begun(options: argparse.Namespace, processes: int, out: Path, split: bool = False) -> subprocess.Popen:
    settings = {
        "train.tokens": options.tokens, "train.batch_tokens": 8_192, "train.micro_tokens": 2_048,
        "train.checkpoint_tokens": 16_384, "train.eval_tokens": options.tokens, "train.precision": "'fp32'",
        "eval.tasks": "'none'", "data.held_out_documents": 8, "train.shard": str(split).lower(),
    }  # fmt: skip
    line = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node", str(processes)]
    line += ["-m", "medlingua.recipes.command", "--strategy", "continue", "--lang", "en", "--base", options.model]
    line += ["--corpus", options.corpus, "--out", str(out)]
    line += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def ended(process: subprocess.Popen) -> None:
    _, stderr = process.communicate()
    if process.returncode:
        raise SystemExit(stderr)


def measured(options: argparse.Namespace, processes: int, place: Path, split: bool = False) -> dict:
    name = f"{processes}, split" if split else str(processes)
    out = place / name
    ended(begun(options, processes, out, split))
    return {"processes": name, "tokens_per_second": round(speed(out), 1), "folder": out.name}


def resumed(options: argparse.Namespace, place: Path) -> dict:
    """Two processes until the second checkpoint, then three."""
    out = place / "resumed"
    process = begun(options, 2, out)
    while len(list(out.glob("checkpoints/step-*"))) < 2 or (out / "checkpoints" / "step-00000000").exists():
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be stopped: give more --tokens")
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    ended(begun(options, 3, out))
    return {"processes": "2, stopped, then 3", "tokens_per_second": None, "folder": out.name}


def speed(out: Path) -> float:
    cost = json.loads((out / "cost.json").read_text())
    return cost["tokens"] / cost["train_seconds"]


def furthest(left: Path, right: Path) -> float:
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (left, right))
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


if __name__ == "__main__":
    main()
