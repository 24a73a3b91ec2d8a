"""Entities as tags, their strict scores, and what tags can reach."""

from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Span
from medlingua.recipes.evaluation.tasks.ner import (
    Ner,
    _most_apart,
    decode_tags,
    encode_tags,
    overlapping_f1,
    strict_scores,
)
from medlingua.reports.bootstrap import metric_of
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from .toy_tasks import example, find, ner_task

WORDS = [(i * 4, i * 4 + 3) for i in range(14)]


@st.composite
def flat_spans(draw: st.DrawFn) -> tuple[Span, ...]:
    """Spans on whole words that do not touch the same word."""
    spans, at = [], 0
    while at < len(WORDS):
        length = draw(st.integers(0, 3))
        last = min(at + length, len(WORDS))
        if length:
            spans.append(Span.of(WORDS[at][0], WORDS[last - 1][1], draw(st.sampled_from("AB"))))
        at = max(last, at + 1)
    return tuple(spans)


@given(flat_spans())
def test_V4_flat_gold_survives_its_tags(spans: tuple[Span, ...]) -> None:
    assert decode_tags(encode_tags(spans, WORDS), WORDS) == spans


@given(flat_spans(), st.randoms())
def test_V4_the_order_of_the_file_changes_nothing(spans: tuple[Span, ...], random: Any) -> None:
    nested = [*spans, *(Span.of(s.start, s.start + 3, "C") for s in spans)]
    shuffled = list(nested)
    random.shuffle(shuffled)
    assert encode_tags(shuffled, WORDS) == encode_tags(nested, WORDS)


def valid_tags(rng: np.random.Generator, size: int) -> list[str]:
    tags: list[str] = []
    for _ in range(size):
        choices = ["O", "B-A", "B-B"]
        if tags and tags[-1] != "O":
            choices += ["I" + tags[-1][1:]] * 2
        tags.append(str(rng.choice(choices)))
    return tags


@pytest.mark.filterwarnings("ignore")
def test_V3_scores_equal_strict_seqeval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        gold, predicted = ([valid_tags(rng, len(WORDS)) for _ in range(4)] for _ in range(2))
        predicted[0] = gold[0]
        ours = strict_scores(*([decode_tags(tags, WORDS) for tags in side] for side in (gold, predicted)))
        named = {"mode": "strict", "scheme": IOB2}
        theirs = tuple(score(gold, predicted, **named) for score in (precision_score, recall_score, f1_score))
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_V3_a_right_place_with_another_border_or_label_is_wrong() -> None:
    gold = [(Span.of(0, 7, "A"),)]
    assert strict_scores(gold, [(Span.of(0, 7, "A"),)]) == (1, 1, 1)
    for near in (Span.of(0, 6, "A"), Span.of(1, 7, "A"), Span.of(0, 7, "B")):
        assert strict_scores(gold, [(near,)]) == (0, 0, 0)


def test_V4_nested_gold_lowers_the_upper_bound(encoder: Encoder) -> None:
    model = Ner(ner_task(), encoder, "fr")
    assert model.upper_bound("dev") == 1
    recall = 4 / 5
    assert model.upper_bound("test") == pytest.approx(2 * recall / (1 + recall))


def test_V4_the_upper_bound_is_the_best_choice_of_spans_that_do_not_overlap(encoder: Encoder) -> None:
    """One long entity over three short ones: learning takes the longest, a model may find the three."""
    text = "Douleur du bras gauche, fièvre."
    gold = find(text, ("Douleur du bras gauche", "DISO"), ("Douleur", "DISO"), ("bras", "ANAT"), ("gauche", "ANAT"))
    task = replace(ner_task(), test=(example("t", text, (*gold, *find(text, ("fièvre", "DISO")))),))
    model = Ner(task, encoder, "fr")
    four = tuple(span for span in task.test[0].gold if span.end - span.start < 10)
    assert len(four) == 4
    assert model.upper_bound("test") == pytest.approx(2 * 4 / (4 + 5))
    assert model.score("test", [four])["strict entity micro-F1"] == pytest.approx(model.upper_bound("test"))


@settings(max_examples=150, deadline=None)
@given(spans=st.sets(st.tuples(st.integers(0, 9), st.integers(1, 4), st.sampled_from(["A", "B"])), max_size=9))
def test_V4_no_tags_score_above_the_upper_bound(spans: set[tuple[int, int, str]]) -> None:
    """Against every choice of the gold entities: of those that tags give back whole, none is larger."""
    places = [(3 * i, 3 * i + 2) for i in range(14)]
    gold = sorted(Span.of(places[a][0], places[a + n - 1][1], label) for a, n, label in spans)
    best = 0
    for number in range(2 ** len(gold)):
        chosen = [span for i, span in enumerate(gold) if number >> i & 1]
        if all(a.end <= b.start or b.end <= a.start for a, b in combinations(chosen, 2)):
            assert set(decode_tags(encode_tags(chosen, places), places)) == set(chosen)
            best = max(best, len(chosen))
    assert len(_most_apart(gold, places)) == best


def test_V4_gold_inside_a_word_is_in_no_bound() -> None:
    places = [(0, 5), (6, 11)]
    assert _most_apart([Span.of(0, 3, "A"), Span.of(6, 11, "A")], places) == [Span.of(6, 11, "A")]


def test_V4_discontinuous_gold_is_missed_not_hidden(encoder: Encoder) -> None:
    task = ner_task()
    broken = Span(((0, 2), (11, 18)), "DISO")
    model = Ner(replace(task, test=(example("t", task.dev[0].document.text, (broken,)),)), encoder, "fr")
    assert model.upper_bound("test") == 0


SPANS = st.lists(
    st.builds(
        lambda a, n, label: Span.of(a, a + n, label), st.integers(0, 12), st.integers(1, 6), st.sampled_from("AB")
    ),
    max_size=4,
    unique=True,
)


@given(SPANS, SPANS)
@settings(max_examples=200, deadline=None)
def test_overlapping_entities_are_matched_one_to_one_and_as_many_as_can_be(
    gold: list[Span], predicted: list[Span]
) -> None:
    """Against all ways to pair them."""
    few, many = sorted((gold, predicted), key=len)
    most = max(
        sum(a.label == b.label and a.start < b.end and b.start < a.end for a, b in zip(few, chosen, strict=True))
        for chosen in permutations(many, len(few))
    )
    expected = 2 * most / (len(gold) + len(predicted)) if gold or predicted else 0.0
    assert overlapping_f1([gold], [predicted]) == pytest.approx(expected)


def test_V3_V4_the_metric_on_word_tags_is_what_strict_seqeval_reads(encoder: Encoder) -> None:
    model = Ner(ner_task(), encoder, "fr")
    gold = [e.gold for e in model.task.test]
    predicted: list[Any] = [gold[1], gold[1][:1]]
    tags = [
        [encode_tags(spans, read.words) for spans in pair]
        for read, *pair in zip(model.read("test"), gold, predicted, strict=True)
    ]
    expected = f1_score([g for g, _ in tags], [d for _, d in tags], mode="strict", scheme=IOB2)
    scores = model.score("test", predicted)
    tallies = model.tallies("test", predicted)
    assert metric_of(model.tally, tallies.sum(axis=0), 2) == pytest.approx(scores["strict entity micro-F1"])
    assert scores["word tags entity micro-F1"] == pytest.approx(expected)
    assert scores["strict entity micro-F1"] < scores["word tags entity micro-F1"] <= 1  # nested gold was lost
