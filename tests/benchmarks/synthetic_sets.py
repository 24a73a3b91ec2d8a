"""Sets for kinds of which no real one is free: questions answered in the text (SQuAD's format) and graded likeness.

    python tests/benchmarks/synthetic_sets.py FOLDER --lang fr
    adapt evaluate MODEL --lang FOLDER/pack.toml --data FOLDER

All text is synthetic (`languages/cases.py`), and so is all gold: the dose of a drug, and the share of sentences that
two notes have in common. They show that a kind works, not what a model knows.
"""

import argparse
import csv
import json
import random
from itertools import pairwise
from pathlib import Path

from medlingua.languages.cases import Case, generate_cases
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.words import sentences

SIZES = {"train": 240, "dev": 60, "test": 120}
QUESTIONS = {
    "fr": "Quelle est la dose de {drug} ?",
    "es": "¿Cuál es la dosis de {drug}?",
    "de": "Wie hoch ist {drug} dosiert?",
    "en": "What is the dose of {drug}?",
}
PACK = """code = "{code}"
name = "{name}"
spacy = "{spacy}"

[[tasks]]
name = "synthetic_answers"
kind = "answers"
path = "answers"
reader = "squad"
splits = {{ train = "train.json", dev = "dev.json", test = "test.json" }}
note = "synthetic: the dose of a drug in synthetic cases"

[[tasks]]
name = "synthetic_likeness"
kind = "similarity"
path = "likeness"
reader = "table"
splits = {{ train = "train.csv", dev = "dev.csv", test = "test.csv" }}
options = {{ text = "second", question = "first", labels = "likeness", delimiter = "," }}
scale = [0, 5]
note = "synthetic: the share of sentences that two synthetic notes have in common, times five"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lang", choices=QUESTIONS, required=True)
    options = parser.parse_args()
    pack = load_pack(options.lang)
    for name in ("answers", "likeness"):
        (options.folder / name).mkdir(parents=True, exist_ok=True)
    text = PACK.format(code=pack.code, name=pack.name, spacy=pack.spacy)
    (options.folder / "pack.toml").write_text(text, encoding="utf-8")
    for number, (part, count) in enumerate(SIZES.items()):
        cases = list(generate_cases(pack, count, seed=100 + number, words=(60, 250)))
        dataset = {"version": "synthetic", "data": [{"title": part, "paragraphs": [squad(pack, c) for c in cases]}]}
        (options.folder / "answers" / f"{part}.json").write_text(json.dumps(dataset, ensure_ascii=False))
        with (options.folder / "likeness" / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["first", "second", "likeness"])
            writer.writerows(likeness(pack, cases))


def squad(pack: Pack, case: Case) -> dict:
    """The case with a question for each drug that is told once and whose dose follows it."""
    text, questions = case.document.text, []
    named = [case.document.text[s.start : s.end] for s in case.spans if s.label == "DRUG"]
    for drug, dose in pairwise(case.spans):
        if (drug.label, dose.label) == ("DRUG", "DOSE") and named.count(name := text[drug.start : drug.end]) == 1:
            answer = {"text": text[dose.start : dose.end], "answer_start": dose.start}
            question = QUESTIONS[pack.code].format(drug=name)
            questions.append({"id": f"{case.document.id}-{drug.start}", "question": question, "answers": [answer]})
    return {"context": text, "qas": questions}


def likeness(pack: Pack, cases: list[Case]) -> list[tuple[str, str, float]]:
    """Notes of four sentences in pairs: some of the first one's stand in the second, the rest is another case's."""
    rng = random.Random(len(cases))
    notes = [[c.document.text[a:b].strip() for a, b in sentences(c.document.text, pack.spacy)] for c in cases]
    notes = [note for note in notes if len(note) >= 8]
    pairs = []
    for first, other in pairwise(notes):
        common = rng.randint(0, 4)
        opening = rng.sample(first, 4)
        second = opening[:common] + rng.sample(other, 4 - common)
        rng.shuffle(second)
        pairs.append((" ".join(opening), " ".join(second), 5 * common / 4))
    return pairs


if __name__ == "__main__":
    main()
