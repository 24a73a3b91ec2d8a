"""All tasks of a comparison at once: ranks, win probability, short and long tasks apart, and scores by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

from .bootstrap import Tallies, metric_of
from .scores import Comparison

if TYPE_CHECKING:
    import numpy as np

LONG = 400  # words of a document that short models read in windows: beyond 512 pieces in most tokenizers
_LONG_SHARE = 0.2  # of such test documents, from which a task counts as long
_THIRDS = 3
_ENOUGH = 30  # documents that are divided by their length

Key = tuple[str, str, str, str]  # protocol, task, language, metric


@dataclass(frozen=True, slots=True)
class Overall:
    """One model over all tasks. rank: mean, 1 is best, ties share. wins: how likely it is above another model, on a
    task, another model and a seed of each drawn at random, ties half. short, long: mean main metric; None without
    such a task."""

    model: str
    rank: float
    wins: float
    short: float | None
    long: float | None


def overall(comparisons: Mapping[Key, Comparison], tallies: Mapping[Key, Tallies]) -> list[Overall]:
    """The models that were scored on every task, best rank first; none for less than two models or tasks.

    comparisons: of main metrics, one a task; a task under two protocols makes none, as its scores do not compare.
    """
    tasks = [(key[1], key[2]) for key in comparisons]
    scores = {key: {r.model: [*r.seeds.values()] for r in c.results if r.seeds} for key, c in comparisons.items()}
    models = [m for m in next(iter(scores.values()), {}) if all(m in of for of in scores.values())]
    if len(models) < 2 or len(tasks) < 2 or len(set(tasks)) < len(tasks):
        return []
    long = {key for key in scores if is_long(tallies[key])}
    found = []
    for model in models:
        others = [other for other in models if other != model]
        means = {key: fmean(of[model]) for key, of in scores.items()}
        ranks = [
            1 + sum((fmean(of[o]) > means[key]) + (fmean(of[o]) == means[key]) / 2 for o in others)
            for key, of in scores.items()
        ]
        wins = [_above(of[model], of[other]) for of in scores.values() for other in others]
        parts = ([v for k, v in means.items() if k not in long], [v for k, v in means.items() if k in long])
        short_mean, long_mean = (fmean(part) if part else None for part in parts)
        found.append(Overall(model, fmean(ranks), fmean(wins), short_mean, long_mean))
    return sorted(found, key=lambda row: row.rank)


def is_long(tallies: Tallies) -> bool:
    return tallies.words is not None and float((tallies.words >= LONG).mean()) >= _LONG_SHARE


def by_length(tallies: Tallies) -> dict[str, list[tuple[float, float]]]:
    """For each model the main metric of the shortest, middle and longest third of the test documents, with their
    median words; {} where the lengths are not known, all alike, or the documents few."""
    import numpy as np

    words = tallies.words
    if words is None or len(words) < _ENOUGH or words.max() < 2 * max(1, words.min()):
        return {}
    thirds = np.array_split(np.argsort(words, kind="stable"), _THIRDS)

    def of(seeds: Sequence[np.ndarray], part: np.ndarray) -> float:
        return fmean(float(metric_of(tallies.kind, rows[part].sum(axis=0), len(part))) for rows in seeds)

    return {
        model: [(float(np.median(words[part])), of([*seeds.values()], part)) for part in thirds]
        for model, seeds in tallies.by_model.items()
    }


def _above(left: Sequence[float], right: Sequence[float]) -> float:
    return fmean((a > b) + (a == b) / 2 for a, b in product(left, right))
