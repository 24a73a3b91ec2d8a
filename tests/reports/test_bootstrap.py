"""Differences over documents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.reports.bootstrap import against, holm, metric_of, paired
from sklearn.metrics import f1_score


def test_tallies_sum_to_the_metrics_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    gold, said = (draw.random((40, 5)) < 0.4 for _ in range(2))
    each = np.stack([gold & said, said, gold], axis=-1)
    assert metric_of("macro-F1", each.reshape(40, -1).sum(axis=0), 40) == pytest.approx(
        f1_score(gold, said, average="macro", zero_division=0)
    )
    assert metric_of("micro-F1", each.sum(axis=(0, 1)), 40) == pytest.approx(f1_score(gold, said, average="micro"))
    assert metric_of("mean", np.array([30.0]), 40) == 0.75


def test_the_interval_is_that_of_the_mean_over_documents() -> None:
    draw = np.random.default_rng(1)
    before = draw.random((1, 400, 1))
    after = before + draw.normal(0.05, 0.2, (1, 400, 1))
    found = paired("mean", before, after)
    gain = (after - before)[0, :, 0]
    error = gain.std() / 20
    assert found.value == pytest.approx(gain.mean())
    assert found.low == pytest.approx(gain.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(gain.mean() + 1.96 * error, abs=0.15 * error)
    assert found == paired("mean", before, after)


def test_seeds_that_differ_widen_the_interval() -> None:
    before = np.zeros((3, 50, 1))
    after = before + np.array([-0.2, 0.1, 0.4])[:, None, None]
    found = paired("mean", before, after)
    assert found.value == pytest.approx(0.1)
    assert found.low < 0 < found.high
    assert 0.05 < found.p_value <= 1
    steady = paired("mean", before, before + 0.1)
    assert steady.low == pytest.approx(steady.high) == pytest.approx(0.1)
    assert 0 < steady.p_value < 0.01


def test_the_same_model_does_not_differ_from_itself() -> None:
    tallies = np.random.default_rng(2).integers(0, 3, (3, 20, 3))
    found = paired("micro-F1", tallies, tallies)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_seeds_are_paired_and_documents_must_be_the_same() -> None:
    of = {seed: np.full((10, 1), seed / 10) for seed in (0, 1, 2)}
    found = against("mean", {1: of[0], 2: of[1]}, {0: of[0], 1: of[1], 2: of[2]})
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert against("mean", {0: of[0]}, {1: of[1]}) is None
    with pytest.raises(ValueError, match="other documents"):
        against("mean", {0: of[0]}, {0: of[0][:5]})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_step_by_step(p_values: list[float]) -> None:
    """A hypothesis is rejected at a level where it and all with smaller p-values pass their steps."""
    adjusted = holm(p_values)
    ordered = sorted(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        steps = [(len(ordered) - i) * q for i, q in enumerate(ordered) if q <= p]
        assert found == pytest.approx(min(1.0, max(steps)) if p_values.count(p) == 1 else found)
        assert p <= found + 1e-12
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
