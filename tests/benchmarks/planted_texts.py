"""Test texts and near-duplicates that are planted in real text: are they left out, and does the rest stay?

    python -m tests.benchmarks.planted_texts --data ROOT --lang fr [--documents 300] [--each 60]

From the repository's root. Of each task under the data root up to `--each` test texts are planted among real
documents: in decomposed Unicode (NFD) as documents of their own, and inside a text of sixty words. Of each real
document of 150 words or more a near copy of every kind is planted. Prints two tables: what was planted and left out.
"""

import argparse
import json
import tempfile
import unicodedata
from collections import Counter
from itertools import islice
from pathlib import Path

from medlingua.languages.documents import read_documents
from medlingua.languages.overlap import SHORTEST_RUN
from medlingua.languages.pack import load_pack
from medlingua.languages.words import compared_words
from medlingua.recipes.resolve import resolve
from medlingua.recipes.text.corpus import Cleaner
from medlingua.recipes.text.inputs import Inputs
from medlingua.recipes.text.sources import select
from medlingua.recipes.text.task_set import TaskSet, find_tasks

RUN = 13  # data.overlap_words, by default
LONG = 150  # words: one that is changed leaves nine tenths of the runs of five


def near_copies(text: str) -> dict[str, str]:
    words = text.split()
    return {
        "capitals": text.upper(),
        "one word changed": " ".join([*words[:40], "xxxx", *words[41:]]),
        "another apostrophe": text.translate({ord("'"): "\u2019", ord("\u2019"): "'"}),
        "a line more": text + "\nDr. N. N.",
        "a zero-width space": text[:50] + "\u200b" + text[50:],
        "NFD": unicodedata.normalize("NFD", text),
    }


def used_ids(texts: dict[str, str], lang: str, test_texts: dict[str, list[str]], folder: Path) -> set[str]:
    """The ids of the documents that a run would use."""
    file = folder / "planted.jsonl"
    rows = (json.dumps({"id": id, "text": text}, ensure_ascii=False) for id, text in texts.items())
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    run = resolve({"strategy": "continue", "lang": lang, "base": "b", "data": {"paths": [str(file)]}})
    pack = load_pack(lang)
    inputs = Inputs(run, pack, select(run, pack), TaskSet((), test_texts, (), ()))
    (source,) = inputs.selection.sources
    return {document.id for document in Cleaner(inputs).clean(source, Counter())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lang", required=True)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--each", type=int, default=60)
    given = parser.parse_args()
    pack = load_pack(given.lang)
    test_texts = find_tasks(pack, given.data, "none", (), check_overlap=True).test_texts
    corpus = next(c for c in pack.corpora if c.path and (given.data / c.path).exists())
    assert corpus.path is not None
    documents = read_documents(given.data / corpus.path, source=corpus.name, text_field=corpus.text_field)
    real = {f"real {n}": document.text for n, document in enumerate(islice(documents, given.documents))}
    around = " ".join(text for text in islice(real.values(), 40)).split()

    with tempfile.TemporaryDirectory() as folder:
        own = used_ids(real, given.lang, test_texts, Path(folder))  # without those that truly overlap
        real = {id: text for id, text in real.items() if id in own}
        planted: dict[str, str] = {}
        lengths: dict[str, list[int]] = {}
        for task, texts in test_texts.items():
            chosen = texts[:: max(1, len(texts) // given.each)][: given.each]
            lengths[task] = [len(compared_words(text)) for text in chosen]
            for n, text in enumerate(chosen):
                decomposed, at = unicodedata.normalize("NFD", text), (37 * len(planted)) % (len(around) - 60)
                planted[f"{task} whole {n}"] = decomposed
                planted[f"{task} inside {n}"] = " ".join(
                    [*around[at : at + 30], decomposed, *around[at + 30 : at + 60]]
                )
        copies = {
            f"{id} {kind}": copy
            for id, text in real.items()
            if len(text.split()) >= LONG
            for kind, copy in near_copies(text).items()
        }
        left = used_ids({**real, **planted, **copies}, given.lang, test_texts, Path(folder))

    print(f"{corpus.name}: {len(real):,} documents, {len(real.keys() & left):,} of them used\n")
    print(f"| task | test texts planted | under {RUN} words | whole, left out | inside, left out |")
    print("| --- | --- | --- | --- | --- |")
    for task, words in lengths.items():
        whole = sum(f"{task} whole {n}" not in left for n in range(len(words)))
        long_enough = [n for n, count in enumerate(words) if count >= SHORTEST_RUN]
        inside = sum(f"{task} inside {n}" not in left for n in long_enough)
        short = sum(count < RUN for count in words)
        print(f"| {task} | {len(words)} | {short} | {whole} | {inside} of {len(long_enough)} |")
    print("\n| near copy | planted | left out |\n| --- | --- | --- |")
    for kind in near_copies(""):
        ids = [id for id in copies if id.endswith(kind)]
        print(f"| {kind} | {len(ids)} | {sum(id not in left for id in ids)} |")


if __name__ == "__main__":
    main()
