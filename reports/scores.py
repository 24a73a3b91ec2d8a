"""Scores put side by side: only what one protocol measured on the same gold, seed against seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medlingua.languages.errors import InputError

from .intervals import ENOUGH_SEEDS, Estimate, estimate, paired_difference
from .rows import Score


class Measure(NamedTuple):
    """What a score measures. Scores of two measures are never ranked together."""

    protocol: str
    task: str
    language: str
    split: str
    metric: str


@dataclass(frozen=True, slots=True)
class Result:
    """One model under one measure. A baseline draws nothing, so it has a value and no seeds."""

    model: str
    mean: Estimate
    seeds: dict[int, float]
    note: str

    @property
    def is_baseline(self) -> bool:
        return not self.seeds


@dataclass(frozen=True, slots=True)
class Comparison:
    """All models under one measure, in the order they were scored."""

    measure: Measure
    results: tuple[Result, ...]
    examples: int
    gold: int
    synthetic: bool

    @property
    def task(self) -> str:
        return f"{self.measure.task} (synthetic)" if self.synthetic else self.measure.task

    def result(self, model: str) -> Result | None:
        return next((result for result in self.results if result.model == model), None)


@dataclass(frozen=True, slots=True)
class Change:
    """What training did to one measure."""

    before: Result
    after: Result
    difference: Estimate


def compare(scores: Iterable[Score]) -> tuple[Comparison, ...]:
    """Scores by measure, in the order they were made. Unequal gold counts are an error: text was lost."""
    groups: dict[Measure, list[Score]] = {}
    for score in scores:
        measure = Measure(score.protocol, score.task, score.language, score.split, score.metric)
        groups.setdefault(measure, []).append(score)
    return tuple(_comparison(measure, rows) for measure, rows in groups.items())


def by_protocol(scores: Iterable[Score]) -> dict[str, list[Comparison]]:
    """The measures of each protocol: what may stand in one table."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in compare(scores):
        groups.setdefault(comparison.measure.protocol, []).append(comparison)
    return groups


def rank(scores: Sequence[Score]) -> tuple[Result, ...]:
    """The models of one measure, best first (every metric here is better when higher)."""
    comparisons = compare(scores)
    protocols = sorted({comparison.measure.protocol for comparison in comparisons})
    if len(protocols) > 1:
        raise InputError(
            f"scores of the protocols {' and '.join(protocols)} cannot be ranked together; "
            "score all models under one of them"
        )
    if len(comparisons) > 1:
        measures = " and ".join(" ".join(comparison.measure[1:]) for comparison in comparisons)
        raise InputError(f"{measures} are different measures; rank the models on one at a time")
    return tuple(result for comparison in comparisons for result in ranked(comparison))


def ranked(comparison: Comparison) -> list[Result]:
    return sorted(comparison.results, key=lambda result: -result.mean.mean)


def change(comparison: Comparison) -> Change | None:
    """Before against after: the base (or the start, where the base could not be scored) and the trained."""
    before = comparison.result("base") or comparison.result("start")
    after = comparison.result("trained")
    if before is None or after is None:
        return None
    difference = paired_difference(before.seeds, after.seeds)
    return Change(before, after, difference) if difference else None


def verdict(difference: Estimate) -> str:
    """What a difference allows to say."""
    if difference.n < ENOUGH_SEEDS:
        return f"inside the noise ({'one seed' if difference.n == 1 else 'two seeds'})"
    if difference.is_noise:
        return "inside the noise"
    return "higher" if difference.mean > 0 else "lower"


def _comparison(measure: Measure, scores: list[Score]) -> Comparison:
    sizes = {(score.gold, score.examples): score.model for score in scores}
    if len(sizes) > 1:
        told = "; ".join(f"{model}: {gold} in {examples}" for (gold, examples), model in sizes.items())
        raise InputError(
            f"{measure.task} ({measure.split}, {measure.metric}): the models were not scored on the same "
            f"gold items and examples ({told}); score them again on the same files"
        )
    by_model: dict[str, list[Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    return Comparison(
        measure=measure,
        results=tuple(_result(model, rows) for model, rows in by_model.items()),
        examples=scores[0].examples,
        gold=scores[0].gold,
        synthetic=any(score.synthetic for score in scores),
    )


def _result(model: str, scores: list[Score]) -> Result:
    return Result(
        model=model,
        mean=estimate([score.value for score in scores]),
        seeds={score.seed: score.value for score in scores if score.seed is not None},
        note="; ".join(dict.fromkeys(score.note for score in scores if score.note)),
    )
