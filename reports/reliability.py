"""How far probabilities can be trusted: predicted against observed, by ranges of probability."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from .quantities import count
from .tables import frame_of

if TYPE_CHECKING:
    from pandas import DataFrame


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


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of a saved model: its name and task, temperature, calibration error on test, and the table of its bins."""

    name: str
    temperature: float
    error: float
    table: DataFrame


def calibrations(folder: Path) -> list[Calibration]:
    """Of the fine-tuned models that an evaluation saved in a folder: in model/ or models/*/."""
    calibrated = []
    for config in [folder / "model" / "config.json", *sorted(folder.glob("models/*/config.json"))]:
        record = json.loads(config.read_text(encoding="utf-8")).get("medlingua") if config.is_file() else None
        bins = [Bin.model_validate(row) for row in (record or {}).get("reliability", ())]
        if record and bins:
            table = frame_of(
                [
                    {
                        "Probability, mean": f"{of.probability:.3f}",
                        "Right": f"{of.accuracy:.3f}",
                        "Predictions": count(of.count),
                    }
                    for of in bins
                ]
            )
            name = f"{record['base']} on {record['task']['name']}, seed {record['seed']}"
            calibrated.append(Calibration(name, record["temperature"], expected_calibration_error(bins), table))
    return calibrated
