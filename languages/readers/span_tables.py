"""Spans in one table and the texts of their documents in another one, as INCEpTION's projects are put on the hub."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import Example, Span, placed, tidy
from ..documents import Document, without_nul
from ..errors import InputError
from ..files import missing_column


def read_span_tables(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    spans: str = "spans",
    documents: str = "document_metadata",
    document: str = "report",
    text: str = "full_text",
    start: str = "begin",
    end: str = "end",
    label: str = "span_type",
    words: str = "span_text",
    misplaced: str = "refuse",
) -> Iterator[Example]:
    """A part of the annotated PARHAF: data/spans/spans_train.parquet, and data/document_metadata/
    document_metadata_train.parquet with the texts.

    `path` is the table of spans; that of the texts has `documents` in the place of `spans` in its name and its
    folder's. The other options name columns; `misplaced` is as in `placed`. A document without a span has no entity.
    InputError for a span of a document that is not there, and for rows without the columns.
    """
    from ..parquet import rows_of  # pyarrow is slow to import

    texts_file = path.parent.parent / path.parent.name.replace(spans, documents) / path.name.replace(spans, documents)
    if not texts_file.is_file():
        raise InputError(f"{path}: no {texts_file.parent.name}/{texts_file.name} next to it, the texts; add it")
    texts = {}
    for number, row in rows_of(texts_file, text):
        place = f"{texts_file}, row {number}"
        texts[str(_cell(row, document, place))] = without_nul(str(row[text]), place)
    placed_spans: dict[str, list[Span]] = defaultdict(list)
    for number, row in rows_of(path, words):
        place = f"{path}, row {number}"
        name = str(_cell(row, document, place))
        if name not in texts:
            raise InputError(f"{place}: a span of a document that is not in {texts_file.name}", text=name)
        try:
            span = Span.of(int(_cell(row, start, place)), int(_cell(row, end, place)), str(_cell(row, label, place)))
        except (TypeError, ValueError) as error:
            raise InputError(f"{place}: '{start}' or '{end}' is no number; correct it") from error
        placed_spans[name].append(placed(span, texts[name], str(row[words]), place, notes, misplaced))
    for name, content in texts.items():
        yield Example(name, Document(name, content, source), tidy(placed_spans[name], content, notes))


def _cell(row: dict[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise missing_column(column, row, place)
    return row[column]
