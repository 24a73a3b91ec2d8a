"""Terms of medicine from the word lists of a pack: phenotypes and diseases, with their branch where one is known."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .delimited import read_rows
from .errors import InputError
from .hierarchy import Hierarchy, read_hierarchy
from .pack import Pack, Terms

_ONTOLOGY = Path("terms/doid/HumanDO.tsv.gz")  # Human Disease Ontology: id, label, label of the parent
_CODES = Path("terms/doid/ICD10inDO.tsv.gz")
_ROOT = "disease"
OTHER = "no branch"
# The chapters of ICD-10 by their numbers, in a word or two of our own.
CHAPTERS = {
    "I": "infections", "II": "tumours", "III": "blood, immunity", "IV": "hormones, metabolism", "V": "mind",
    "VI": "nerves", "VII": "eye", "VIII": "ear", "IX": "heart, vessels", "X": "lungs", "XI": "digestion",
    "XII": "skin", "XIII": "joints, muscles", "XIV": "kidney, genitals", "XV": "pregnancy", "XVI": "newborns",
    "XVII": "malformations", "XVIII": "signs", "XIX": "injuries, poisons", "XX": "causes from outside",
    "XXI": "contacts", "XXII": "provisional",
}  # fmt: skip
# The category that each begins with, in the order of the codes.
_BEGINS = [
    ("A00", "I"), ("C00", "II"), ("D50", "III"), ("E00", "IV"), ("F00", "V"), ("G00", "VI"), ("H00", "VII"),
    ("H60", "VIII"), ("I00", "IX"), ("J00", "X"), ("K00", "XI"), ("L00", "XII"), ("M00", "XIII"), ("N00", "XIV"),
    ("O00", "XV"), ("P00", "XVI"), ("Q00", "XVII"), ("R00", "XVIII"), ("S00", "XIX"), ("U00", "XXII"),
    ("V00", "XX"), ("Z00", "XXI"),
]  # fmt: skip
_CODE = re.compile(r"[A-Z]\d[0-9A-Z]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """text: the term in its language. english: what it translates. group: its branch of the Disease Ontology, by
    its English label, or "no branch". icd10: the chapter of its ICD-10 code, or ""."""

    text: str
    english: str
    group: str
    icd10: str


def read_terms(pack: Pack, root: Path) -> list[Term]:
    """The terms of the pack's lists that lie under a data root; each text and English label once.

    InputError for a list whose columns are not known, and where no list is there at all.
    """
    branches = _branches(root / _ONTOLOGY)
    chapters = _chapters(root / _CODES)
    pairs: dict[tuple[str, str], None] = {}
    for listed in pack.terms:
        if (root / listed.path).exists():
            pairs |= dict.fromkeys(_pairs(listed, root / listed.path, pack.code))
    if not pairs:
        names = ", ".join(listed.path for listed in pack.terms) or "none is named in its pack"
        raise InputError(f"no terms of language {pack.code} under {root}: expected {names}")
    return [
        Term(text, english, branches.get(english.lower(), OTHER), chapters.get(english.lower(), ""))
        for text, english in pairs
    ]


def hierarchy_of_terms(root: Path) -> Hierarchy | None:
    """The Disease Ontology under a data root, by English label; None where it is not there."""
    return read_hierarchy(root / _ONTOLOGY) if (root / _ONTOLOGY).exists() else None


def read_dictionary(file: Path, code: str) -> list[tuple[str, str]]:
    """(text in the language `code`, English) of a table of terms. InputError for a file that is none."""
    if not file.is_file():
        raise InputError(f"adapt.dictionary {file}: no such file")
    pairs = list(dict.fromkeys(_pairs(Terms(name="dictionary", path=file.name), file, code)))
    if not pairs:
        raise InputError(f"adapt.dictionary {file}: no line of language {code}")
    return pairs


def _pairs(listed: Terms, file: Path, code: str) -> Iterator[tuple[str, str]]:
    for line, row in read_rows(file, delimiter="\t"):
        if {"en", "lang", "translation"} <= row.keys():
            matches, text, english = row["lang"] == code, row["translation"], row["en"]
        elif {"translation_language", "predicate_id", "source_value", "translation_value"} <= row.keys():  # babelon
            matches = row["predicate_id"] == "rdfs:label" and row["translation_language"] == code
            text, english = row["translation_value"], row["source_value"]
        elif {"translation_lang", "source_text", "translation_text"} <= row.keys():  # Disease Ontology
            matches, text, english = row["translation_lang"] == code, row["translation_text"], row["source_text"]
        else:
            raise InputError(
                f"terms {listed.name}, {file}, line {line}: not all of en, lang and translation, which a dictionary "
                f"has, among its {len(row)} columns; name them so",
                text=", ".join(row),
            )
        if matches and text.strip():
            yield text.strip(), english.strip()


def _branches(file: Path) -> dict[str, str]:
    """English label -> the branch below the root that it hangs from; the first where it has several."""
    if not file.exists():
        return {}
    parents: dict[str, str] = {}
    for _, row in read_rows(file, delimiter="\t"):
        parents.setdefault(row["label"], row["subClassOf"])
    return {label.lower(): _top(label, parents) for label in parents}


def _top(label: str, parents: Mapping[str, str]) -> str:
    seen = {label}
    while (parent := parents.get(label)) is not None and parent != _ROOT and parent not in seen:
        seen.add(parent)
        label = parent
    return label


def chapter_of(code: str) -> str:
    """The chapter of an ICD-10 code by its number, "IX" of I10 or of I10-I16; "" for what is no code.

    The American edition's D49 (tumours) and K95 (digestion) lie where they belong.
    """
    if not _CODE.match(code):
        return ""
    return _BEGINS[bisect_right(_BEGINS, code[:3].upper(), key=lambda entry: entry[0]) - 1][1]


def _chapters(file: Path) -> dict[str, str]:
    """English label -> the chapter of its code; the first of several."""
    if not file.exists():
        return {}
    chapters: dict[str, str] = {}
    for _, row in read_rows(file, delimiter="\t"):
        chapters.setdefault(row["label"].lower(), chapter_of(row["xrefs"].removeprefix("ICD10CM:")))
    return chapters
