"""Annotations in the formats that other tools read: brat, CoNLL, JSON lines, CSV and spaCy's DocBin."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Literal

from .annotations import Span
from .errors import InputError
from .words import words

Format = Literal["brat", "jsonl", "conll", "docbin", "csv"]

_LINE_END = re.compile(r"[^\S\n]*\n\s*")
_LONGEST_NAME = 200  # bytes; file systems take 255, with an ending
# Spreadsheets compute a cell that begins so, and a formula may open an address or a program ("CSV injection").
_FORMULA = re.compile(r"[=+\-@\t\r\n\0＝＋－＠]")
_NOT_A_NAME = re.compile(r"[^\w.\- ]+")


@dataclass(frozen=True, slots=True)
class Annotated:
    """A text with what was found in it. entities: spans with their probabilities, None where a model has none.
    labels: of the whole text; None where the model predicts none of texts. value: of a graded pair."""

    id: str
    text: str
    entities: tuple[tuple[Span, float | None], ...] = ()
    labels: tuple[tuple[str, float | None], ...] | None = None
    value: float | None = None


def brat(annotated: Annotated) -> str:
    """The .ann of a text: a T line a span, its probability as an annotator's note.

    brat ends a span at a line's end: one that goes on in the next line has a fragment in each.
    """
    lines = []
    for number, (span, probability) in enumerate(annotated.entities, 1):
        pieces = [piece for fragment in span.fragments for piece in _lines_of(annotated.text, *fragment)]
        offsets = ";".join(f"{start} {end}" for start, end in pieces)
        words_of = " ".join(annotated.text[start:end] for start, end in pieces)
        lines.append(f"T{number}\t{_type_name(span.label)} {offsets}\t{words_of}\n")
        if probability is not None:
            lines.append(f"#{number}\tAnnotatorNotes T{number}\tprobability {probability:.4f}\n")
    return "".join(lines)


def _lines_of(text: str, start: int, end: int) -> list[tuple[int, int]]:
    pieces = []
    for match in _LINE_END.finditer(text, start, end):
        pieces.append((start, match.start()))
        start = match.end()
    return [piece for piece in [*pieces, (start, end)] if piece[0] < piece[1]]


def _type_name(label: str) -> str:
    """brat's types hold no white space."""
    return re.sub(r"\s+", "_", label)


def conll(annotated: Annotated, spacy: str, bio: bool = True) -> str:
    """The id in a comment, -DOCSTART-, a line a word with its tag; empty lines where the text has one and at its end.

    bio: tags are B, I and O with labels; else each word has its label, as parts of speech. InputError for spans that
    tags cannot hold: inside each other, or of several fragments.
    """
    places = words(annotated.text, spacy)
    tags = ["O"] * len(places)
    for span, _ in annotated.entities:
        inside = [i for i, (start, end) in enumerate(places) if start < span.end and end > span.start]
        if span.discontinuous or any(tags[i] != "O" for i in inside):
            raise InputError(
                f"{annotated.id}: entities inside each other, or of several fragments, have no place in CoNLL's "
                "tags: take --format brat, jsonl, csv or docbin"
            )
        for number, i in enumerate(inside):
            tags[i] = f"{'I' if number else 'B'}-{span.label}" if bio else span.label
    lines = [f"# newdoc id = {' '.join(annotated.id.split())}\n", "-DOCSTART-\tO\n\n"]
    last = 0
    for (start, end), tag in zip(places, tags, strict=True):
        if "\n\n" in annotated.text[last:start] and not tag.startswith("I-") and last:
            lines.append("\n")
        lines.append(f"{annotated.text[start:end]}\t{tag}\n")
        last = end
    return "".join([*lines, "\n"])


def json_line(annotated: Annotated) -> str:
    """{"id", "predicted": [{"fragments", "label", "text", "probability"}]} as `adapt score` reads it; of a text with
    labels {"id", "labels": [{"label", "probability"}]}; of a graded pair {"id", "value"}."""
    row: dict[str, Any] = {"id": annotated.id}
    if annotated.value is not None:
        row["value"] = annotated.value
    elif annotated.labels is not None:
        row["labels"] = [{"label": label, **_share(share)} for label, share in annotated.labels]
    else:
        row["predicted"] = [
            {
                "fragments": span.fragments,
                "label": span.label,
                "text": span.surface(annotated.text),
                **_share(share),
            }
            for span, share in annotated.entities
        ]
    return json.dumps(row, ensure_ascii=False) + "\n"


def _share(probability: float | None) -> dict[str, float]:
    return {} if probability is None else {"probability": round(probability, 4)}


CSV_COLUMNS = {
    "entities": ("id", "start", "end", "label", "probability", "text"),
    "labels": ("id", "label", "probability"),
    "value": ("id", "value"),
}


def csv_rows(annotated: Annotated) -> str:
    """A row an entity, or a label, without a header. Fragments are joined by semicolons: "3;9" to "5;12".

    An id, label or text that a spreadsheet would take for a formula has an apostrophe in front, as OWASP advises:
    '=1+1. Offsets and numbers are as they are.
    """
    name = _not_a_formula(annotated.id)
    rows: list[tuple[object, ...]] = [] if annotated.value is None else [(name, annotated.value)]
    rows += [(name, _not_a_formula(label), _decimals(share)) for label, share in annotated.labels or ()]
    for span, share in annotated.entities:
        starts, ends = (";".join(str(fragment[side]) for fragment in span.fragments) for side in (0, 1))
        words_of = _not_a_formula(span.surface(annotated.text))
        rows.append((name, starts, ends, _not_a_formula(span.label), _decimals(share), words_of))
    # The csv module leaves a carriage return without quotes where lines do not end in one.
    returns = any("\r" in str(cell) for row in rows for cell in row)
    target = io.StringIO()
    csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerows(rows)
    return target.getvalue()


def _not_a_formula(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _decimals(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.4f}"


def docbin(texts: Sequence[Annotated], spacy: str, nested: bool = False) -> bytes:
    """A .spacy file: `doc.ents`, or with `nested` `doc.spans["medlingua"]`; `doc.cats` for labels of texts, and
    `doc.user_data["value"]` of a graded pair.

    A span that begins or ends inside a word is widened to the word, as spaCy's documents are made of these.
    """
    from spacy.tokens import DocBin
    from spacy.tokens import Span as Entity

    store = DocBin(store_user_data=True)
    for annotated in texts:
        doc = _blank(spacy, len(annotated.text)).make_doc(annotated.text)
        spans = [
            doc.char_span(span.start, span.end, label=span.label, alignment_mode="expand")
            for span, _ in annotated.entities
        ]
        if nested:
            doc.spans["medlingua"] = spans
        else:
            doc.set_ents([entity for entity in spans if isinstance(entity, Entity)])
        doc.cats = {label: 1.0 if share is None else share for label, share in annotated.labels or ()}
        doc.user_data["id"] = annotated.id
        if annotated.value is not None:
            doc.user_data["value"] = annotated.value
        store.add(doc)
    return bytes(store.to_bytes())


def page(texts: Sequence[Annotated], title: str) -> str:
    """An HTML page of texts with their entities, as displaCy draws them; labels of texts stand above each.

    Of entities inside each other displaCy draws none but the first.
    """
    from spacy import displacy

    docs = []
    for annotated in texts:
        entities: list[dict[str, Any]] = []
        for span, _ in annotated.entities:
            if not entities or span.start >= entities[-1]["end"]:
                entities.append({"start": span.start, "end": span.end, "label": escape(span.label)})
        labels = ", ".join(label for label, _ in annotated.labels or ())
        heading = f"{annotated.id}: {labels}" if labels else annotated.id
        docs.append({"text": annotated.text, "ents": entities, "title": escape(heading)})
    html: str = displacy.render(docs, style="ent", manual=True, page=True, jupyter=False)
    return html.replace("<title>displaCy</title>", f"<title>{escape(title)}</title>")


@cache
def _pipeline(code: str) -> Any:
    import spacy

    return spacy.blank(code)


def _blank(code: str, length: int) -> Any:
    pipeline = _pipeline(code)
    pipeline.max_length = max(pipeline.max_length, length + 1)
    return pipeline


def file_name(identity: str) -> str:
    """A document's id as a path below a folder, without an ending: "ward 3/note 7.txt" is "ward 3/note 7".

    What file systems do not take becomes "_"; a name that is too long for them is cut, with a digest of the whole.
    """
    parts = [_NOT_A_NAME.sub("_", part) for part in identity.split("/")]
    safe = [part for part in parts if part.strip(". ")] or ["document"]
    safe[-1] = re.sub(r"\.(txt|md)$", "", safe[-1], flags=re.IGNORECASE) or "document"
    return "/".join(map(_cut, safe))


def _cut(name: str) -> str:
    raw = name.encode()
    if len(raw) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(raw, digest_size=4).hexdigest()
    return f"{raw[: _LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"
