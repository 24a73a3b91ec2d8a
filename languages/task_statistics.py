"""Descriptive statistics of a labelled task: documents, lengths, labels, nested and discontinuous entities."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .annotations import Example, Span
from .task import Task, labels_of

Measure = Callable[[str], int]  # the length of a text

PARTS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of documents, in one unit: the median, the 90th percentile (nearest rank), the longest, and their sum."""

    median: int
    high: int
    longest: int
    total: int

    @classmethod
    def of(cls, lengths: Iterable[int]) -> "Lengths":
        ordered = sorted(lengths)
        rank = len(ordered) - 1
        return cls(ordered[rank // 2], ordered[-(-rank * 9 // 10)], ordered[-1], sum(ordered))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of some examples. documents: distinct texts. lengths: of these. without_gold: examples without a label or span.

    labels: counts by label, most frequent first. nested: spans inside another one of other boundaries.
    values: the lowest, mean and highest of graded pairs.
    """

    examples: int
    documents: int
    lengths: Lengths
    labels: dict[str, int]
    without_gold: int
    spans: int
    nested: int
    discontinuous: int
    values: tuple[float, float, float] | None


def words_in(text: str) -> int:
    """Words as white space divides them."""
    return len(text.split())


def statistics_of(examples: Sequence[Example], measure: Measure = words_in) -> Statistics:
    """At least one example. measure: of a document's length."""
    texts = {example.document.text for example in examples}
    golds = [example.gold for example in examples]
    spans = [[item for item in gold if isinstance(item, Span)] for gold in golds if isinstance(gold, tuple)]
    values = [gold for gold in golds if isinstance(gold, float)]
    return Statistics(
        examples=len(examples),
        documents=len(texts),
        lengths=Lengths.of(map(measure, texts)),
        labels=dict(Counter(label for gold in golds for label in labels_of(gold)).most_common()),
        without_gold=sum(not isinstance(gold, float | str) and not gold for gold in golds),
        spans=sum(map(len, spans)),
        nested=sum(map(nested, spans)),
        discontinuous=sum(span.discontinuous for of in spans for span in of),
        values=(min(values), sum(values) / len(values), max(values)) if values else None,
    )


def parts_of(task: Task) -> dict[str, tuple[Example, ...]]:
    """The parts that have examples: of a task in folds, the one that is tested fold by fold."""
    if task.folds:
        return {f"all, in {len(task.folds)} folds": task.test}
    return {part: examples for part in PARTS if (examples := getattr(task, part))}


def nested(spans: Iterable[Span]) -> int:
    """How many of a document's spans lie, from their start to their end, inside another one of other boundaries."""
    count = 0
    boundaries = ends_before = furthest = -1
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start != boundaries:  # longer ones that start here come first
            boundaries, ends_before, longest = span.start, furthest, span.end
        count += span.end <= ends_before or span.end < longest
        furthest = max(furthest, span.end)
    return count


def shared_documents(task: Task, other: Task) -> dict[tuple[str, str], int]:
    """For each two parts the number of distinct texts that both have; white space is not compared."""
    return shared(texts_of(task), texts_of(other))


def texts_of(task: Task) -> dict[str, frozenset[str]]:
    """The distinct texts of each part, with one space wherever there is white space."""
    return {
        part: frozenset(" ".join(e.document.text.split()) for e in examples)
        for part, examples in parts_of(task).items()
    }


def shared(first: Mapping[str, frozenset[str]], second: Mapping[str, frozenset[str]]) -> dict[tuple[str, str], int]:
    """As `shared_documents`, of the texts of two tasks."""
    counts = {(one, two): len(first[one] & second[two]) for one in first for two in second}
    return {parts: count for parts, count in counts.items() if count}
