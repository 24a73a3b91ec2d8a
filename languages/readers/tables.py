"""Labelled tables, labelled JSON, and CodiEsp's folders."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..annotations import Example, Gold, Span, checked, tidy
from ..archives import read_archive
from ..delimited import read_rows
from ..documents import Document, without_nul
from ..errors import InputError
from ..files import decode, missing_column, parsed_json, read_lines, read_text


def read_table(
    path: Path,
    *,
    source: str,
    text: str | tuple[str, ...] = "text",
    id: str | None = None,
    labels: str = "label",
    label_separator: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    question: str | None = None,
) -> Iterator[Example]:
    """One document a row of a delimited file, plain or packed, with or without a byte order mark.

    `text` may name several columns: they are joined by a newline. `question` names the other text of a pair.
    Without `id` a document is named by file and line. With `label_separator` the gold is a set of labels, else one
    label. The other columns go to the document's meta. Without a header the columns are named "0", "1" and so on.
    """
    columns = (text,) if isinstance(text, str) else tuple(text)
    for number, row in read_rows(path, delimiter=delimiter, header=header):
        place = f"{path}, line {number}"
        for name in (*columns, labels, *(name for name in (id, question) if name)):
            if name not in row:
                raise missing_column(name, row, place)
        if label_separator is None:
            gold: Gold = _one_label(row[labels], labels, place)
        else:
            gold = frozenset(label.strip() for label in row[labels].split(label_separator) if label.strip())
        identity = row[id] if id else f"{path.name}:{number}"
        used = {*columns, labels, *(name for name in (id, question) if name)}
        meta = {name: value for name, value in row.items() if name not in used}
        document = Document(identity, "\n".join(row[name] for name in columns), source, meta)
        yield Example(identity, document, gold, question=row[question] if question else "")


def _one_label(value: object, column: str, place: str) -> str:
    label = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not label:
        raise InputError(
            f"{place}: no label in '{column}' (it holds {type(value).__name__}); give the row one or take it out"
        )
    return label


def read_json(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    text: str = "text",
    id: str = "id",
    labels: str = "labels",
) -> Iterator[Example]:
    """A JSON list of objects, or JSON lines, plain or packed.

    `labels` holds one string or number (one label), a list of strings (a set of labels), or a list of
    spans `{"start": 0, "end": 5, "label": "X", "text": "toux"}` whose text is checked against the document. An empty
    list is an empty set, or no spans. `notes` counts what `tidy` changes.
    """
    for number, row in json_rows(path):
        place = f"{path}, {number}"
        for name in (text, labels):
            if name not in row:
                raise missing_column(name, row, place)
        if not isinstance(row[text], str):
            raise InputError(f"{place}: '{text}' holds {type(row[text]).__name__}, not text; correct it")
        identity = str(row.get(id, f"{path.name}:{number}"))
        document = Document(identity, without_nul(row[text], place), source)
        yield Example(identity, document, _json_gold(row[labels], labels, row[text], place, notes))


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list or of JSON lines, each with its place in the file."""
    numbered: Iterator[tuple[str, str]]
    if ".jsonl" in path.name or ".ndjson" in path.name:
        numbered = ((f"line {n}", line) for n, line in enumerate(read_lines(path), 1) if line.strip())
    else:
        numbered = iter([("the file", read_text(path).removeprefix("\ufeff"))])
    for place, raw in numbered:
        try:
            value = parsed_json(raw, f"{path}, {place}")
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, {place}: not JSON ({error.msg} at line {error.lineno}, column {error.colno}); "
                f"the file may be truncated"
            ) from error
        rows = value if isinstance(value, list) and place == "the file" else [value]
        for index, row in enumerate(rows, 1):
            where = f"entry {index}" if place == "the file" else place
            if not isinstance(row, dict):
                raise InputError(f"{path}, {where}: a JSON {type(row).__name__}, not an object; correct it")
            yield where, row


def _json_gold(value: object, column: str, text: str, place: str, notes: Counter[str] | None) -> Gold:
    if not isinstance(value, list):
        return _one_label(value, column, place)
    if all(isinstance(item, str) for item in value):
        return frozenset(value)
    spans = []
    for number, item in enumerate(value, 1):
        try:
            span = Span.of(int(item["start"]), int(item["end"]), str(item["label"]))
            expected = str(item["text"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{place}: item {number} of '{column}' is neither a label nor a span (start, end, label, text); "
                "exports of doccano, Label Studio and Prodigy have readers of their own",
                text=repr(item),
            ) from error
        spans.append(checked(span, text, expected, place))
    return tidy(spans, text, notes)


def read_codiesp(path: Path, *, source: str) -> Iterator[Example]:
    """Diagnosis codes (`*D.tsv`, no header: document, code) of the texts in text_files/ or text_files.zip.

    Codes are given in capitals, as ICD-10 prints them. A document without a row has no codes.
    """
    tables = sorted(path.glob("*D.tsv"))
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} files end in D.tsv, not one; give a split's folder")
    texts = dict(_codiesp_texts(path))
    codes: dict[str, set[str]] = {name: set() for name in texts}
    for number, row in read_rows(tables[0], delimiter="\t", header=False):
        if row["0"] not in codes or "1" not in row:
            raise InputError(
                f"{tables[0]}, line {number}: a code needs the name of a document, and that has no text in {path}",
                text=row["0"],
            )
        codes[row["0"]].add(row["1"].upper())
    for name in sorted(texts):
        yield Example(name, Document(name, texts[name], source), frozenset(codes[name]))


def _codiesp_texts(path: Path) -> Iterator[tuple[str, str]]:
    folder, archive = path / "text_files", path / "text_files.zip"
    if folder.is_dir():
        yield from ((file.stem, read_text(file)) for file in sorted(folder.glob("[!.]*.txt")))
    elif archive.is_file():
        for name, raw in read_archive(archive, (".txt",)):
            yield PurePosixPath(name).stem, decode(raw, f"{archive}: {name}")
    else:
        raise InputError(f"{path}: neither text_files/ nor text_files.zip in it; give a split's folder")
