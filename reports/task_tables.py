"""What the tasks of a report hold: documents, lengths, labels, and texts that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .quantities import count, percent
from .rows import TaskPartRow, TextLengths
from .tables import NOTHING, frame_of, without_empty

if TYPE_CHECKING:
    from pandas import DataFrame

_LABELS = 4  # that are named with their counts


def parts_table(rows: Sequence[TaskPartRow]) -> DataFrame:
    """A row a part: lengths are the median, the 90th percentile and the longest."""
    models = list(dict.fromkeys(name for row in rows for name in row.tokens))
    return without_empty(
        frame_of(
            {
                "Task": row.task,
                "Part": row.part,
                "Examples": count(row.examples),
                "Texts": count(row.texts),
                "Words": count(row.words.total),
                "Words a text": _lengths(row.words),
                **{
                    f"Tokens a text, {name}": _lengths(row.tokens[name]) if name in row.tokens else NOTHING
                    for name in models
                },
                "Labels": _labels(row),
                "Without gold": count(row.without_gold) if row.without_gold else NOTHING,
                "Nested": percent(row.nested, row.spans) if row.nested else NOTHING,
                "In fragments": percent(row.discontinuous, row.spans) if row.discontinuous else NOTHING,
            }
            for row in rows
        )
    )


def shared_texts(rows: Iterable[TaskPartRow]) -> list[str]:
    """A line for each two parts of different tasks that have texts in common, each pair once."""
    sentences: dict[frozenset[str], str] = {}
    for row in rows:
        own = f"{row.part} of {row.task}"
        for other, number in row.shared.items():
            texts = "1 text is" if number == 1 else f"{count(number)} texts are"
            sentences.setdefault(frozenset({own, other}), f"{texts} in {own} and in {other}.")
    return list(sentences.values())


def _lengths(of: TextLengths) -> str:
    return " / ".join(count(number) for number in (of.median, of.high, of.longest))


def _labels(row: TaskPartRow) -> str:
    if not row.labels:
        return NOTHING
    # A no-break space, so that a count stays with its label.
    named = ", ".join(f"{label}\u00a0{count(number)}" for label, number in list(row.labels.items())[:_LABELS])
    return named if row.kinds <= _LABELS else f"{count(row.kinds)} kinds: {named}, …"
