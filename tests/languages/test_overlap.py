"""Test documents of tasks in a corpus: long ones by a run of words, short ones whole, in any Unicode form."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.overlap import SHORTEST_RUN, OverlapCheck
from medlingua.languages.word_runs import hash_words, runs

QUESTION = "Kann ich mich über Türklinken anstecken?"  # six words


def test_V10_a_run_of_words_must_be_long_enough() -> None:
    text = " ".join(f"mot{i}" for i in range(40))
    check = OverlapCheck({"a": [text], "b": ["trop court"]}, 13)
    assert check.tasks_of("x " + " ".join(f"mot{i}" for i in range(5, 18)) + " y") == {"a"}
    assert check.tasks_of("x " + " ".join(f"mot{i}" for i in range(5, 17)) + " y") == frozenset()
    assert check.tasks_of("") == frozenset()


def test_V10_a_short_test_document_is_matched_whole_and_inside_a_longer_text() -> None:
    check = OverlapCheck({"fragen": [QUESTION]}, 13)
    assert check.tasks_of(QUESTION) == {"fragen"}
    assert check.tasks_of(f"Häufige Fragen. {QUESTION} Nein, sagt das Institut.") == {"fragen"}
    assert check.tasks_of(QUESTION.replace("mich ", "")) == frozenset()
    assert check.tasks_of(QUESTION.replace("Türklinken ", "Türklinken leicht ")) == frozenset()
    assert check.whole_only == {"fragen": 0}


@pytest.mark.parametrize("text", ["Fieber", "Fieber und Husten", "Was ist Covid"])
def test_V10_a_test_document_of_a_few_words_is_matched_as_a_whole_document_alone(text: str) -> None:
    check = OverlapCheck({"kurz": [text]}, 13)
    assert check.tasks_of(f" {text.upper()}! ") == {"kurz"}
    assert check.tasks_of(f"Der Kranke hat {text} seit gestern.") == frozenset()
    assert check.whole_only == {"kurz": 1}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("words", [6, 40])
def test_V10_the_unicode_form_of_either_side_does_not_matter(form: str, words: int) -> None:
    text = " ".join(f"opéré{'abcdefghij'[i % 10] * (i + 1)}" for i in range(words))
    other = "NFD" if form == "NFC" else "NFC"
    check = OverlapCheck({"a": [unicodedata.normalize(form, text)]}, 13)
    assert check.tasks_of(f"Avant. {unicodedata.normalize(other, text)} Après.") == {"a"}


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\ufeff", "\u200d"])
def test_V10_invisible_signs_do_not_hide_a_text(sign: str) -> None:
    check = OverlapCheck({"a": [QUESTION]}, 13)
    assert check.tasks_of(sign.join(QUESTION)) == {"a"}


def test_V10_a_small_limit_is_the_one_that_counts() -> None:
    check = OverlapCheck({"a": ["eins zwei drei vier fünf sechs"]}, 4)
    assert check.tasks_of("null zwei drei vier fünf null") == {"a"}
    assert check.whole_only == {"a": 0}


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.sets(st.integers(1, 14), max_size=4))
def test_runs_of_all_lengths_in_one_pass_are_those_of_each_alone(words: list[str], lengths: set[int]) -> None:
    hashed = hash_words(words)
    together = dict(runs(hashed, lengths))
    assert sorted(together) == sorted(length for length in lengths if length <= len(words))
    for length, hashes in together.items():
        expected = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        names: dict[int, tuple[str, ...]] = {}
        assert len(hashes) == len(expected)
        for value, run in zip(hashes.tolist(), expected, strict=True):
            assert names.setdefault(value, run) == run
        assert len(names) == len(set(expected))


def test_every_planted_test_document_is_matched_and_no_other() -> None:
    """Hundreds of test documents of all lengths, against a plain search for their words."""
    draw = random.Random(1)
    vocabulary = [f"wort{i}" for i in range(300)]
    tested = [" ".join(draw.choices(vocabulary, k=draw.randint(1, 30))) for _ in range(200)]
    check = OverlapCheck({"t": tested}, 13)
    for number in range(150):
        filler = draw.choices(vocabulary, k=draw.randint(0, 60))
        planted = tested[draw.randrange(200)].split() if number % 2 else []
        at = draw.randint(0, len(filler))
        words = [*filler[:at], *planted, *filler[at:]]
        text = f" {' '.join(words)} "
        expected = any(
            f" {test} " == text
            if len(test.split()) < SHORTEST_RUN
            else any(
                f" {' '.join(run)} " in text for run in zip(*(test.split()[i:] for i in range(13)), strict=False)
            )
            if len(test.split()) >= 13
            else f" {test} " in text
            for test in tested
        )
        assert bool(check.tasks_of(text)) == expected
