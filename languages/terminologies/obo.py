"""OBO files, and the tables of the ontologies that are written in it: HPO (Babelon), the Disease Ontology."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..delimited import read_rows
from ..errors import InputError
from ..files import read_lines
from .concept import Concept, concept

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s+(\w+))?')
_LABEL, _DEFINITION, _SYNONYM = "rdfs:label", "IAO:0000115", "oboInOwl:hasExactSynonym"


def read_obo(file: Path) -> Iterator[Concept]:
    """The terms of an OBO 1.2 or 1.4 file that are not obsolete, with their exact synonyms."""
    tags: dict[str, list[str]] = defaultdict(list)
    inside = False
    for line in read_lines(file):
        text = line.strip()
        if text.startswith("["):
            if inside and (parsed := _term(tags)) is not None:
                yield parsed
            inside, tags = text == "[Term]", defaultdict(list)
        elif inside and ": " in text:
            key, _, value = text.partition(": ")
            tags[key].append(value)
    if inside and (parsed := _term(tags)) is not None:
        yield parsed


def _term(tags: dict[str, list[str]]) -> Concept | None:
    if tags.get("is_obsolete") == ["true"] or not tags.get("id"):
        return None
    synonyms = [match for value in tags["synonym"] if (match := _QUOTED.match(value))]
    terms = [*tags["name"], *(_unescaped(match[1]) for match in synonyms if match[2] == "EXACT")]
    parents = [value.partition(" !")[0].strip() for value in tags["is_a"]]
    definition = _QUOTED.match(tags["def"][0]) if tags["def"] else None
    return concept(tags["id"][0], terms, parents, _unescaped(definition[1]) if definition else "")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


class _Columns(NamedTuple):
    """Of a table of translations."""

    code: str
    kind: str
    lang: str
    text: str


_BABELON = _Columns("subject_id", "predicate_id", "translation_language", "translation_value")
_DOID = _Columns("source_id", "predicate", "translation_lang", "translation_text")


def read_babelon(file: Path, lang: str) -> Iterator[Concept]:
    """A table of translations, as HPO has them: labels, definitions and synonyms by the term's id; no parents."""
    return _translations(file, lang, _BABELON)


def read_doid_translation(file: Path, lang: str) -> Iterator[Concept]:
    """A table of the Disease Ontology's translations."""
    return _translations(file, lang, _DOID)


def _translations(file: Path, lang: str, columns: _Columns) -> Iterator[Concept]:
    terms: dict[str, list[str]] = defaultdict(list)
    definitions: dict[str, str] = {}
    for _, row in read_rows(file, delimiter="\t"):
        code, kind, text = row[columns.code], row[columns.kind], row[columns.text]
        if row[columns.lang] != lang or not text.strip():
            continue
        if kind == _LABEL:
            terms[code].insert(0, text)
        elif kind == _SYNONYM:
            terms[code].append(text)
        elif kind == _DEFINITION:
            definitions.setdefault(code, text)
    for code, listed in terms.items():
        if (parsed := concept(code, listed, definition=definitions.get(code, ""))) is not None:
            yield parsed


def read_edges(file: Path) -> Iterator[Concept]:
    """A table with the columns id, label and subClassOf, the label of a parent, a row an edge."""
    labels: dict[str, str] = {}
    above: dict[str, list[str]] = defaultdict(list)
    for line, row in read_rows(file, delimiter=None):
        code, label = row["id"].strip(), row["label"].strip()
        if labels.setdefault(code, label) != label:
            raise InputError(f"{file}, line {line}: the code {code} has two labels; correct one of them")
        above[code].append(row["subClassOf"].strip())
    codes = {label: code for code, label in labels.items()}
    for code, label in labels.items():
        if (parsed := concept(code, [label], [codes[p] for p in above[code] if p in codes])) is not None:
            yield parsed
