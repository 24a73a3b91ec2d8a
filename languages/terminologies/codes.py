"""Tables of codes: ICD, ATC, OPS and their like, as agencies and hospitals have them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..delimited import read_rows
from ..errors import InputError
from ..hierarchy import by_prefix
from .concept import Concept, concept

CODE = ("code", "id", "kode", "codigo", "código", "atc code")
NAME = ("description", "label", "name", "term", "libelle", "libellé", "descripcion", "descripción", "bezeichnung")
_PARENT, _DEFINITION, _SYNONYMS = ("parent", "parent_code"), ("definition",), ("synonyms",)


def column(columns: Sequence[str], known: Sequence[str]) -> str | None:
    """The column of a table that is called one of these, however it is written."""
    return next((c for c in columns if c.strip().lower().lstrip("\ufeff") in known), None)


def read_codes(file: Path) -> Iterator[Concept]:
    """A table with a column of codes and one of descriptions, and perhaps parents, definitions and synonyms (divided
    by "|"). Without parents a code lies below its longest beginning among the others."""
    rows: list[tuple[str, str, str, str, str]] = []
    named: tuple[str | None, ...] = ()
    for line, row in read_rows(file, delimiter=None):
        if not named:
            named = tuple(column(list(row), known) for known in (CODE, NAME, _PARENT, _DEFINITION, _SYNONYMS))
        cells = [row[name].strip() if name is not None else "" for name in named]
        if not cells[0]:
            raise InputError(f"{file}, line {line}: no code; complete the row, or take it out")
        rows.append((cells[0], cells[1], cells[2], cells[3], cells[4]))
    has_parents = len(named) > 2 and named[2] is not None
    above = {} if has_parents else by_prefix([row[0] for row in rows], str(file)).parents
    for code, name, parent, definition, synonyms in rows:
        parents = [parent] if parent else sorted(above.get(code, ()))
        if (parsed := concept(code, [name, *synonyms.split("|")], parents, definition)) is not None:
            yield parsed
