"""Raw text: one record per document, streamed from the files that labs keep."""

import csv
import glob
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import InputError, nearest
from .files import missing_column, parsed_json, read_lines, read_text

Scalar = str | int | float | bool | None

FORMATS = ("txt", "md", "jsonl", "ndjson", "csv", "tsv", "parquet")
_NAME = re.compile(rf"\.({'|'.join(FORMATS)})(?:\.(gz|zst))?$", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
# The csv module refuses fields above 128 KiB by default; a document is often longer.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@dataclass(frozen=True, slots=True)
class Document:
    """One text, as it was read: `text` is never normalised, `source` says which corpus it is from."""

    id: str
    text: str
    source: str
    meta: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))


def read_documents(path: str | Path, *, source: str, text_field: str | None = None) -> Iterator[Document]:
    """Stream the documents of a file, a folder (recursive, sorted) or a glob pattern.

    A `.txt` or `.md` file is one document whose id is its name (inside a folder: its path from there).
    A row of `.jsonl`, `.ndjson`, `.csv`, `.tsv` or `.parquet` is one document: `text_field` (default
    "text") is the text, `id` the id (else "<file>:<line>"), every other scalar column goes to `meta`
    (nested JSON and parquet columns have no place there). All may be plain; all but parquet also `.gz`
    or `.zst`. A byte order mark is stripped. Memory is that of one document (parquet: of 1,024 rows).

    Raises InputError for what is missing, empty, truncated, not UTF-8, without the text column, or changed while it
    is read.
    """
    files, root = _files(path)
    has_text = False
    for file in files:
        before = _state(file)
        for document in _read_file(file, file.relative_to(root).as_posix(), source, text_field or "text"):
            has_text = has_text or bool(document.text.strip())
            yield document
        if _state(file) != before:
            raise InputError(f"{file}: changed while it was read; wait until it is whole, and start again")
    if not has_text:
        raise InputError(f"{path}: no documents in it (every file or text is empty); give a path with text")


def _state(file: Path) -> tuple[int, int, int]:
    """What changes with a file: which one it is, its size, its last change."""
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _files(path: str | Path) -> tuple[list[Path], Path]:
    """The files that `path` means, and the folder that their names are relative to."""
    readable = "readable are " + ", ".join(f".{name}" for name in FORMATS) + ", plain, .gz or .zst"
    place = Path(path)
    if place.is_file():
        if not _NAME.search(place.name):
            raise InputError(f"{place}: not a format that can be read; {readable}")
        return [place], place.parent
    if place.is_dir():
        candidates, root = list(place.rglob("*")), place
    elif glob.has_magic(str(path)):
        parts = place.parts
        first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        root = Path(*parts[:first])
        candidates = list(root.glob("/".join(parts[first:])))
    else:
        siblings = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = f" ({nearest(place.name, siblings)})" if 0 < len(siblings) <= 40 else ""
        raise InputError(f"{path}: no such file, folder or pattern{hint}; check the path")
    files = sorted(entry for entry in candidates if entry.is_file() and _NAME.search(entry.name))
    if not files:
        raise InputError(f"{path}: no documents in it, none of its {len(candidates)} entries fits; {readable}")
    return files, root


def _read_file(file: Path, name: str, source: str, text_field: str) -> Iterator[Document]:
    match = _NAME.search(file.name)
    assert match is not None
    kind, packing = match[1].lower(), match[2]
    if kind == "parquet":
        if packing:
            raise InputError(f"{file}: parquet is compressed inside; unpack the .{packing} first")
        yield from _read_parquet(file, name, source, text_field)
    elif kind in ("txt", "md"):
        yield Document(name, read_text(file).removeprefix("\ufeff"), source)
    elif kind in ("csv", "tsv"):
        yield from _read_csv(file, name, source, text_field)
    else:
        yield from _read_jsonl(file, name, source, text_field)


def _row(row: Mapping[str, Any], where: str, place: str, source: str, text_field: str) -> Document:
    """One row as a document. `where` becomes the id if the row has none; `place` is for messages."""
    if text_field not in row:
        raise missing_column(text_field, row, place)
    text = row[text_field]
    if not isinstance(text, str):
        raise InputError(
            f"{place}: column '{text_field}' holds {type(text).__name__}, not text; "
            f"correct the row, or name another column with --text-field"
        )
    if surrogate := _SURROGATE.search(text):
        raise InputError(
            f"{place}: half a surrogate pair (U+{ord(surrogate[0]):04X}) at character {surrogate.start()} of "
            f"'{text_field}'; the file was written by a faulty export, write it again"
        )
    meta = {key: value for key, value in row.items() if key not in (text_field, "id") and _scalar(value)}
    identity = row.get("id")
    return Document(where if identity in (None, "") else str(identity), text, source, MappingProxyType(meta))


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _read_jsonl(file: Path, name: str, source: str, text_field: str) -> Iterator[Document]:
    before = 0
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = parsed_json(line, place)
        except json.JSONDecodeError as error:
            cut = "" if line.endswith("\n") else "; the line has no end: the file looks truncated, copy it again"
            raise InputError(
                f"{place}: not JSON ({error.msg} at column {error.colno}); {before} documents came "
                f"before{cut}; each line must be one JSON object"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{place}: a JSON {type(row).__name__}, not an object; each line must be an object such as "
                f'{{"id": "1", "{text_field}": "..."}}'
            )
        yield _row(row, f"{name}:{number}", place, source, text_field)
        before += 1


def _read_csv(file: Path, name: str, source: str, text_field: str) -> Iterator[Document]:
    for number, row in read_rows(file, delimiter=None):
        yield _row(row, f"{name}:{number}", f"{file}, line {number}", source, text_field)


def read_rows(file: Path, *, delimiter: str | None, header: bool = True) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a delimited file with the line each ends on; without a header the columns are "0", "1"...

    `delimiter` None: a tab in .tsv, else the comma or, where the first line has more of them, the semicolon
    that spreadsheets write in France, Spain and Germany.
    """
    lines = read_lines(file)
    first = next(lines, "")
    if delimiter is None:
        semicolon = first.count(";") > first.count(",")
        delimiter = "\t" if ".tsv" in file.name.lower() else ";" if semicolon else ","

    def all_lines() -> Iterator[str]:
        if first:
            yield first
        yield from lines

    reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if columns is None:
                columns = cells if header else [str(index) for index in range(len(cells))]
                if len(set(columns)) < len(columns):
                    raise InputError(f"{file}, line 1: two columns have the same name ({', '.join(columns)})")
                if header:
                    continue
            if len(cells) != len(columns):
                raise InputError(
                    f"{file}, line {reader.line_num}: {len(cells)} cells where there are "
                    f"{len(columns)} columns; quote the cell that holds the delimiter, or complete the row"
                )
            yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{file}, line {reader.line_num}: not a whole table ({error}); the file is truncated or a quote "
            f"is not closed"
        ) from error


def _read_parquet(file: Path, name: str, source: str, text_field: str) -> Iterator[Document]:
    from .parquet import rows_of  # pyarrow takes a third of a second to import

    for number, row in rows_of(file, text_field):
        yield _row(row, f"{name}:{number}", f"{file}, row {number}", source, text_field)
