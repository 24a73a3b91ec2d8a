"""How far probabilities can be trusted: predicted against observed, by ranges of probability."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Bin(BaseModel):
    """Predictions of like probability. count: how many; probability, accuracy: their means."""

    model_config = ConfigDict(frozen=True)

    count: int
    probability: float
    accuracy: float


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of probability and accuracy, weighted by count (ECE; Naeini et al. 2015)."""
    total = sum(of.count for of in bins)
    return sum(of.count * abs(of.probability - of.accuracy) for of in bins) / total if total else 0.0
