"""Bootstrap intervals of scores and differences."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.reports.bootstrap import Tallies, holm, interval, merge_tallies, metric_of, paired
from sklearn.metrics import f1_score


def test_tallies_sum_to_the_metrics_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    gold, predicted = (draw.random((40, 5)) < 0.4 for _ in range(2))
    each = np.stack([gold & predicted, predicted, gold], axis=-1)
    assert metric_of("macro-F1", each.reshape(40, -1).sum(axis=0), 40) == pytest.approx(
        f1_score(gold, predicted, average="macro", zero_division=0)
    )
    assert metric_of("micro-F1", each.sum(axis=(0, 1)), 40) == pytest.approx(
        f1_score(gold, predicted, average="micro")
    )
    assert metric_of("mean", np.array([30.0]), 40) == 0.75
    assert np.isnan(metric_of("correlation", np.array([1.0, np.nan, 1.0, np.nan, np.nan]), 40))
    assert metric_of("correlation", np.array([40.0, 0.0, 40.0, 0.0, 0.0]), 40) == 0  # all gold is the same


def test_a_label_that_a_sample_lacks_does_not_lower_its_macro_f1() -> None:
    """A perfect model is perfect in every sample, also where the only document of a rare label is not drawn."""
    gold = np.zeros((30, 2), dtype=int)
    gold[:, 0], gold[0, 1] = 1, 1
    perfect = np.repeat(gold[:, :, None], 3, axis=2).reshape(1, 30, 6)
    estimate = interval("macro-F1", perfect)
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)


def test_the_interval_of_a_difference_is_that_of_the_mean_over_documents() -> None:
    draw = np.random.default_rng(1)
    before = draw.random((1, 400, 1))
    after = before + draw.normal(0.05, 0.2, (1, 400, 1))
    difference = paired("mean", before, after)
    gain = (after - before)[0, :, 0]
    error = gain.std() / 20
    assert difference.value == pytest.approx(gain.mean())
    assert difference.low == pytest.approx(gain.mean() - 1.96 * error, abs=0.15 * error)
    assert difference.high == pytest.approx(gain.mean() + 1.96 * error, abs=0.15 * error)
    assert difference == paired("mean", before, after)


@pytest.mark.parametrize(("correct", "documents"), [(58, 60), (2, 60), (3, 3)])
def test_an_interval_stays_inside_the_range_of_its_metric(correct: int, documents: int) -> None:
    """Student's interval of two seeds near 0 or 1 would leave it by far."""
    right = (np.arange(documents) < correct).astype(float)
    seeds = np.stack([right, np.roll(right, 1)])
    tallies = np.stack([seeds, np.ones_like(seeds), np.ones_like(seeds)], axis=-1)
    estimate = interval("micro-F1", tallies)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_a_large_difference_of_two_seeds_has_an_interval_without_zero() -> None:
    """0.927 to 0.379 is no noise, however few the seeds are."""
    draw = np.random.default_rng(2)
    before, after = (draw.binomial(1, rate, (2, 120, 1)).astype(float) for rate in (0.927, 0.379))
    difference = paired("mean", before, after)
    assert difference.high is not None
    assert difference.high < -0.4


def test_three_seeds_that_differ_widen_the_interval_and_two_do_not() -> None:
    before = np.zeros((3, 50, 1))
    after = before + np.array([-0.2, 0.1, 0.4])[:, None, None]
    difference = paired("mean", before, after)
    assert difference.value == pytest.approx(0.1)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < 0 < difference.high
    assert difference.p_value is not None
    assert 0.05 < difference.p_value <= 1
    two = paired("mean", before[:2], after[:2])
    assert two.low == pytest.approx(two.high) == pytest.approx(-0.05)
    steady = paired("mean", before, before + 0.1)
    assert steady.low == pytest.approx(steady.high) == pytest.approx(0.1)
    assert steady.p_value is not None
    assert 0 < steady.p_value < 0.01


def test_the_same_model_does_not_differ_from_itself() -> None:
    tallies = np.random.default_rng(2).integers(0, 3, (3, 20, 3))
    difference = paired("micro-F1", tallies, tallies)
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_pairs_have_the_same_seeds_and_documents() -> None:
    with pytest.raises(ValueError, match="other seeds or documents"):
        paired("mean", np.zeros((2, 10, 1)), np.zeros((2, 5, 1)))
    with pytest.raises(ValueError, match="other seeds or documents"):
        paired("mean", np.zeros((2, 10, 1)), np.zeros((3, 10, 1)))


def test_tallies_of_a_model_are_whole_or_none() -> None:
    of = Tallies("mean", {"m": {0: np.zeros((4, 1)), 2: np.ones((4, 1))}})
    tallies = of.of("m", (2, 0))
    assert tallies is not None
    assert tallies[:, 0, 0].tolist() == [1, 0]
    assert of.of("m", (0, 1)) is None
    assert of.of("other", (0,)) is None


def test_folders_with_other_documents_are_not_merged() -> None:
    one = Tallies("mean", {"a": {0: np.zeros((2, 1))}}, None, ("d0", "d1"))
    other = Tallies("mean", {"b": {0: np.zeros((2, 1))}}, None, ("d0", "d2"))
    with pytest.raises(InputError, match=r"high: not the test documents of low: it has 'd2' in addition"):
        merge_tallies({Path("low"): one, Path("high"): other})
    assert merge_tallies({Path("low"): one, Path("again"): one}).by_model.keys() == {"a"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_step_by_step(p_values: list[float]) -> None:
    """A hypothesis is rejected at a level where it and all with smaller p-values pass their steps."""
    adjusted = holm(p_values)
    ordered = sorted(p_values)
    for p, adjusted_p in zip(p_values, adjusted, strict=True):
        steps = [(len(ordered) - i) * q for i, q in enumerate(ordered) if q <= p]
        assert adjusted_p == pytest.approx(min(1.0, max(steps)) if p_values.count(p) == 1 else adjusted_p)
        assert p <= adjusted_p + 1e-12
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
