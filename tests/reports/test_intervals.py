"""Student's interval of a mean, and numbers as a reader sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.reports.intervals import estimate, paired_difference, student_t
from medlingua.reports.quantities import signed

VALUES = st.lists(st.floats(0, 1), min_size=3, max_size=12)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_student_t_is_the_printed_table(degrees: int, expected: float) -> None:
    assert student_t(degrees) == pytest.approx(expected, abs=5e-4)


def test_the_interval_is_the_one_worked_by_hand() -> None:
    # 0.50 0.52 0.57: mean 0.53, deviations -0.03 -0.01 0.04, variance 0.0026 / 2, s 0.036056,
    # half width 4.30265 * 0.036056 / sqrt(3) = 0.089566
    result = estimate([0.50, 0.52, 0.57])
    assert result.value == pytest.approx(0.53)
    assert result.low == pytest.approx(0.53 - 0.089566, abs=1e-5)
    assert result.high == pytest.approx(0.53 + 0.089566, abs=1e-5)


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.9]])
def test_V7_one_or_two_values_have_no_interval(values: list[float]) -> None:
    assert (estimate(values).low, estimate(values).high) == (None, None)


def test_differences_are_paired() -> None:
    # Seeds differ by far more than the models do: only pairing shows the steady gain of 0.01.
    difference = paired_difference({0: 0.40, 1: 0.60, 2: 0.80, 7: 0.10}, {2: 0.811, 1: 0.61, 0: 0.409, 9: 0.99})
    assert difference is not None
    assert difference.n == 3
    assert difference.low is not None
    assert 0 < difference.low < difference.value == pytest.approx(0.01)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@given(VALUES, st.floats(-10, 10))
def test_a_shift_moves_the_interval_and_not_its_width(values: list[float], shift: float) -> None:
    here, there = estimate(values), estimate([value + shift for value in values])
    assert here.low is not None
    assert there.low is not None
    assert there.value - there.low == pytest.approx(here.value - here.low, abs=1e-9)


@pytest.mark.parametrize(
    ("number", "text"), [(0.25, "+0.250"), (-0.0004, "0.000"), (-0.0006, "−0.001"), (0, "0.000")]
)
def test_a_difference_that_rounds_to_zero_has_no_sign(number: float, text: str) -> None:
    assert signed(number) == text
