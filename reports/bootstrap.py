"""Differences between models with the test documents as a sample too: resampled in pairs, with the seeds.

Sentences of one document are not drawn apart, and both models are read on the same draw (Koehn 2004; Dror et al.
2018). Several differences at once are corrected by Holm's method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medlingua.languages.errors import InputError

if TYPE_CHECKING:
    import numpy as np

# What a document adds. "micro-F1": right, said, gold. "macro-F1": these three for each label. "mean": its value.
# "correlation": x, y, x², y² and xy, of ranks within the whole test set for Spearman's.
Tally = Literal["micro-F1", "macro-F1", "mean", "correlation"]
DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two means over seeds: value with its 95 % interval; better: share of the draws in which it is above 0."""

    value: float
    low: float
    high: float
    better: float

    @property
    def p_value(self) -> float:
        """Two-sided, from the share of draws on the other side of 0; never below what the draws can show."""
        return max(2 * min(self.better, 1 - self.better), 2 / (DRAWS + 1))


def metric_of(tally: Tally, totals: np.ndarray, documents: int) -> np.ndarray:
    """The metric of summed tallies: (..., k) -> (...)."""
    import numpy as np

    if tally == "mean":
        return totals[..., 0] / documents
    if tally == "correlation":
        x, y, xx, yy, xy = np.moveaxis(totals.astype(np.float64) / documents, -1, 0)
        spread = np.sqrt(np.maximum(0, (xx - x * x) * (yy - y * y)))
        return np.divide(xy - x * y, spread, out=np.zeros_like(x), where=spread > 1e-9)  # type: ignore[no-any-return]
    right, said, gold = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3).astype(np.float64), -1, 0)
    f1 = np.divide(2 * right, said + gold, out=np.zeros_like(right), where=said + gold > 0)
    return f1[..., 0] if tally == "micro-F1" else f1.mean(axis=-1)  # type: ignore[no-any-return]


def paired(tally: Tally, before: np.ndarray, after: np.ndarray, seed: int = 0) -> Difference:
    """After minus before. before, after: tallies (seeds, documents, k) of the same documents, seeds in pairs."""
    import numpy as np

    if before.shape[1:] != after.shape[1:]:
        raise ValueError(f"tallies of other documents: {before.shape[1:]} and {after.shape[1:]}")
    seeds, documents = min(len(before), len(after)), before.shape[1]
    rng = np.random.default_rng(seed)
    draws = np.empty(DRAWS)
    for number in range(DRAWS):
        counts = np.bincount(rng.integers(0, documents, documents), minlength=documents)
        chosen = rng.integers(0, seeds, seeds)
        sums = [np.einsum("d,sdk->sk", counts, side[chosen]) for side in (before, after)]
        old, new = (metric_of(tally, total, documents) for total in sums)
        draws[number] = (new - old).mean()
    whole = [metric_of(tally, side[:seeds].sum(axis=1), documents).mean() for side in (before, after)]
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return Difference(float(whole[1] - whole[0]), low, high, float((draws > 0).mean() + (draws == 0).mean() / 2))


def against(tally: Tally, best: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray]) -> Difference | None:
    """Other minus best over the seeds that both have; None where they have none."""
    import numpy as np

    seeds = sorted(best.keys() & other.keys())
    if not seeds:
        return None
    return paired(tally, np.stack([best[s] for s in seeds]), np.stack([other[s] for s in seeds]))


@dataclass(frozen=True, slots=True)
class Tallies:
    """What each test document adds to the main metric of a task: by model and seed, (documents, k) float64.

    words: (documents,) int64, their lengths; None in older files.
    """

    kind: Tally
    by_model: dict[str, dict[int, np.ndarray]]
    words: np.ndarray | None = None


def read_tallies(folder: Path) -> dict[tuple[str, str, str, str], Tallies]:
    """The tallies of predictions/, by protocol, task, language and metric; older files have none.

    InputError where two files of a task tell of other documents, or in another order: they cannot be paired.
    """
    import numpy as np

    found: dict[tuple[str, str, str, str], Tallies] = {}
    first: dict[tuple[str, str, str, str], tuple[str, list[str]]] = {}
    for path in sorted((folder / "predictions").glob("*.jsonl")):
        head, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)
        if "tally" not in head:
            continue
        key = (head["protocol"], head["task"], head["language"], head["metric"])
        ids = [row["id"] for row in rows]
        name, known = first.setdefault(key, (path.name, ids))
        if ids != known:
            other = next((id for id in ids if id not in known), None)
            told = (
                "lacks some of its documents, or orders them otherwise" if other is None else f"has '{other}' besides"
            )
            raise InputError(
                f"{path}: beside {name} it {told}; score the models of a task on the same test documents"
            )
        words = np.array([row["words"] for row in rows]) if all("words" in row for row in rows) else None
        of_task = found.setdefault(key, Tallies(head["tally"], {}, words))
        tallies = np.array([row["tally"] for row in rows], dtype=np.float64)
        of_task.by_model.setdefault(head["model"], {})[head["seed"]] = tallies
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given (Holm 1979)."""
    import numpy as np

    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()
