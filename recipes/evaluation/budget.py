"""How long fine-tuning on tasks takes, and which tasks fit into the time that training takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medlingua.languages.annotations import Example
from medlingua.languages.task import Task
from medlingua.languages.terminology import mentions_of, terms_of
from medlingua.recipes.settings import Eval

_LEAST_SECONDS = 900.0  # evaluation may always take so long
_FORWARD = 1 / 3  # of the cost of a token that is learnt from


@dataclass(frozen=True, slots=True)
class Fitting:
    """The tasks that are scored, with so many seeds each, in so many seconds; and the names of the others."""

    tasks: tuple[str, ...]
    seeds: int
    seconds: float
    left_out: tuple[str, ...]


def fit_to_training(
    tasks: Sequence[Task],
    settings: Eval,
    seconds_per_char: float,
    models: int,
    training_seconds: float,
    *,
    choose_tasks: bool,
    choose_seeds: bool,
) -> Fitting:
    """The tasks that can be scored in the time of training, 15 minutes at least; the cheapest are taken first.

    seconds_per_char: of training on text. models: how many are scored. choose_tasks, choose_seeds: whether tasks may
    be left out and seeds be fewer. One seed only where not even the cheapest task has time for more.
    """
    if not tasks:
        return Fitting((), settings.seeds, 0.0, ())
    budget = max(training_seconds, _LEAST_SECONDS)
    for seeds in (settings.seeds, 1) if choose_seeds and settings.seeds > 1 else (settings.seeds,):
        costs = {
            task.spec.name: models * seconds_per_char * _chars(task, settings.model_copy(update={"seeds": seeds}))
            for task in tasks
        }
        if not choose_tasks or sum(costs.values()) <= budget:
            chosen = list(costs)
        else:
            chosen, spent = [], 0.0
            for name in sorted(costs, key=lambda name: costs[name]):
                if spent + costs[name] <= budget:
                    chosen.append(name)
                    spent += costs[name]
        if chosen and sum(costs[name] for name in chosen) <= budget:
            break
    if not chosen:
        chosen = [min(costs, key=lambda name: costs[name])]
    return Fitting(
        tuple(name for name in costs if name in chosen),
        seeds,
        sum(costs[name] for name in chosen),
        tuple(name for name in costs if name not in chosen),
    )


def _chars(task: Task, settings: Eval) -> float:
    """Characters that one model reads for all seeds of a task, those of a forward pass alone counted by its cost."""
    if task.folds:
        return sum(_chars(fold, settings) for fold in task.folds)
    if task.spec.kind == "normalization":  # reads terms and mentions alone, once
        mentions = {text for example in task.test for _, text in mentions_of(example)}
        return _FORWARD * sum(map(len, (*terms_of(task.terminology, task.train), *mentions)))
    train, dev, test = (_length(part) for part in (task.train, task.dev, task.test))
    if settings.body == "frozen":
        return _FORWARD * (train + dev + test)
    steps = max(1, math.ceil(len(task.train) / settings.batch_documents))
    epochs = max(settings.epochs, math.ceil(settings.min_steps / steps))
    once = epochs * (train + _FORWARD * dev)
    return (settings.seeds + settings.trials) * once + settings.seeds * _FORWARD * (dev + test)


def _length(examples: Sequence[Example]) -> int:
    return sum(len(example.document.text) for example in examples)
