"""Text prepared in parts: speed of one process against many, and memory against the size of the text.

    python tests/benchmarks/parts.py --model FOLDER --corpus FILE.jsonl.zst [--megabytes 100] [--parts 1 2 4 8]

Makes a corpus by repeating the documents with changed words. For each count one part alone is prepared, as a job of
an array would: it reads all text and tokenizes its share. Writes reports/results/benchmarks/parts.json, with the plan
for a terabyte that follows from it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from preparation import repeated

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "parts.json"
TERABYTE = 1_000_000  # megabytes
JOBS = (16, 64, 256, 1_024)
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def prepared(model: str, corpus: Path, part: int, of: int, out: Path) -> dict[str, float]:
    """Seconds of one part, start of the process included, and its peak memory."""
    adapt = Path(sys.executable).parent / "adapt"
    line = [str(adapt), "prepare", "--base", model, "--lang", "en", "--corpus", str(corpus), "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([*line, "--part", f"{part}/{of}"], stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"part {part}/{of} failed")
    return {"seconds": time.perf_counter() - began, "peak_memory_mib": usage.ru_maxrss / 1024}


def plan(rows: list[dict[str, float]], megabytes: float) -> dict[str, object]:
    """Seconds of a part = start + reading * size + tokenizing * size / parts, by least squares."""
    parts = np.array([row["parts"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    terms = np.stack([np.ones(len(parts)), 1 / parts], axis=1)
    fixed, own = np.linalg.lstsq(terms, seconds, rcond=None)[0].tolist()
    reading = (fixed - rows[0]["start_seconds"]) / megabytes
    tokenizing = own / megabytes
    return {
        "reading_megabytes_per_second": round(1 / reading, 1),
        "tokenizing_megabytes_per_second": round(1 / tokenizing, 2),
        "terabyte": [
            {"jobs": jobs, "hours_each": round(TERABYTE * (reading + tokenizing / jobs) / 3600, 1)} for jobs in JOBS
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        corpus, small = Path(place) / "notes.jsonl", Path(place) / "few.jsonl"
        repeated(options.corpus, options.megabytes, corpus)
        repeated(options.corpus, 1, small)
        start = prepared(options.model, small, 1, 1, Path(place) / "start")["seconds"]
        rows = []
        for of in options.parts:
            row = prepared(options.model, corpus, 1, of, Path(place) / str(of))
            rows.append({"parts": of, "start_seconds": round(start, 1)} | {k: round(v, 1) for k, v in row.items()})
            print(rows[-1])
    report = {"megabytes": options.megabytes, "threads": 1, "rows": rows, "plan": plan(rows, options.megabytes)}
    print(report["plan"])
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
