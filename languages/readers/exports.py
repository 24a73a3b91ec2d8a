"""What doccano, Label Studio and Prodigy export: JSON with offsets."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import Example, Span, checked, tidy
from ..documents import Document
from ..errors import InputError
from ..offsets import converter
from .structure import list_of, number_of, object_of, text_of
from .tables import json_rows

REFUSED = "examples left out, which were not accepted: {n}"  # of Prodigy
CANCELLED = "annotations left out, which were cancelled: {n}"  # of Label Studio


def read_doccano(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    text: str = "text",
    id: str = "id",
    unit: str = "characters",
    base: int = 0,
) -> Iterator[Example]:
    """doccano's JSONL: spans as `"label": [[start, end, LABEL]]` or, with relations, as `"entities"` with
    `start_offset`, `end_offset` and `label`. The format has no words of a span to check offsets by: they lie inside
    the text."""
    for number, row in json_rows(path):
        place = f"{path}, {number}"
        document = _document(row, text, id, path, number, source)
        convert = converter(document.text, place, unit, base)
        names = [name for name in ("label", "labels", "entities") if isinstance(row.get(name), list)]
        if not names:
            raise InputError(f"{place}: no list 'label' or 'entities'; export the project again as JSONL")
        spans = []
        for item in row["entities"] if "entities" in names else row[names[0]]:
            if isinstance(item, list) and len(item) == 3:
                item = dict(zip(("start_offset", "end_offset", "label"), item, strict=True))
            entry = object_of(item, place)
            edges = [convert(number_of(entry, edge, place)) for edge in ("start_offset", "end_offset")]
            spans.append(_span(edges[0], edges[1], text_of(entry, "label", place), document.text, None, place))
        yield Example(document.id, document, tidy(spans, document.text, notes))


def read_prodigy(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    text: str = "text",
    id: str = "id",
    unit: str = "characters",
    base: int = 0,
) -> Iterator[Example]:
    """Prodigy's JSONL: `"spans": [{"start": 0, "end": 4, "label": "X"}]`. Examples whose answer is not "accept" are
    left out and counted. The words of `tokens`, where they are there, are checked against the text."""
    notes = Counter() if notes is None else notes
    for number, row in json_rows(path):
        place = f"{path}, {number}"
        if row.get("answer", "accept") != "accept":
            notes[REFUSED] += 1
            continue
        document = _document(row, text, id, path, number, source)
        convert = converter(document.text, place, unit, base)
        for token in list_of(row, "tokens", place):
            edges = [convert(number_of(object_of(token, place), edge, place)) for edge in ("start", "end")]
            _span(edges[0], edges[1], "token", document.text, text_of(token, "text", place), place)
        spans = []
        for item in list_of(row, "spans", place):
            edges = [convert(number_of(object_of(item, place), edge, place)) for edge in ("start", "end")]
            expected = item["text"] if isinstance(item.get("text"), str) else None
            spans.append(_span(edges[0], edges[1], text_of(item, "label", place), document.text, expected, place))
        yield Example(document.id, document, tidy(spans, document.text, notes))


def read_label_studio(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    text: str = "text",
    id: str = "id",
    annotation: str = "only",
    unit: str = "utf-16",
    base: int = 0,
) -> Iterator[Example]:
    """Label Studio's JSON or JSON-MIN. `text` names the field of the data. Cancelled annotations are left out and
    counted; of several of a task, `annotation` "first" or "last" is taken. Each span is checked against its text."""
    if annotation not in ("only", "first", "last"):
        raise InputError(f"{path}: annotation is '{annotation}'; known: first, last, only")
    notes = Counter() if notes is None else notes
    for number, row in json_rows(path):
        place = f"{path}, {number}"
        data = object_of(row["data"], place) if "data" in row else row
        document = _document({**data, id: row.get(id)}, text, id, path, number, source)
        convert = converter(document.text, place, unit, base)
        spans = []
        for value in _label_studio_values(row, annotation, place, notes):
            edges = [convert(number_of(value, edge, place)) for edge in ("start", "end")]
            expected = value["text"] if isinstance(value.get("text"), str) else None
            for label in list_of(value, "labels", place):
                spans.append(_span(edges[0], edges[1], str(label), document.text, expected, place))
        yield Example(document.id, document, tidy(spans, document.text, notes))


def _label_studio_values(
    row: dict[str, Any], annotation: str, place: str, notes: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The values with labels of a task: of its annotation, or, in JSON-MIN, of its fields."""
    if "annotations" not in row:
        for field in row.values():
            for item in field if isinstance(field, list) else ():
                if isinstance(item, dict) and "labels" in item:
                    yield item
        return
    entries = [object_of(entry, place) for entry in list_of(row, "annotations", place)]
    valid = [entry for entry in entries if not entry.get("was_cancelled")]
    notes.update({CANCELLED: len(entries) - len(valid)} if len(valid) < len(entries) else {})
    if len(valid) > 1 and annotation == "only":
        raise InputError(
            f"{place}: {len(valid)} annotations of one text; say which one counts in the options: annotation = "
            "'last' (or 'first')"
        )
    for entry in valid[:1] if annotation == "first" else valid[-1:]:
        for result in list_of(entry, "result", place):
            value = object_of(result, place).get("value")
            if isinstance(value, dict) and "labels" in value:
                yield value


def _document(row: dict[str, Any], text: str, id: str, path: Path, number: str, source: str) -> Document:
    name = row.get(id)
    known = isinstance(name, str | int) and not isinstance(name, bool) and name != ""
    identity = str(name) if known else f"{path.name}:{number}"
    return Document(identity, text_of(row, text, f"{path}, {number}"), source)


def _span(start: int, end: int, label: str, text: str, expected: str | None, place: str) -> Span:
    if start > end:
        raise InputError(f"{place}: a span that ends before it begins; correct it")
    return checked(Span.of(start, end, label), text, expected, place)
