"""Values with their 95 % intervals. Student's interval is for means without bounds, such as bits or nats; the
interval of a score comes from `bootstrap`, which stays inside the range of the metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

ENOUGH = 3  # values, or seeds: the variation between fewer is not estimated


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval. low, high: None where there is no interval. n: values or seeds behind it."""

    value: float
    low: float | None
    high: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean with Student's interval; without an interval for fewer than ENOUGH values."""
    mean = fmean(values)
    if len(values) < ENOUGH:
        return Estimate(mean, None, None, len(values))
    half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def paired_difference(before: Mapping[int, float], after: Mapping[int, float]) -> Estimate | None:
    """After minus before, paired by seed; None without a common seed."""
    shared = sorted(before.keys() & after.keys())
    return estimate([after[seed] - before[seed] for seed in shared]) if shared else None


@cache
def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _probability(middle, degrees) < 0.95 else (low, middle)
    return math.tan(high) * math.sqrt(degrees)


def _probability(angle: float, degrees: int) -> float:
    """P(|t| < tan(angle) * sqrt(degrees)), exact for whole degrees (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(degrees // 2):
        total += term
        term *= math.cos(angle) ** 2 * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
