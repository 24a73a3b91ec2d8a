"""Comparisons of scores: only scores of one protocol, on the same gold items, are compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from medlingua.languages.errors import InputError

from .bootstrap import Difference, Key, Tallies, interval, paired
from .intervals import ENOUGH, Estimate
from .protocols import UNTRAINED, protocol_of
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
    """One model under one measure. A baseline draws nothing at random, so it has a value and no seeds."""

    model: str
    score: Estimate
    seeds: dict[int, float]
    note: str

    @property
    def is_baseline(self) -> bool:
        return not self.seeds


@dataclass(frozen=True, slots=True)
class Comparison:
    """All models under one measure, in the order they were scored. tallies: None where none were written."""

    measure: Measure
    results: tuple[Result, ...]
    examples: int
    gold: int
    synthetic: bool
    tallies: Tallies | None = None

    @property
    def task(self) -> str:
        return f"{self.measure.task} (synthetic)" if self.synthetic else self.measure.task

    def result(self, model: str) -> Result | None:
        return next((result for result in self.results if result.model == model), None)


@dataclass(frozen=True, slots=True)
class Change:
    """The score of a measure before and after training."""

    before: Result
    after: Result
    difference: Difference


def compare(scores: Iterable[Score], tallies: Mapping[Key, Tallies] | None = None) -> tuple[Comparison, ...]:
    """Scores by measure, in the order of the file.

    tallies: what each test document adds to the main metrics; without them there are no intervals.
    InputError where models have different counts of gold items or examples.
    """
    groups: dict[Measure, list[Score]] = {}
    for score in scores:
        measure = Measure(score.protocol, score.task, score.language, score.split, score.metric)
        groups.setdefault(measure, []).append(score)
    return tuple(_comparison(measure, rows, tallies or {}) for measure, rows in groups.items())


def key_of(measure: Measure) -> Key:
    return measure.protocol, measure.task, measure.language, measure.metric


def by_protocol(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """The measures of each protocol: what may stand in one table."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(comparison.measure.protocol, []).append(comparison)
    return groups


def trained_models(comparisons: Iterable[Comparison]) -> list[str]:
    """The names of the models, without baselines, in the order in which they were scored."""
    return list(dict.fromkeys(r.model for comparison in comparisons for r in comparison.results if not r.is_baseline))


def only(comparisons: Sequence[Comparison]) -> Comparison:
    """The one measure of a ranking. InputError where there are several protocols or measures."""
    protocols = sorted({comparison.measure.protocol for comparison in comparisons})
    if len(protocols) > 1:
        raise InputError(
            f"scores of the protocols {' and '.join(protocols)} cannot be ranked together; "
            "score all models under one of them"
        )
    if len(comparisons) > 1:
        measures = " and ".join(" ".join(comparison.measure[1:]) for comparison in comparisons)
        raise InputError(f"{measures} are different measures; rank the models on one at a time")
    return comparisons[0]


def ranked(comparison: Comparison) -> list[Result]:
    """Best first: every metric here is better when higher."""
    return sorted(comparison.results, key=lambda result: -result.score.value)


def change(comparison: Comparison) -> Change | None:
    """From the base (or the start, where the base could not be scored) to the trained model."""
    before = comparison.result("base") or comparison.result("start")
    after = comparison.result("trained")
    if before is None or after is None:
        return None
    difference = difference_of(comparison, before, after)
    return Change(before, after, difference) if difference else None


def difference_of(comparison: Comparison, before: Result, after: Result) -> Difference | None:
    """After minus before over the seeds that both have; None without a common seed."""
    seeds = sorted(before.seeds.keys() & after.seeds.keys())
    if not seeds:
        return None
    if comparison.tallies is not None:
        old, new = (comparison.tallies.of(result.model, seeds) for result in (before, after))
        if old is not None and new is not None:
            return paired(comparison.tallies.kind, old, new)
    return Difference(fmean(after.seeds[s] - before.seeds[s] for s in seeds), None, None, len(seeds), None)


def verdict(difference: Estimate) -> str:
    """What the interval of a difference shows."""
    if difference.low is None or difference.high is None:
        return "no interval"
    if difference.low <= 0 <= difference.high:
        return "interval includes 0"
    return "higher" if difference.value > 0 else "lower"


def has_few_seeds(comparison: Comparison) -> bool:
    """Whether an interval of this measure leaves out the variation between seeds; without training there is none."""
    protocol = protocol_of(comparison.measure.protocol)
    if protocol is not None and protocol.training == UNTRAINED:
        return False
    return comparison.tallies is not None and any(0 < len(result.seeds) < ENOUGH for result in comparison.results)


def _comparison(measure: Measure, scores: list[Score], tallies: Mapping[Key, Tallies]) -> Comparison:
    sizes = {(score.gold, score.examples): score.model for score in scores}
    if len(sizes) > 1:
        counts = "; ".join(f"{model}: {gold} in {examples}" for (gold, examples), model in sizes.items())
        raise InputError(
            f"{measure.task} ({measure.split}, {measure.metric}): the models were not scored on the same "
            f"gold items and examples ({counts}); score them again on the same files"
        )
    by_model: dict[str, list[Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    of_measure = tallies.get(key_of(measure)) if measure.split == "test" else None
    return Comparison(
        measure=measure,
        results=tuple(_result(model, rows, of_measure) for model, rows in by_model.items()),
        examples=scores[0].examples,
        gold=scores[0].gold,
        synthetic=any(score.synthetic for score in scores),
        tallies=of_measure,
    )


def _result(model: str, scores: list[Score], tallies: Tallies | None) -> Result:
    seeds = {score.seed: score.value for score in scores if score.seed is not None}
    estimate = Estimate(fmean(score.value for score in scores), None, None, len(seeds))
    if tallies is not None and (of_model := tallies.of(model, sorted(seeds))) is not None:
        sampled = interval(tallies.kind, of_model)
        estimate = Estimate(estimate.value, sampled.low, sampled.high, len(seeds))
    return Result(model, estimate, seeds, "; ".join(dict.fromkeys(score.note for score in scores if score.note)))
