import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.reports.intervals import estimate, paired_difference, student_t
from medlingua.reports.scores import change, compare, rank, verdict
from medlingua.reports.tables import markdown, ranking_table, score_table

from .conftest import score, scores

VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_student_t_is_the_printed_table(degrees: int, expected: float) -> None:
    assert student_t(degrees) == pytest.approx(expected, abs=5e-4)


def test_the_interval_is_the_one_worked_by_hand() -> None:
    # 0.50 0.52 0.57: mean 0.53, deviations -0.03 -0.01 0.04, variance 0.0026 / 2, s 0.036056,
    # half width 4.30265 * 0.036056 / sqrt(3) = 0.089566
    result = estimate([0.50, 0.52, 0.57])
    assert result.mean == pytest.approx(0.53)
    assert result.low == pytest.approx(0.53 - 0.089566, abs=1e-5)
    assert result.high == pytest.approx(0.53 + 0.089566, abs=1e-5)


def test_V7_one_seed_has_no_interval() -> None:
    assert estimate([0.7]).low is None


def test_differences_are_paired_by_seed() -> None:
    # Seeds differ by far more than the models do: only pairing sees the steady gain of 0.01.
    before = {0: 0.40, 1: 0.60, 2: 0.80, 7: 0.10}
    after = {2: 0.811, 1: 0.61, 0: 0.409, 9: 0.99}
    difference = paired_difference(before, after)
    assert difference is not None
    assert difference.n == 3
    assert difference.mean == pytest.approx(0.01)
    assert verdict(difference) == "higher"
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@given(VALUES, st.floats(-10, 10))
def test_a_shift_moves_the_interval_and_not_its_width(values: list[float], shift: float) -> None:
    here, there = estimate(values), estimate([value + shift for value in values])
    assert here.low is not None
    assert there.low is not None
    assert there.mean - there.low == pytest.approx(here.mean - here.low, abs=1e-9)


@given(VALUES)
def test_no_difference_is_never_called_one(values: list[float]) -> None:
    seeds = dict(enumerate(values))
    difference = paired_difference(seeds, seeds)
    assert difference is not None
    assert verdict(difference).startswith("inside the noise")


def test_V7_a_difference_says_how_few_seeds_it_has() -> None:
    assert verdict(estimate([0.3])) == "inside the noise (one seed)"
    assert verdict(estimate([0.3, 0.3])) == "inside the noise (two seeds)"
    assert verdict(estimate([0.3, 0.31, 0.29])) == "higher"
    assert verdict(estimate([-0.3, -0.31, -0.29])) == "lower"


def test_two_protocols_are_never_ranked_together() -> None:
    rows = [score("base", 0, 0.5), score("trained", 0, 0.6, protocol="multilabel-weighted/v1")]
    with pytest.raises(InputError, match=r"multilabel-weighted/v1 and multilabel/v1"):
        rank(rows)


def test_two_measures_of_one_protocol_are_not_ranked_either() -> None:
    with pytest.raises(InputError, match="different measures"):
        rank([score("base", 0, 0.5), score("trained", 0, 0.6, metric="macro-f1")])


def test_ranks_put_the_best_mean_first() -> None:
    rows = [score("a", 0, 0.5), score("b", 0, 0.9), score("b", 1, 0.1), score("c", 0, 0.6)]
    assert [result.model for result in rank(rows)] == ["c", "a", "b"]
    assert rank([]) == ()


def test_V1_unequal_gold_is_an_error() -> None:
    with pytest.raises(InputError, match=r"base: 1560 in 1088; trained: 1401 in 1088"):
        compare([score("base", 0, 0.5), score("trained", 0, 0.6, gold=1401)])


def test_before_is_the_base_or_else_the_start() -> None:
    rows = [score("start", 0, 0.4), score("trained", 0, 0.6)]
    (comparison,) = compare(rows)
    changed = change(comparison)
    assert changed is not None
    assert changed.before.model == "start"
    (comparison,) = compare([*rows, score("base", 0, 0.5)])
    changed = change(comparison)
    assert changed is not None
    assert changed.before.model == "base"
    assert math.isclose(changed.difference.mean, 0.1)
    (comparison,) = compare([score("base", 0, 0.5)])
    assert change(comparison) is None


def test_V9_a_baseline_stands_in_the_table_as_one() -> None:
    (comparison,) = compare([row for row in scores() if row.task == "morfitt"])
    (line,) = score_table([comparison]).to_dict("records")
    assert line["Baselines"] == "majority 0.121"
    assert line["Seeds"] == "3"
    assert line["Difference"] == "+0.052 [+0.044, +0.059]"
    last = ranking_table(comparison).to_dict("records")[-1]
    assert last == {"Model": "majority (baseline)", "Mean": "0.121", "Seeds": "–", "Against the best": "–"}


def test_synthetic_tasks_are_labelled() -> None:
    frame = score_table(compare([score("base", 0, 0.5, synthetic=True)]))
    assert frame["Task"].tolist() == ["morfitt (synthetic)"]


def test_a_cell_cannot_break_out_of_a_markdown_table() -> None:
    frame = score_table(compare([score("base", 0, 0.5, task="a|b\nc <b>")]))
    lines = markdown(frame).splitlines()
    assert len(lines) == 3
    assert "| a\\|b c &lt;b&gt; |" in lines[2]
