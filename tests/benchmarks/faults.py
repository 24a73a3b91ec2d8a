"""The fault table: every kind of tests/faults/kinds.py many times, and how often something was lost.

    python -m tests.benchmarks.faults [--tries 50] [--only KIND ...] [--seed 0]

From the repository's root. Prints the table and writes reports/results/benchmarks/faults.json; exit code 1 where
something was lost.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as the runs that start as processes of their own

import torch

from ..end_to_end.conftest import give, line_of
from ..faults.kinds import KINDS, NotPossibleHere, Scene
from ..recipes.conftest import cases, write_base, write_jsonl

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "faults.json"


def tried(kind: str, scene: Scene, tries: int, folder: Path, rng: random.Random) -> dict[str, Any]:
    """One row: faults made, how many of them lost something, what they hit."""
    hit, losses = Counter[str](), list[str]()
    began = time.perf_counter()
    while hit.total() + len(losses) < tries:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            try:
                hit.update(KINDS[kind](scene, Path(place), rng))
            except NotPossibleHere as error:
                return {"kind": kind, "tries": 0, "losses": 0, "note": str(error)}
            except Exception as error:
                losses.append(f"{type(error).__name__}: {str(error)[:300]}")
    seconds = round(time.perf_counter() - began)
    return {
        "kind": kind, "tries": hit.total() + len(losses), "losses": len(losses), "hit": dict(sorted(hit.items())),
        "lost": losses, "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = line_of(write_base(folder / "tiny"), write_jsonl(folder / "notes.jsonl", cases(80)))
        done = give(command, folder / "whole")
        assert done.returncode == 0, done.stderr
        scene, rows = Scene(command, folder / "whole"), []
        for kind in given.only:
            rows.append({"seed": given.seed, **tried(kind, scene, given.tries, folder, random.Random(given.seed))})
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    by_kind = {row["kind"]: row for row in (*old, *rows)}
    table = {"rows": [by_kind[kind] for kind in KINDS if kind in by_kind]}
    RESULTS.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n| kind | tries | losses |\n| --- | --- | --- |")
    for row in table["rows"]:
        print(f"| {row['kind']} | {row['tries']} | {row['losses']} |")
    sys.exit(any(row["losses"] for row in rows))


if __name__ == "__main__":
    main()
