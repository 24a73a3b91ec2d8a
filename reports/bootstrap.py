"""Bootstrap intervals of scores and of differences between models, from the counts of each test document.

Test documents are resampled whole, so that the sentences of one document stay together, and two models are compared
on the same samples (Koehn 2004; Dror et al. 2018). From three seeds on, seeds are resampled too, in pairs. Intervals
are percentiles of the samples, so they stay inside the range of the metric. p-values of several differences are
corrected by Holm's method.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medlingua.languages.errors import InputError

from .intervals import ENOUGH, Estimate

if TYPE_CHECKING:
    import numpy as np

# What each document adds to a metric. "micro-F1": correct, predicted, gold. "macro-F1": these three for each label.
# "mean": its value. "correlation": x, y, x², y² and xy, of ranks within the whole test set for Spearman's.
Tally = Literal["micro-F1", "macro-F1", "mean", "correlation"]
Key = tuple[str, str, str, str]  # protocol, task, language, metric
SAMPLES = 2_000
_COUNTS = 4_000_000  # numbers held at once while sampling


@dataclass(frozen=True, slots=True)
class Tallies:
    """What each test document adds to the main metric of a task: by model and seed, (documents, k) float64.

    words: (documents,) int64, their lengths; None in older files. documents: their ids, in order.
    """

    kind: Tally
    by_model: dict[str, dict[int, np.ndarray]]
    words: np.ndarray | None = None
    documents: tuple[str, ...] = ()

    def of(self, model: str, seeds: Iterable[int]) -> np.ndarray | None:
        """(seeds, documents, k); None where one of the seeds has no tallies."""
        import numpy as np

        by_seed, wanted = self.by_model.get(model, {}), list(seeds)
        return np.stack([by_seed[seed] for seed in wanted]) if wanted and by_seed.keys() >= set(wanted) else None


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A difference of two scores. p_value: two-sided, at least 2 / (SAMPLES + 1); None without an interval."""

    p_value: float | None


def metric_of(tally: Tally, totals: np.ndarray, documents: int) -> np.ndarray:
    """The metric of summed tallies: (..., k) -> (...). Macro-F1 is the mean over the labels that have gold; a
    correlation with values that are no numbers is none."""
    import numpy as np

    if tally == "mean":
        return totals[..., 0] / documents
    if tally == "correlation":
        x, y, xx, yy, xy = np.moveaxis(totals.astype(np.float64) / documents, -1, 0)
        spread = np.sqrt(np.maximum(0, (xx - x * x) * (yy - y * y)))
        none = np.where(np.isnan(spread), np.nan, 0.0)
        return np.divide(xy - x * y, spread, out=none, where=spread > 1e-9)  # type: ignore[no-any-return]
    counts = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3).astype(np.float64), -1, 0)
    correct, predicted, gold = counts
    f1 = np.divide(2 * correct, predicted + gold, out=np.zeros_like(correct), where=predicted + gold > 0)
    if tally == "micro-F1":
        return f1[..., 0]  # type: ignore[no-any-return]
    return (f1 * (gold > 0)).sum(axis=-1) / np.maximum(1, (gold > 0).sum(axis=-1))  # type: ignore[no-any-return]


def interval(tally: Tally, tallies: np.ndarray) -> Estimate:
    """The metric of one model, mean over seeds. tallies: (seeds, documents, k)."""
    import numpy as np

    (value,), (samples,) = _values(tally, [tallies]), _samples(tally, [tallies])
    low, high = np.quantile(samples, (0.025, 0.975)).tolist()
    return Estimate(value, low, high, len(tallies))


def paired(tally: Tally, before: np.ndarray, after: np.ndarray) -> Difference:
    """After minus before. before, after: tallies (seeds, documents, k) of the same seeds and documents."""
    import numpy as np

    if before.shape[:2] != after.shape[:2]:
        raise ValueError(f"tallies of other seeds or documents: {before.shape[:2]} and {after.shape[:2]}")
    old, new = _samples(tally, [before, after])
    samples = new - old
    low, high = np.quantile(samples, (0.025, 0.975)).tolist()
    above = float((samples > 0).mean() + (samples == 0).mean() / 2)
    first, second = _values(tally, [before, after])
    p_value = max(2 * min(above, 1 - above), 2 / (SAMPLES + 1))
    return Difference(second - first, low, high, len(before), p_value)


def _values(tally: Tally, models: Sequence[np.ndarray]) -> list[float]:
    return [float(metric_of(tally, of.sum(axis=1), of.shape[1]).mean()) for of in models]


def _samples(tally: Tally, models: Sequence[np.ndarray]) -> np.ndarray:
    """(models, SAMPLES): the metric, mean over seeds, of resampled documents and seeds, the same for every model."""
    import numpy as np

    seeds, documents = models[0].shape[:2]
    flat = [of.astype(np.float64).transpose(1, 0, 2).reshape(documents, -1) for of in models]
    rng = np.random.default_rng(0)
    values = np.empty((len(models), SAMPLES))
    step = max(1, _COUNTS // documents)
    for first in range(0, SAMPLES, step):
        size = min(step, SAMPLES - first)
        counts = rng.multinomial(documents, np.full(documents, 1 / documents), size=size).astype(np.float64)
        chosen = rng.integers(0, seeds, (size, seeds)) if seeds >= ENOUGH else np.tile(np.arange(seeds), (size, 1))
        for place, tallies in enumerate(flat):
            by_seed = metric_of(tally, (counts @ tallies).reshape(size, seeds, -1), documents)
            values[place, first : first + size] = np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)
    return values


def read_tallies(folder: Path) -> dict[Key, Tallies]:
    """The tallies in predictions/ of a folder; older files have none.

    InputError where two files of a task hold different documents, or the same in another order.
    """
    import numpy as np

    by_key: dict[Key, Tallies] = {}
    first: dict[Key, Path] = {}
    for path in sorted((folder / "predictions").glob("*.jsonl")):
        head, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)
        if "tally" not in head:
            continue
        key = (head["protocol"], head["task"], head["language"], head["metric"])
        words = np.array([row["words"] for row in rows]) if all("words" in row for row in rows) else None
        ids = tuple(row["id"] for row in rows)
        of_task = by_key.setdefault(key, Tallies(head["tally"], {}, words, ids))
        _check_documents(first.setdefault(key, path), of_task.documents, path, ids)
        tallies = np.array([row["tally"] for row in rows], dtype=np.float64)
        of_task.by_model.setdefault(head["model"], {})[head["seed"]] = tallies
    return by_key


def merge_tallies(named: Mapping[Path, Tallies]) -> Tallies:
    """The tallies of one task from several folders as one. InputError where they hold different documents."""
    (folder, merged), *others = named.items()
    for other, tallies in others:
        _check_documents(folder, merged.documents, other, tallies.documents)
        merged = replace(merged, by_model=merged.by_model | tallies.by_model)
    return merged


def _check_documents(first: Path, known: tuple[str, ...], path: Path, ids: tuple[str, ...]) -> None:
    if ids == known:
        return
    added = next((id for id in ids if id not in set(known)), None)
    difference = (
        "some documents are missing or in another order" if added is None else f"it has '{added}' in addition"
    )
    raise InputError(
        f"{path}: not the test documents of {first}: {difference}; score all models of a task on the same documents"
    )


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
