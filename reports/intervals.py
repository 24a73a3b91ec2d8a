"""Means over seeds with Student's 95 % interval, and differences paired by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

ENOUGH_SEEDS = 3  # two seeds give an interval thirteen standard deviations wide


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` seeds; the bounds are None where one seed leaves no spread to measure."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def is_noise(self) -> bool:
        """Read as a difference: too few seeds, or an interval that holds zero."""
        if self.n < ENOUGH_SEEDS or self.low is None or self.high is None:
            return True
        return self.low <= 0 <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, None, None, len(values))
    half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def paired_difference(before: Mapping[int, float], after: Mapping[int, float]) -> Estimate | None:
    """After minus before, seed by seed; None where no seed was scored in both."""
    shared = sorted(before.keys() & after.keys())
    return estimate([after[seed] - before[seed] for seed in shared]) if shared else None


@cache
def student_t(degrees: int) -> float:
    """The t that 95 % of Student's distribution lies within, on both sides of zero."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 0.95 else (low, middle)
    return math.tan(high) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
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
