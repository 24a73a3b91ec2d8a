"""What a task holds, in numbers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.annotations import Example, Gold, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.languages.task_statistics import Lengths, nested, parts_of, shared_documents, statistics_of

from .conftest import needs_data
from .test_tasks import read

SPEC = TaskSpec(name="t", kind="ner")


def example(name: str, text: str, gold: Gold) -> Example:
    return Example(name, Document(name, text, "s"), gold)


def test_lengths_are_of_distinct_texts_and_labels_of_all_examples() -> None:
    inner = Span(((0, 2), (5, 6)), "B")
    of = statistics_of([
        example("1", "a b c", (Span.of(0, 6, "A"), inner)), example("2", "a b c", (Span.of(0, 1, "A"),)),
        example("3", "d", ()),
    ])  # fmt: skip
    assert (of.examples, of.documents, of.without_gold) == (3, 2, 1)
    assert of.lengths == Lengths(median=1, high=3, longest=3, total=4)
    assert of.labels == {"A": 2, "B": 1}
    assert (of.spans, of.discontinuous, of.values) == (3, 1, None)


def test_values_have_no_labels_and_every_pair_has_gold() -> None:
    of = statistics_of([example("1", "a", 0.0), example("2", "b", 3.0)])
    assert (of.values, of.labels, of.without_gold) == ((0.0, 1.5, 3.0), {}, 0)
    assert statistics_of([example("1", "a", frozenset()), example("2", "b", "x")]).without_gold == 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_nine_documents_of_ten_are_at_most_as_long_as_the_90th_percentile(lengths: list[int]) -> None:
    of = Lengths.of(lengths)
    assert sum(length <= of.high for length in lengths) >= 0.9 * len(lengths)
    assert sum(length <= of.median for length in lengths) >= 0.5 * len(lengths)
    assert min(lengths) <= of.median <= of.high <= of.longest == max(lengths)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.sampled_from("AB")), max_size=12))
def test_nested_spans_are_those_inside_another_one(drawn: list[tuple[int, int, str]]) -> None:
    spans = [Span.of(start, start + length, label) for start, length, label in drawn]
    expected = sum(
        any(o.start <= s.start and s.end <= o.end and (o.start, o.end) != (s.start, s.end) for o in spans)
        for s in spans
    )
    assert nested(spans) == expected


def test_folds_are_one_part_and_shared_texts_are_counted_by_parts() -> None:
    one, two, three = (example(name, f"{name}  text", ()) for name in "abc")
    task = Task(SPEC, "fr", (one,), (two,), (three,))
    other = Task(SPEC, "fr", (example("x", "c text", ()),), (), (example("y", "a text\n", ()), one))
    assert shared_documents(task, other) == {("train", "test"): 1, ("test", "train"): 1}
    assert list(parts_of(other)) == ["train", "test"]
    folded = Task(SPEC, "fr", (), (), (one, two, three), folds=(task, task, task))
    assert parts_of(folded) == {"all, in 3 folds": (one, two, three)}


@needs_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [("distemist", 158), ("medprocner", 178), ("symptemist", 8), ("cantemist", 77 + 61 + 37 + 70), ("jnlpba", 0)],
)
def test_nested_entities_are_as_many_as_were_counted(name: str, expected: int, data: Path) -> None:
    parts = parts_of(read(name, data)).values()
    assert sum(statistics_of(part).nested for part in parts) == expected


@needs_data
def test_words_are_as_many_as_were_counted(data: Path) -> None:
    parts = parts_of(read("pharmaconer", data))
    assert [statistics_of(part).lengths.total for part in parts.values()] == [177402, 85148, 88211]
    assert statistics_of(parts["train"]).lengths.longest == 1172
