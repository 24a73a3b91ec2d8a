"""Raw text: one record per document, streamed from the files that labs keep."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .archives import ARCHIVE
from .delimited import read_rows
from .errors import InputError, kind_of
from .files import CR_ALONE, File, Member, missing_column, parsed_json, read_lines, read_text
from .folders import NAME, documents_in, files_of

Scalar = str | int | float | bool | None
Skip = Callable[[InputError], None]

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """One text, as it was read: `text` is never normalised, `source` says which corpus it is from."""

    id: str
    text: str
    source: str
    meta: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))


def read_documents(
    path: str | Path, *, source: str, text_field: str | None = None, skip: Skip | None = None
) -> Iterator[Document]:
    """Stream the documents of a file, a folder (recursive, sorted; see `folders.files_of`) or a glob pattern.

    A `.txt` or `.md` file is one document whose id is its name (in a folder or archive: its path from there).
    A row of `.jsonl`, `.ndjson`, `.csv`, `.tsv`, `.parquet` or `.arrow` (which `datasets` saves) is one document:
    `text_field` (default "text") is the text, `id` the id (else "<file>:<line>"), every other scalar column goes to
    `meta` (nested JSON and parquet columns have no place there). All may be plain; all but parquet and arrow also
    `.gz`, `.zst`, `.xz` or `.bz2`, and members of a `.zip` or `.tar`, chosen as in a folder. A byte order mark is
    stripped. Memory is that of one document (parquet: of 1,024 rows).

    Raises InputError for what is missing, empty, truncated, not UTF-8, without the text column, or changed while it
    is read. skip: takes that of a text file or of a row, which is then left out; a table that breaks off or is
    not UTF-8 still raises it, as rows would be lost that nobody can count.
    """
    listing = files_of(path)
    has_text = False
    for file in listing.files:
        before = _state(file)
        for document in _of_file(file, file.relative_to(listing.root).as_posix(), source, text_field or "text", skip):
            has_text = has_text or bool(document.text.strip())
            yield document
        if _state(file) != before:
            raise InputError(f"{file}: changed while it was read; wait until it is whole, and start again")
    if not has_text:
        state = "empty, or left out" if skip else "empty"
        raise InputError(f"{path}: no documents in it (every file or text is {state}); give a path with text")


def check_first_rows(path: str | Path, *, text_field: str | None = None) -> None:
    """Read the first row of each table of `path`. Raises InputError where one lacks the text column.

    Files that are texts by themselves are not opened. Of an archive the first document is read.
    """
    listing = files_of(path)
    for file in listing.files:
        match = NAME.search(file.name)
        if match is None or match[1].lower() not in ("txt", "md"):
            next(_of_file(file, file.name, "", text_field or "text"), None)


def _of_file(file: Path, name: str, source: str, text_field: str, skip: Skip | None = None) -> Iterator[Document]:
    if not ARCHIVE.search(file.name):
        yield from _read_file(file, name, source, text_field, skip)
        return
    for member in documents_in(file):
        yield from _read_file(member, f"{name}/{member.path}", source, text_field, skip)


def _state(file: Path) -> tuple[int, int, int]:
    """What changes with a file: which one it is, its size, its last change."""
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _read_file(file: File, name: str, source: str, text_field: str, skip: Skip | None) -> Iterator[Document]:
    match = NAME.search(file.name)
    assert match is not None
    kind, packing = match[1].lower(), match[2]
    if kind in ("parquet", "arrow"):
        if packing or isinstance(file, Member):
            raise InputError(f"{file}: {kind} is compressed inside; unpack it first")
        from .parquet import rows_of  # pyarrow takes a third of a second to import

        for number, row in rows_of(file, text_field):
            yield from _or_skip(
                document_of, skip, row, f"{name}:{number}", f"{file}, row {number}", source, text_field
            )
    elif kind in ("txt", "md"):
        yield from _or_skip(lambda: Document(name, read_text(file).removeprefix("\ufeff"), source), skip)
    elif kind in ("csv", "tsv"):
        for number, row in read_rows(file, delimiter=None):
            yield from _or_skip(
                document_of, skip, row, f"{name}:{number}", f"{file}, line {number}", source, text_field
            )
    else:
        yield from _read_jsonl(file, name, source, text_field, skip)


def _or_skip(read: Callable[..., Document], skip: Skip | None, *given: Any) -> Iterator[Document]:
    """The document; none where it cannot be read and `skip` takes the reason."""
    try:
        document = read(*given)
    except InputError as error:
        if skip is None:
            raise
        skip(error)
    else:
        yield document


def document_of(row: Mapping[str, Any], where: str, place: str, source: str, text_field: str) -> Document:
    """One row as a document. `where` becomes the id if the row has none; `place` is for messages."""
    if text_field not in row:
        raise missing_column(text_field, row, place)
    text = row[text_field]
    if not isinstance(text, str):
        raise InputError(
            f"{place}: column '{text_field}' holds {kind_of(text)}, not text; "
            f"correct the row, or name another column with --text-field"
        )
    if surrogate := _SURROGATE.search(text):
        raise InputError(
            f"{place}: half a surrogate pair (U+{ord(surrogate[0]):04X}) at character {surrogate.start()} of "
            f"'{text_field}'; the file was written by a faulty export, write it again"
        )
    without_nul(text, place)
    meta = {key: value for key, value in row.items() if key not in (text_field, "id") and _scalar(value)}
    identity = row.get("id")
    return Document(where if identity in (None, "") else str(identity), text, source, MappingProxyType(meta))


def unnested(row: Mapping[str, Any], text_field: str) -> Iterator[Mapping[str, Any]]:
    """The objects that a column holds, each as a row with the text under `text_field`: "documents.text" of
    {"documents": [{"text": "..."}]}, or of {"documents": {"text": ["..."]}}, as Hugging Face's sequences may be.

    A row without such a column, and one of a plain `text_field`, is given as it is.
    """
    column, _, field = text_field.partition(".")
    value = row.get(column)
    if not field or text_field in row or not isinstance(value, list | Mapping):
        yield row
        return
    if isinstance(value, Mapping):
        value = [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    for number, item in enumerate(value, 1):
        cells = dict(item) if isinstance(item, Mapping) else {}
        if field in cells:
            cells[text_field] = cells.pop(field)
        yield {**cells, "id": f"{row.get('id', '')}:{number}"} if row.get("id") else cells


def without_nul(text: str, place: str) -> str:
    """The text. InputError where it holds a NUL, which no writing does: text in UTF-16 that was read as another."""
    if "\0" in text:
        raise InputError(
            f"{place}: a NUL at character {text.index(chr(0))} of the text; it was converted from the wrong encoding "
            "(UTF-16 taken for another one), convert it again"
        )
    return text


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _read_jsonl(file: File, name: str, source: str, text_field: str, skip: Skip | None) -> Iterator[Document]:
    before = 0
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            for document in _or_skip(
                _of_line, skip, line, f"{name}:{number}", f"{file}, line {number}", source, text_field, before
            ):
                yield document
                before += 1


def _of_line(line: str, where: str, place: str, source: str, text_field: str, before: int) -> Document:
    """A line of JSON as a document; `before`: documents that came before it."""
    try:
        row = parsed_json(line, place)
    except json.JSONDecodeError as error:
        if not line.endswith("\n") and "\r" in line.strip():
            raise InputError(f"{place}: {CR_ALONE}") from error
        cut = "" if line.endswith("\n") else "; the line has no end: the file looks truncated, copy it again"
        raise InputError(
            f"{place}: not JSON ({error.msg} at column {error.colno}); {before} documents came "
            f"before{cut}; each line must be one JSON object (jq -c . FILE writes it so)"
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            f"{place}: {kind_of(row)}, not an object; each line must be an object such as "
            f'{{"id": "1", "{text_field}": "..."}}'
        )
    return document_of(row, where, place, source, text_field)
