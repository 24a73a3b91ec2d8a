"""A terminology by the look of its files."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..delimited import read_rows
from ..errors import InputError
from ..hierarchy import hierarchy_of
from .codes import CODE, NAME, column, read_codes
from .concept import Concept, joined
from .obo import read_babelon, read_doid_translation, read_edges, read_obo
from .releases import read_snomed, read_umls, snomed_files
from .xml import read_xml

FORMATS = (
    "OBO files; tables of HPO (Babelon) and of the Disease Ontology; tables with a code and a description; MeSH and "
    "ClaML XML; folders of SNOMED CT (RF2) and of the UMLS (MRCONSO.RRF)"
)
_TABLE = re.compile(r"\.(csv|tsv|tab|txt)(\.(gz|zst|xz|bz2))?$")


def read_concepts(path: Path, lang: str) -> list[Concept]:
    """The concepts of a terminology with terms in the language, each code once, in the order of the file: what
    later rows say of a code is added to the first.

    InputError for another format, for a hierarchy with a circle, which it names, and where there is no such term.
    """
    if not path.exists():
        raise InputError(f"terminology {path}: no such file or folder")
    concepts: dict[str, Concept] = {}
    for concept in _read(path, lang):
        known = concepts.get(concept.code)
        concepts[concept.code] = concept if known is None else joined(known, concept)
    if not concepts:
        raise InputError(f"terminology {path}: no term of language '{lang}'")
    hierarchy_of(((c.code, parent) for c in concepts.values() for parent in c.parents or ("",)), str(path))
    return list(concepts.values())


def _read(path: Path, lang: str) -> Iterator[Concept]:
    if path.is_dir():
        if (path / "MRCONSO.RRF").exists():
            return read_umls(path, lang)
        if snomed_files(path, "Description"):
            return read_snomed(path, lang)
        raise InputError(
            f"terminology {path}: neither MRCONSO.RRF nor sct2_Description_Snapshot files; read are {FORMATS}"
        )
    name = path.name.lower()
    if ".obo" in name:
        return read_obo(path)
    if ".xml" in name:
        return read_xml(path, lang)
    if not _TABLE.search(name):
        raise InputError(
            f"terminology {path}: not a format that is read. Read are {FORMATS}; tables end in .csv, .tsv, .tab or "
            ".txt, plain, .gz, .zst, .xz or .bz2"
        )
    return _table(path, lang)


def _table(path: Path, lang: str) -> Iterator[Concept]:
    _, first = next(read_rows(path, delimiter=None), (0, {}))
    if not first:
        raise InputError(f"terminology {path}: no row below the header; is the file whole?")
    columns = first.keys()
    if {"subject_id", "predicate_id", "translation_language", "translation_value"} <= columns:
        return read_babelon(path, lang)
    if {"source_id", "predicate", "translation_lang", "translation_text"} <= columns:
        return read_doid_translation(path, lang)
    if {"id", "label", "subClassOf"} <= columns:
        return read_edges(path)
    if column(list(columns), CODE) and column(list(columns), NAME):
        return read_codes(path)
    raise InputError(
        f"terminology {path}: none of its {len(columns)} columns holds codes, or none their names; a table of codes "
        f"has one of {', '.join(CODE)} and one of {', '.join(NAME)}. Read are {FORMATS}",
        text=", ".join(columns),
    )
