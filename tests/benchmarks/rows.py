"""How the rows of a replaced vocabulary start: bits per byte on held-out text before and during training.

    python tests/benchmarks/rows.py --data ROOT --base MODEL --out FOLDER [--lang fr] [--seeds 0 1 2] [--lanes 2]
        [--also NAME=MODEL ...]

Runs `adapt --strategy continue` for each start and seed, all else equal, and prints means over seeds with 95 %
intervals, and the differences to `mean` paired by seed. A run that is in FOLDER already is not made again. --also:
a model that has the new vocabulary with rows of its own, as `reference_rows.py` writes it; it is trained as it is.
Writes reports/results/benchmarks/rows.json.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medlingua.recipes.machine import describe
from medlingua.reports.intervals import estimate, paired_difference
from medlingua.reports.read import read_metrics

STARTS = ("mean", "overlap", "focus", "wechsel")
TOKENS, EVERY, PIECES = 300_000, 100_000, 8_000
RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "rows.json"


def line_of(given: argparse.Namespace, name: str, seed: int) -> list[str]:
    also = dict(pair.split("=", 1) for pair in given.also)
    vocabulary = (
        [] if name in also else ["adapt.vocabulary=replace", f"adapt.new_pieces={PIECES}", f"adapt.rows={name}"]
    )
    settings = [
        *vocabulary,
        f"train.tokens={TOKENS}",
        f"train.eval_tokens={EVERY}",
        "train.micro_tokens=4096",
        f"train.seed={seed}",
        "eval.tasks=none",
    ]
    base = also.get(name, given.base)
    line = ["--strategy", "continue", "--lang", given.lang, "--base", base, "--data", given.data]
    line += ["--out", str(given.out / f"{name}-{seed}")]
    return [Path(sys.executable).with_name("adapt").as_posix(), *line, *(s for x in settings for s in ("--set", x))]


def train(line: list[str], log: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w", encoding="utf-8") as file:
        subprocess.run(line, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True)
    print(f"done: {log.stem}", flush=True)


def curve(folder: Path) -> Iterator[tuple[int, float]]:
    """(tokens, bits per byte) at the start, then at each evaluation, by hundred thousands of tokens."""
    _, evaluations = read_metrics(folder / "metrics.jsonl")
    at = {row.model: row.bits_per_byte for row in evaluations if row.model != "trained"}
    yield 0, at.get("start", at["base"])
    for row in evaluations:
        if row.model == "trained":
            yield round(row.tokens / EVERY) * EVERY, row.bits_per_byte


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lang", default="fr")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lanes", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=MODEL")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = [*STARTS, *(pair.split("=", 1)[0] for pair in given.also)]
    with ThreadPoolExecutor(given.lanes) as lanes:
        for waiting in [
            lanes.submit(train, line_of(given, name, seed), given.out / f"{name}-{seed}.log")
            for seed in given.seeds
            for name in names
            if not (given.out / f"{name}-{seed}" / "report.html").exists()
        ]:
            waiting.result()
    curves = {name: {seed: dict(curve(given.out / f"{name}-{seed}")) for seed in given.seeds} for name in names}
    estimates: dict[str, dict[str, Any]] = {}
    for name in names:
        estimates[name] = {}
        for tokens in range(0, TOKENS + 1, EVERY):
            of = {n: {seed: points[tokens] for seed, points in curves[n].items()} for n in (name, "mean")}
            here, against = estimate([*of[name].values()]), paired_difference(of["mean"], of[name])
            assert against is not None
            estimates[name][str(tokens)] = {
                "seeds": [*of[name].values()],
                "mean": here.value,
                "interval": [here.low, here.high],
                "to_mean": against.value,
                "to_mean_interval": [against.low, against.high],
            }
            print(
                f"{name:<20}{tokens:>8,}{here.value:>8.3f} ({here.low:.3f} to {here.high:.3f})"
                f"{against.value:>+8.3f} ({against.low:+.3f} to {against.high:+.3f})"
            )
    record = {"machine": describe(), "lang": given.lang, "base": Path(given.base).name, "pieces": PIECES}
    RESULTS.write_text(json.dumps({**record, "seeds": given.seeds, "starts": estimates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
