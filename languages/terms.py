"""Terms of medicine from the word lists of a pack: phenotypes and diseases, with their branch where one is known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .documents import read_rows
from .errors import InputError
from .hierarchy import Hierarchy, read_hierarchy
from .pack import Pack, Terms

_ONTOLOGY = Path("terms/doid/HumanDO.tsv.gz")  # Human Disease Ontology: id, label, label of the parent
_CODES = Path("terms/doid/ICD10inDO.tsv.gz")
_ROOT = "disease"
OTHER = "no branch"
# What the letters of ICD-10 stand for, in a word or two of our own.
CHAPTERS = {
    "A": "infections", "B": "infections", "C": "tumours", "D": "tumours, blood", "E": "hormones, metabolism",
    "F": "mind", "G": "nerves", "H": "eye, ear", "I": "heart, vessels", "J": "lungs", "K": "digestion", "L": "skin",
    "M": "joints, muscles", "N": "kidney, genitals", "O": "pregnancy", "P": "newborns", "Q": "malformations",
    "R": "signs", "S": "injuries", "T": "injuries, poisons", "Z": "contacts",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """text: the term in its language. english: what it translates. group: its branch of the Disease Ontology, by
    its English label, or "no branch". icd10: the letter of its ICD-10 code, or ""."""

    text: str
    english: str
    group: str
    icd10: str


def read_terms(pack: Pack, root: Path) -> list[Term]:
    """The terms of the pack's lists that lie under a data root; each text and English label once.

    InputError for a list whose columns are not known, and where no list is there at all.
    """
    branches = _branches(root / _ONTOLOGY)
    letters = _letters(root / _CODES)
    pairs: dict[tuple[str, str], None] = {}
    for listed in pack.terms:
        if (root / listed.path).exists():
            pairs |= dict.fromkeys(_pairs(listed, root / listed.path, pack.code))
    if not pairs:
        names = ", ".join(listed.path for listed in pack.terms) or "none is named in its pack"
        raise InputError(f"no terms of language {pack.code} under {root}: expected {names}")
    return [
        Term(text, english, branches.get(english.lower(), OTHER), letters.get(english.lower(), ""))
        for text, english in pairs
    ]


def hierarchy_of_terms(root: Path) -> Hierarchy | None:
    """The Disease Ontology under a data root, by English label; None where it is not there."""
    return read_hierarchy(root / _ONTOLOGY) if (root / _ONTOLOGY).exists() else None


def read_dictionary(file: Path, code: str) -> list[tuple[str, str]]:
    """(text in the language `code`, English) of a table of terms. InputError for a file that is none."""
    if not file.is_file():
        raise InputError(f"adapt.dictionary {file}: no such file")
    pairs = list(dict.fromkeys(_pairs(Terms(name=file.name, path=str(file)), file, code)))
    if not pairs:
        raise InputError(f"adapt.dictionary {file}: no line of language {code}")
    return pairs


def _pairs(listed: Terms, file: Path, code: str) -> Iterator[tuple[str, str]]:
    for line, row in read_rows(file, delimiter="\t"):
        if {"en", "lang", "translation"} <= row.keys():
            wanted, text, english = row["lang"] == code, row["translation"], row["en"]
        elif {"translation_language", "predicate_id", "source_value", "translation_value"} <= row.keys():  # babelon
            wanted = row["predicate_id"] == "rdfs:label" and row["translation_language"] == code
            text, english = row["translation_value"], row["source_value"]
        elif {"translation_lang", "source_text", "translation_text"} <= row.keys():  # Disease Ontology
            wanted, text, english = row["translation_lang"] == code, row["translation_text"], row["source_text"]
        else:
            raise InputError(
                f"terms {listed.name}, {file}, line {line}: the columns are {', '.join(row)}; a dictionary has en, "
                "lang and translation"
            )
        if wanted and text.strip():
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


def _letters(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    rows = read_rows(file, delimiter="\t")
    return {row["label"].lower(): row["xrefs"].removeprefix("ICD10CM:")[:1] for _, row in rows}
