"""Labelled tables and labelled JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from ..annotations import UNLABELLED, Example, Gold, Span, checked, tidy
from ..delimited import read_rows
from ..documents import Document, without_nul
from ..errors import InputError, kind_of
from ..files import missing_column, parsed_json, read_lines, read_text

Row = tuple[int, dict[str, str]]  # the line's number and the cells by column


def read_table(
    path: Path,
    *,
    source: str,
    text: str | tuple[str, ...] = "text",
    id: str | None = None,
    labels: str | tuple[str, ...] = "label",
    label_separator: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    columns: tuple[str, ...] = (),
    question: str | None = None,
) -> Iterator[Example]:
    """One document a row of a delimited file, plain or packed, with or without a byte order mark.

    `text` may name several columns: they are joined by a newline. `question` names the other text of a pair.
    Without `id` a document is named by file and line. With `label_separator` the gold is a set of labels, else one
    label; `labels` that names several columns gives the mean of their numbers (annotators of a value). The other
    columns go to the document's meta. Without a header the columns are named "0", "1" and so on; `columns` names
    them where some files of a set have a header and others none, and fewer columns: the last ones (GAD).
    """
    texts = (text,) if isinstance(text, str) else tuple(text)
    golden = (labels,) if isinstance(labels, str) else tuple(labels)
    used = {*texts, *golden, *(name for name in (id, question) if name)}
    for number, row in _named(read_rows(path, delimiter=delimiter, header=header and not columns), columns):
        place = f"{path}, line {number}"
        for name in sorted(used):
            if name not in row:
                raise missing_column(name, row, place)
        gold: Gold
        if len(golden) > 1:
            gold = _mean([row[name] for name in golden], place)
        elif label_separator is None:
            gold = _one_label(row[golden[0]], golden[0], place)
        else:
            gold = frozenset(label.strip() for label in row[golden[0]].split(label_separator) if label.strip())
        identity = row[id] if id else f"{path.name}:{number}"
        meta = {name: value for name, value in row.items() if name not in used}
        document = Document(identity, "\n".join(row[name] for name in texts), source, meta)
        yield Example(identity, document, gold, question=row[question] if question else "")


def _named(rows: Iterable[Row], columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows under the last of the names, without a first one that holds these."""
    for number, row in rows:
        names = columns[-len(row) :] if columns else tuple(row)
        if len(names) == len(row) and tuple(row.values()) != names:
            yield number, dict(zip(names, row.values(), strict=True))
        elif len(names) < len(row):
            yield number, row


def _mean(cells: list[str], place: str) -> float:
    """Of the numbers in the cells; an empty one is an annotator without an answer."""
    try:
        values = [float(cell.replace(",", ".")) for cell in cells if cell.strip()]
    except ValueError as error:
        raise InputError(
            f"{place}: a cell of 'labels' is no number, and several columns are named; name one, or correct the cell"
        ) from error
    if not values:
        raise InputError(f"{place}: no number in any column of 'labels'; give the row one or take it out")
    return fmean(values)


def _one_label(value: object, column: str, place: str) -> str:
    label = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not label:
        held = kind_of(None if isinstance(value, str) else value)
        raise InputError(f"{place}: no label in '{column}' (it holds {held}); give the row one or take it out")
    return label


def read_json(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    text: str = "text",
    id: str = "id",
    labels: str = "labels",
    question: str | None = None,
    unlabelled: tuple[str, ...] = (),
    lines: bool = False,
) -> Iterator[Example]:
    """A JSON list of objects, or JSON lines, plain or packed; `lines` says so where the name does not end in .jsonl.

    `labels` holds one string or number (one label), a list of strings (a set of labels), or a list of
    spans `{"start": 0, "end": 5, "label": "X", "text": "toux"}` whose text is checked against the document. An empty
    list is an empty set, or no spans. `question` names the other text of a pair. With `unlabelled` a row without a
    label (null, NaN), or with one that contains any of these words, is left out. `notes` counts what `tidy` changes,
    and rows left out.
    """
    for number, row in json_rows(path, lines):
        place = f"{path}, {number}"
        for name in (text, labels, *((question,) if question else ())):
            if name not in row:
                raise missing_column(name, row, place)
            if name != labels and not isinstance(row[name], str):
                raise InputError(f"{place}: '{name}' holds {kind_of(row[name])}, not text; correct it")
        label = row[labels]
        if unlabelled and (label is None or label != label or any(words in str(label) for words in unlabelled)):
            if notes is not None:
                notes[UNLABELLED] += 1
            continue
        identity = str(row.get(id, f"{path.name}:{number}"))
        document = Document(identity, without_nul(row[text], place), source)
        gold = _json_gold(label, labels, row[text], place, notes)
        yield Example(identity, document, gold, question=row[question] if question else "")


def json_rows(path: Path, lines: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list or of JSON lines, each with its place in the file."""
    numbered: Iterator[tuple[str, str]]
    if lines or ".jsonl" in path.name or ".ndjson" in path.name:
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
                raise InputError(f"{path}, {where}: {kind_of(row)}, not an object; correct it")
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
