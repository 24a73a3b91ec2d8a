"""All tasks of a comparison together: mean ranks, win probability, short and long tasks, and scores by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

from .bootstrap import Key, Tallies, metric_of
from .scores import Comparison

if TYPE_CHECKING:
    import numpy as np

LONG = 400  # words of a long document: more than 512 tokens with most tokenizers, so short models need windows
_LONG_SHARE = 0.2  # of the test documents are long: the task is long
_THIRDS = 3
_ENOUGH = 30  # documents, to divide them by length


@dataclass(frozen=True, slots=True)
class Overall:
    """One model over all tasks.

    rank: mean rank, 1 is best, ties share a rank. wins: probability to score above another model, for a random task,
    other model and seed of each; a tie counts half. short, long: mean main metric; None without such a task.
    """

    model: str
    rank: float
    wins: float
    short: float | None
    long: float | None


def overall(comparisons: Mapping[Key, Comparison], tallies: Mapping[Key, Tallies]) -> list[Overall]:
    """The models that were scored on every task, best rank first; empty for fewer than two models or tasks.

    comparisons: of main metrics, one a task. Empty where a task has two protocols: their scores do not compare.
    """
    tasks = [(key[1], key[2]) for key in comparisons]
    scores = {key: {r.model: [*r.seeds.values()] for r in c.results if r.seeds} for key, c in comparisons.items()}
    models = [m for m in next(iter(scores.values()), {}) if all(m in of for of in scores.values())]
    if len(models) < 2 or len(tasks) < 2 or len(set(tasks)) < len(tasks):
        return []
    long = {key for key in scores if is_long(tallies[key])}
    rows = []
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
        rows.append(Overall(model, fmean(ranks), fmean(wins), short_mean, long_mean))
    return sorted(rows, key=lambda row: row.rank)


def is_long(tallies: Tallies) -> bool:
    return tallies.words is not None and float((tallies.words >= LONG).mean()) >= _LONG_SHARE


def by_length(tallies: Tallies) -> dict[str, list[tuple[float, float]]]:
    """For each model (median words, main metric) of the shortest, middle and longest third of the test documents.

    Empty where the lengths are unknown or similar, or where there are few documents.
    """
    import numpy as np

    words = tallies.words
    if words is None or len(words) < _ENOUGH or words.max() < 2 * max(1, words.min()):
        return {}
    thirds = np.array_split(np.argsort(words, kind="stable"), _THIRDS)

    def of(seeds: Sequence[np.ndarray], part: np.ndarray) -> float:
        return fmean(
            float(metric_of(tallies.kind, tallies_of_seed[part].sum(axis=0), len(part))) for tallies_of_seed in seeds
        )

    return {
        model: [(float(np.median(words[part])), of([*seeds.values()], part)) for part in thirds]
        for model, seeds in tallies.by_model.items()
    }


def _above(left: Sequence[float], right: Sequence[float]) -> float:
    return fmean((a > b) + (a == b) / 2 for a, b in product(left, right))
