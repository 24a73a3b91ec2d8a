"""Near-duplicates, against a plain count of shared runs of words."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.languages.word_runs import hash_words
from medlingua.languages.words import compared_words
from medlingua.recipes.text.near_duplicates import NearDuplicates


def likeness(left: list[str], right: list[str]) -> float:
    runs = [{tuple(t[i : i + 5]) for i in range(max(1, len(t) - 4))} for t in (left, right)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


@settings(max_examples=60, deadline=None)
@given(changed=st.sets(st.integers(0, 199), max_size=40))
def test_near_duplicates_are_those_of_a_plain_count(changed: set[int]) -> None:
    """Far from the threshold the estimate is sure; near it, it may fall on either side."""
    first = [f"w{i}" for i in range(200)]
    second = [f"x{i}" if i in changed else word for i, word in enumerate(first)]
    near = NearDuplicates(0.6)
    assert near.of("first", first) == ""
    nearest, true = near.of("second", second), likeness(first, second)
    if true > 0.8:
        assert nearest == "first"
    elif true < 0.4:
        assert nearest == ""


def test_a_near_duplicate_names_the_nearest_and_is_no_measure_for_others() -> None:
    words = [f"w{i}" for i in range(100)]
    near = NearDuplicates(0.7)
    assert near.of("a", words) == ""
    assert near.of("b", [*words[:-4], "u", "v", "w", "x"]) == "a"
    assert near.of("c", [f"z{i}" for i in range(100)]) == ""
    assert near.of("c", ["other"] * 3) == ""  # an id that occurs twice
    assert near.of("d", words) == "a"


@pytest.mark.parametrize("near", [0.0, -1.0, 1.5])
def test_a_threshold_that_is_no_share_is_refused(near: float) -> None:
    with pytest.raises(InputError, match="near-duplicates from"):
        NearDuplicates(near)


def test_many_texts_are_distinguished_and_their_copies_matched_as_the_index_grows() -> None:
    """Thousands of texts: far more than the tables hold at first."""
    draw = random.Random(3)
    near = NearDuplicates(0.8)
    texts = [[f"w{draw.randrange(50_000)}" for _ in range(60)] for _ in range(6_000)]
    assert all(near.nearest(hash_words(text)) is None for text in texts)
    changed = [[*text[:30], "other", *text[31:]] for text in texts]  # 51 of 61 runs: likeness 0.836
    nearest = [near.nearest(hash_words(text)) for text in changed]
    right = np.mean([number == i for i, number in enumerate(nearest)])
    assert right > 0.8  # the estimate falls below 0.8 for about one in seven
    assert all(number in (None, i) or number >= len(texts) for i, number in enumerate(nearest))


def test_the_estimate_is_the_share_of_common_runs() -> None:
    """Of pairs of one likeness, the mean of the share of equal hashes is that likeness."""
    draw = random.Random(5)
    estimates = []
    for _ in range(60):
        first = [f"w{draw.randrange(10**6)}" for _ in range(104)]
        second = [*first[:84], *(f"x{draw.randrange(10**6)}" for _ in range(20))]  # 80 of 120 runs are common
        near = NearDuplicates(0.8)
        signatures = [near._signature(hash_words(text)) for text in (first, second)]
        estimates.append(float(np.mean(signatures[0] == signatures[1])))
    assert np.mean(estimates) == pytest.approx(80 / 120, abs=0.02)


@pytest.mark.parametrize("text", ["", "--- ... !", "\u200b"])
def test_texts_without_words_are_like_no_other(text: str) -> None:
    near = NearDuplicates(0.8)
    assert near.nearest(hash_words(compared_words(text))) is None
    assert near.nearest(hash_words(compared_words(text))) is None


def test_short_texts_are_near_where_their_words_are_the_same() -> None:
    near = NearDuplicates(0.8)
    assert near.nearest(hash_words(compared_words("Lunge frei."))) is None
    assert near.nearest(hash_words(compared_words("LUNGE frei"))) == 0
    assert near.nearest(hash_words(compared_words("Leber frei."))) is None
