"""SNOMED CT in Release Format 2, and the UMLS in its Rich Release Format: folders of tables, got under a licence."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ..delimited import read_rows
from ..errors import InputError
from ..files import read_lines
from .concept import Concept, concept

_FULL_NAME, _TERM, _IS_A = "900000000000003001", "900000000000013009", "116680003"
_UMLS_LANGUAGES = {"en": "ENG", "fr": "FRE", "es": "SPA", "de": "GER", "it": "ITA", "pt": "POR", "nl": "DUT"}


def snomed_files(folder: Path, name: str) -> list[Path]:
    """The snapshot files of a release: sct2_Description_Snapshot-es_..., whatever lies around them."""
    return sorted(p for p in folder.rglob(f"*sct2_{name}_Snapshot*.txt*") if p.is_file())


def read_snomed(folder: Path, lang: str) -> Iterator[Concept]:
    """Active concepts with active terms of the language. The preferred term is the first one in the file; the fully
    specified name, which says its kind in brackets, serves where there is no other."""
    terms: dict[str, list[str]] = defaultdict(list)
    full: dict[str, str] = {}
    for file in _needed(folder, "Description"):
        for row in _active(file, "conceptId", "languageCode", "typeId", "term"):
            if row["languageCode"] == lang and row["typeId"] == _TERM:
                terms[row["conceptId"]].append(row["term"])
            elif row["languageCode"] == lang and row["typeId"] == _FULL_NAME:
                full[row["conceptId"]] = row["term"]
    parents: dict[str, list[str]] = defaultdict(list)
    for file in _needed(folder, "Relationship"):
        for row in _active(file, "sourceId", "destinationId", "typeId"):
            if row["typeId"] == _IS_A:
                parents[row["sourceId"]].append(row["destinationId"])
    definitions = {
        row["conceptId"]: row["term"]
        for file in snomed_files(folder, "TextDefinition")
        for row in _active(file, "conceptId", "languageCode", "term")
        if row["languageCode"] == lang
    }
    for file in _needed(folder, "Concept"):
        for row in _active(file, "id"):
            code = row["id"]
            listed = terms.get(code) or ([full[code]] if code in full else [])
            if (parsed := concept(code, listed, parents.get(code, ()), definitions.get(code, ""))) is not None:
                yield parsed


def _needed(folder: Path, name: str) -> list[Path]:
    if not (files := snomed_files(folder, name)):
        raise InputError(f"{folder}: a release of SNOMED CT has sct2_{name}_Snapshot files (RF2), and there is none")
    return files


def _active(file: Path, *columns: str) -> Iterator[dict[str, str]]:
    """The rows that are active, of a table that has these columns."""
    for line, row in read_rows(file, delimiter="\t"):
        if absent := [name for name in ("active", *columns) if name not in row]:
            raise InputError(f"{file}, line {line}: no column '{absent[0]}', which Release Format 2 has; is it RF1?")
        if row["active"] == "1":
            yield row


def read_umls(folder: Path, lang: str) -> Iterator[Concept]:
    """Concepts with terms of the language that are not suppressed; the preferred ones (ISPREF) first."""
    if lang not in _UMLS_LANGUAGES:
        raise InputError(f"the UMLS has no language '{lang}' here; known: {', '.join(_UMLS_LANGUAGES)}")
    terms: dict[str, list[str]] = defaultdict(list)
    for row in _rrf(folder / "MRCONSO.RRF", 18):
        if row[1] == _UMLS_LANGUAGES[lang] and row[16] == "N":
            terms[row[0]].insert(0 if row[6] == "Y" and row[2] == "P" else len(terms[row[0]]), row[14])
    parents: dict[str, list[str]] = defaultdict(list)
    if (folder / "MRREL.RRF").exists():
        for row in _rrf(folder / "MRREL.RRF", 16):
            if row[3] == "PAR" and row[4] in terms and row[0] in terms and row[0] != row[4]:
                parents[row[0]].append(row[4])
    definitions: dict[str, str] = {}
    if lang == "en" and (folder / "MRDEF.RRF").exists():  # definitions are English, but for few
        for row in _rrf(folder / "MRDEF.RRF", 8):
            definitions.setdefault(row[0], row[5])
    for code, listed in terms.items():
        if (parsed := concept(code, listed, parents.get(code, ()), definitions.get(code, ""))) is not None:
            yield parsed


def _rrf(file: Path, columns: int) -> Iterator[list[str]]:
    """The rows of a table that has so many columns."""
    for number, line in enumerate(read_lines(file), 1):
        row = line.rstrip("\r\n").removesuffix("|").split("|")
        if len(row) < columns:
            raise InputError(
                f"{file}, line {number}: {len(row)} columns, the Rich Release Format has {columns}: is it whole?"
            )
        yield row
