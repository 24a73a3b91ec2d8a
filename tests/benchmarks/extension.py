"""Extending a BPE of 50,000 pieces by 8,000, against training one of 58,000 from nothing with `tokenizers`.

    python tests/benchmarks/extension.py --data ROOT [--rounds 3]

The text is all that the packs name under ROOT, in four languages; the old BPE is learnt on every other document.
Prints medians and the ratio and writes reports/results/benchmarks/extension.json. Read the ratio.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from medlingua.adapters.extension import extend
from medlingua.adapters.tokenizer import empty_tokenizer, learn_tokenizer
from medlingua.languages.documents import read_documents
from medlingua.languages.pack import load_pack
from medlingua.recipes.machine import describe

OLD, NEW = 50_000, 8_000
RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "extension.json"


def texts_of(root: Path) -> list[str]:
    texts = []
    for code in ("fr", "es", "de", "en"):
        for corpus in load_pack(code).corpora:
            if corpus.path is not None and (root / corpus.path).exists():
                documents = read_documents(root / corpus.path, source=corpus.name, text_field=corpus.text_field)
                texts += [document.text for document in documents]
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    texts = texts_of(given.data)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    old = learn_tokenizer(lambda: texts[::2], OLD, empty_tokenizer("BPE"))
    seconds: dict[str, list[float]] = {"extension": [], "training from nothing": []}
    for _ in range(given.rounds):
        began = time.perf_counter()
        extension = extend(old, texts, NEW)
        seconds["extension"].append(time.perf_counter() - began)
        began = time.perf_counter()
        learn_tokenizer(lambda: texts, OLD + NEW, empty_tokenizer("BPE"))
        seconds["training from nothing"].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["extension"] / medians["training from nothing"]
    saved = 1 - extension.corpus_pieces_new / extension.corpus_pieces_old
    print(describe())
    print(f"{megabytes:.0f} MB, {len(texts):,} documents; the extension saves {saved:.1%} of the pieces")
    for name, value in medians.items():
        print(f"{name:<24}{value:>8.1f} s")
    print(f"ratio {ratio:.2f}")
    record = {"machine": describe(), "megabytes": round(megabytes), "old": OLD, "new": NEW, "rounds": given.rounds}
    RESULTS.write_text(json.dumps({**record, "seconds": medians, "ratio": ratio, "saved": saved}, indent=1) + "\n")


if __name__ == "__main__":
    main()
