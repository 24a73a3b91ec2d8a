"""The fuzzing table: every reader of tests/faults/readers.py on harmed bytes.

    python -m tests.benchmarks.fuzz [--inputs 1000] [--only READER ...] [--seed 0] [--keep FOLDER]

From the repository's root. A reader gives what it read, or one InputError; anything else is a crash: another
exception, a process that dies, or ten seconds and more for one small input. Prints the table and writes
reports/results/benchmarks/fuzz.json; --keep leaves the inputs that crashed in a folder; exit code 1 where there is
one.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from medlingua.languages.errors import InputError

from ..faults.readers import READERS, harmed

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "fuzz.json"
PATIENCE = 10.0  # seconds for one input


def read_all(name: str, seed: int, first: int, inputs: int, folder: Path, connection: Any) -> None:
    """In a process of its own: what became of each input, told one by one."""
    read, good_of = READERS[name]
    good = good_of(folder)
    for number in range(first, inputs):
        raw = harmed(good, random.Random(f"{name} {seed} {number}"))
        try:
            read(folder, raw)
            connection.send((number, "read", ""))
        except InputError:
            connection.send((number, "refused", ""))
        except BaseException as error:  # panics of Rust are no Exception
            connection.send((number, "crash", f"{type(error).__name__}: {str(error)[:200]}"))


def fuzzed(name: str, seed: int, inputs: int, folder: Path, keep: Path | None) -> dict[str, Any]:
    """One row: what became of the inputs, and of those that crashed the reasons."""
    read, good_of = READERS[name]
    read(folder, good_of(folder))  # an error here is one of the harness
    counts, crashes = {"read": 0, "refused": 0, "crash": 0}, dict[str, int]()
    began, next_one = time.perf_counter(), 0
    context = multiprocessing.get_context("fork")
    while next_one < inputs:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=read_all, args=(name, seed, next_one, inputs, folder, there), daemon=True)
        process.start()
        there.close()
        while next_one < inputs:
            reason = f"no end within {PATIENCE:.0f} s"
            try:
                number, became, reason = here.recv() if here.poll(PATIENCE) else (next_one, "crash", reason)
            except EOFError:
                process.join()
                number, became, reason = next_one, "crash", f"the process died ({process.exitcode})"
            counts[became] += 1
            next_one = number + 1
            if became == "crash":
                crashes[reason] = number
                if keep is not None:
                    raw = harmed(good_of(folder), random.Random(f"{name} {seed} {number}"))
                    (keep / f"{name.replace(' ', '_')}-{number}").write_bytes(raw)
                if "process died" in reason or "no end" in reason:
                    break
        process.kill()
        process.join()
    seconds = round(time.perf_counter() - began, 1)
    return {
        "reader": name, "seed": seed, "inputs": inputs, "read": counts["read"], "refused": counts["refused"],
        "crashes": counts["crash"], "reasons": crashes, "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--only", nargs="*", choices=READERS, default=list(READERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(fuzzed(name, given.seed, given.inputs, Path(folder), given.keep))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    by_reader = {row["reader"]: row for row in (*old, *rows)}
    table = {"rows": [by_reader[name] for name in READERS if name in by_reader]}
    RESULTS.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n| reader | inputs | crashes | seconds |\n| --- | --- | --- | --- |")
    for row in table["rows"]:
        print(f"| {row['reader']} | {row['inputs']:,} | {row['crashes']} | {row['seconds']} |")
    sys.exit(any(row["crashes"] for row in rows))


if __name__ == "__main__":
    main()
