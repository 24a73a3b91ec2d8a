"""What an audit found that a run's model gives away: sentences and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .rows import ExposureRow, PrivacyRow

if TYPE_CHECKING:
    from pandas import DataFrame

CHANCE = 1 / math.log(2)  # bits, the mean exposure of numbers that were never seen (Carlini et al. 2019)


def findings(privacy: PrivacyRow) -> list[str]:
    """One sentence a model on the numbers planted in its text, and one on the pieces that look like identifiers."""
    lines = []
    for model in privacy.models:
        rows = {row.numbers: row for row in privacy.exposures if row.model == model}
        if "planted" in rows and "absent" in rows:
            lines.append(f"{model}: {_remembered(rows['planted'], rows['absent'])}")
        kinds = [f"{row.pieces} {row.kind}" for row in privacy.identifiers if row.model == model]
        lines.append(
            f"{model}: pieces of its tokenizer that look like identifiers, by kind: {', '.join(kinds)}."
            if kinds
            else f"{model}: no piece of its tokenizer looks like an identifier."
        )
    return lines


def exposure_table(privacy: PrivacyRow) -> DataFrame:
    from pandas import DataFrame

    return DataFrame(
        [
            {
                "Model": row.model,
                "Numbers": f"{row.of} planted" if row.numbers == "planted" else f"{row.of} never planted",
                "Mean, bits": _mean(row),
                "Most": f"{row.most:.2f}",
            }
            for row in privacy.exposures
        ]
    )


def _remembered(planted: ExposureRow, absent: ExposureRow) -> str:
    if planted.low is None or absent.high is None:
        return "one number was planted, too few to tell remembering from chance."
    if planted.low > absent.high:
        return f"remembers planted numbers, {planted.mean:.2f} bits where chance is {CHANCE:.2f}."
    return f"planted numbers are not told from others, {planted.mean:.2f} bits where chance is {CHANCE:.2f}."


def _mean(row: ExposureRow) -> str:
    if row.low is None or row.high is None:
        return f"{row.mean:.2f}"
    return f"{row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]"
