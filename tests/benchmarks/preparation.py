"""Text to packed batches: speed against the tokenizer alone, and memory against the size of the corpus.

    python tests/benchmarks/preparation.py --model FOLDER --corpus FILE.jsonl.zst [--rounds 3]

Makes corpora of about 10 and 100 MB by repeating the documents with changed words, so that none is a
duplicate. Prints ratios and writes reports/results/benchmarks/preparation.json.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "preparation.json"
MEGABYTES = (10, 100)


def repeated(corpus: str, megabytes: int, path: Path) -> None:
    """The corpus's documents over and over, every eleventh word of a copy changed."""
    from medlingua.languages.documents import read_documents

    texts = [d.text for d in read_documents(corpus, source="benchmark")]
    written, copy = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            for text in texts:
                words = text.split(" ")
                words[::11] = [f"{word}{copy}" for word in words[::11]] if copy else words[::11]
                line = json.dumps({"text": " ".join(words)}, ensure_ascii=False) + "\n"
                written += len(line.encode())
                file.write(line)
                if written >= megabytes * 1_000_000:
                    return
            copy += 1


def memory(model: str, corpus: str, folder: str) -> dict[str, Any]:
    """Peak memory of the whole preparation, in a process of its own."""
    from medlingua.recipes.resolve import resolve
    from medlingua.recipes.text.corpus import prepare
    from medlingua.recipes.text.inputs import inputs_of
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)  # no weights: their loading would hide what text takes
    inputs = inputs_of(resolve({"strategy": "continue", "lang": "en", "base": model, "data": {"paths": [corpus]}}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    prepared = prepare(inputs, tokenizer, Path(folder) / "shards")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "megabytes": round(Path(corpus).stat().st_size / 1e6, 1),
        "documents": sum(c.documents for c in prepared.row.corpora),
        "tokens": sum(c.tokens for c in prepared.row.corpora),
        "peak_memory_mib": round(peak / 1024),
        "grown_mib": round((peak - before) / 1024),
        "megabytes_per_second": round(Path(corpus).stat().st_size / 1e6 / seconds, 2),
    }


def speed(model: str, corpus: str, rounds: int) -> dict[str, float]:
    """Seconds for the same texts: tokenizers' encode_batch alone; ours into shards and packed, masked batches."""
    from medlingua.adapters.encoder import load
    from medlingua.languages.documents import read_documents
    from medlingua.recipes.resolve import resolve
    from medlingua.recipes.settings import Phase
    from medlingua.recipes.text.corpus import Cleaner, filters_of
    from medlingua.recipes.text.inputs import inputs_of
    from medlingua.recipes.text.shards import ShardWriter, open_shard
    from medlingua.recipes.training.batches import Place, Stream, batches, frame_of
    from medlingua.recipes.training.objectives import masker

    encoder = load(model)
    tokenizer = encoder.tokenizer
    texts = [d.text for d in read_documents(corpus, source="benchmark")]
    inputs = inputs_of(resolve({"strategy": "continue", "lang": "en", "base": model, "data": {"paths": [corpus]}}))
    (source,) = inputs.selection.sources
    cleaned = list(Cleaner(inputs).clean(source, Counter()))
    timings: dict[str, list[float]] = {"encode_batch": [], "encode_batch_fast": [], "shards": [], "batches": []}

    def clock(name: str, began: float) -> None:
        timings[name].append(time.perf_counter() - began)

    for _ in range(rounds):
        for name in ("encode_batch", "encode_batch_fast"):
            began = time.perf_counter()
            getattr(tokenizer.backend_tokenizer, name)(texts, add_special_tokens=False)
            clock(name, began)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with ShardWriter(Path(folder) / "shard", tokenizer, None, "en") as writer:
                batch, size = [], 0
                for one in cleaned:
                    batch.append(one)
                    size += len(one.text)
                    if size >= 1_000_000:
                        writer.add(batch)
                        batch, size = [], 0
                writer.add(batch)
                writer.finish(filters_of(inputs.run, source.name))
            clock("shards", began)
            began = time.perf_counter()
            shard = open_shard(Path(folder) / "shard", tokenizer)
            stream = Stream(
                (shard,), Phase(tokens=1), 0, 0, frame_of(tokenizer, encoder.length), masker(tokenizer, "piece", 0.3)
            )
            for packed_batch in batches(stream, Place(), 16_384, 8_192, encoder.first_position):
                if packed_batch.after.passed:
                    break
            clock("batches", began)
    seconds = {name: statistics.median(values) for name, values in timings.items()}
    return seconds | {
        "ratio_to_encode_batch": seconds["encode_batch"] / (seconds["shards"] + seconds["batches"]),
        "ratio_to_encode_batch_fast": seconds["encode_batch_fast"] / (seconds["shards"] + seconds["batches"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(memory(options.model, options.memory_of, options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for megabytes in MEGABYTES:
            path = Path(folder) / f"corpus{megabytes}.jsonl"
            repeated(options.corpus, megabytes, path)
            command = [sys.executable, __file__, "--model", options.model, "--corpus", options.corpus]
            command += ["--memory-of", str(path), "--folder", str(Path(folder) / f"run{megabytes}")]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(answer.stdout.splitlines()[-1]))
            print(rows[-1])
        seconds = speed(options.model, str(Path(folder) / "corpus10.jsonl"), options.rounds)
    print({name: round(value, 2) for name, value in seconds.items()})
    from medlingua.recipes.machine import describe

    whole = {
        "machine": describe(),
        "rounds": options.rounds,
        "memory": rows,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
