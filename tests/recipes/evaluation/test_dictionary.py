"""The dictionary baseline: what it learns from train, and what it finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.recipes.evaluation.tasks.dictionary import find, learn


def example(text: str, *mentions: tuple[str, str]) -> Example:
    """Each mention at its first place in the text."""
    spans = (Span.of(text.index(m), text.index(m) + len(m), label) for m, label in mentions)
    return Example("t", Document("t", text, "test"), tuple(sorted(spans)))


def matches(train: list[Example], text: str) -> list[tuple[str, str]]:
    return [(span.surface(text), span.label) for span in find(learn(train, "fr"), text, "fr")]


def test_mentions_of_train_are_matched_whatever_their_capitals() -> None:
    train = [example("Le patient a une migraine.", ("migraine", "DISO"))]
    assert matches(train, "Migraine depuis deux jours, pas de migraineuse.") == [("Migraine", "DISO")]


def test_the_longest_mention_wins_and_nothing_is_matched_inside_it() -> None:
    train = [
        example("Un cancer du sein gauche.", ("cancer du sein", "DISO")),
        example("Le sein est normal.", ("sein", "ANAT")),
        example("Un cancer rare.", ("cancer", "DISO")),
    ]
    assert matches(train, "Cancer du sein, sein droit sain.") == [("Cancer du sein", "DISO"), ("sein", "ANAT")]


def test_a_word_that_is_seldom_a_mention_is_none() -> None:
    train = [example("Le foie."), example("Le foie."), example("Le foie, oui.", ("foie", "ANAT"))]
    assert matches(train, "Le foie.") == []
    assert matches(train[1:], "Le foie.") == [("foie", "ANAT")]


def test_the_label_of_most_mentions_is_taken() -> None:
    train = [example("La vis.", ("vis", label)) for label in ("OBJC", "DEVI", "DEVI")]
    assert matches(train, "Une vis.") == [("vis", "DEVI")]


@pytest.mark.parametrize("spans", [(Span(((0, 2), (8, 12)), "DISO"),), (Span.of(3, 5, "DISO"),)])
def test_mentions_in_pieces_and_inside_words_are_not_learnt(spans: tuple[Span, ...]) -> None:
    train = [Example("t", Document("t", "migraines du foie", "test"), spans)]
    assert matches(train, "migraines du foie") == []


WORDS = st.lists(st.sampled_from(["foie", "sein", "rein", "du", "le"]), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(train=st.lists(st.tuples(WORDS, st.integers(0, 11), st.integers(1, 3)), min_size=1, max_size=4), text=WORDS)
def test_matches_are_those_of_a_plain_search(train: list[tuple[list[str], int, int]], text: list[str]) -> None:
    """Against strings: a phrase is known if annotated in half of the places where it stands in train."""
    examples, known = [], {}
    for of_text, at, length in train:
        at %= len(of_text)
        phrase = of_text[at : at + length]
        start = len(" ".join([*of_text[:at], ""]))
        span = Span.of(start, start + len(" ".join(phrase)), "X")
        examples.append(Example("t", Document("t", " ".join(of_text), "test"), (span,)))
        known[" ".join(phrase)] = known.get(" ".join(phrase), 0) + 1

    def stands(phrase: list[str]) -> int:
        return sum(t[i : i + len(phrase)] == phrase for t, _, _ in train for i in range(len(t)))

    expected, at = [], 0
    while at < len(text):
        for length in (3, 2, 1):
            phrase = text[at : at + length]
            if len(phrase) == length and 2 * known.get(" ".join(phrase), 0) >= max(1, stands(phrase)):
                expected.append((" ".join(phrase), "X"))
                at += length
                break
        else:
            at += 1
    assert matches(examples, " ".join(text)) == expected
