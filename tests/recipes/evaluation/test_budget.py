"""Evaluation that fits into the time of training, and what it leaves out."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from medlingua.languages.cases import synthetic_tasks
from medlingua.languages.pack import load_pack
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.budget import Fitting, fit_to_training
from medlingua.recipes.settings import Eval


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """Three tasks, each with twice the test and train documents of the one before."""
    (task, *_) = synthetic_tasks(load_pack("fr"), 0, (10, 4, 4), (40, 60))
    several = []
    for number, times in enumerate((1, 2, 4)):
        spec = task.spec.model_copy(update={"name": f"task-{number}"})
        several.append(
            replace(task, spec=spec, train=task.train * times, dev=task.dev * times, test=task.test * times)
        )
    return several


def fitted(tasks: Sequence[Task], seconds_per_char: float, training: float = 0.0, **choices: bool) -> Fitting:
    settings = Eval(epochs=4)
    given = {"choose_tasks": True, "choose_seeds": True} | choices
    return fit_to_training(tasks, settings, seconds_per_char, 2, training, **given)


def test_all_is_scored_where_there_is_time(tasks: list[Task]) -> None:
    assert fitted(tasks, 1e-6) == Fitting(("task-0", "task-1", "task-2"), 3, fitted(tasks, 1e-6).seconds, ())


def test_cheap_tasks_are_scored_first_and_the_others_named(tasks: list[Task]) -> None:
    everything = fitted(tasks, 1.0, choose_tasks=False, choose_seeds=False).seconds
    some = fitted(tasks, 900 / everything * 1.5)  # 900 seconds are always given
    assert some.tasks == ("task-0", "task-1")
    assert (some.left_out, some.seeds) == (("task-2",), 3)
    assert some.seconds <= 900
    assert fitted(tasks, 900 / everything * 1.5, training=1_800).left_out == ()


def test_one_seed_only_where_nothing_else_fits(tasks: list[Task]) -> None:
    everything = fitted(tasks, 1.0, choose_tasks=False, choose_seeds=False).seconds
    tight = fitted(tasks, 900 / everything * 12)
    assert (tight.tasks, tight.seeds) == (("task-0",), 1)
    hopeless = fitted(tasks, 900 / everything * 1_000)
    assert (hopeless.tasks, hopeless.seeds) == (("task-0",), 1)
    assert fitted(tasks, 900 / everything * 12, choose_seeds=False).seeds == 3


def test_without_tasks_nothing_is_decided() -> None:
    assert fitted([], 1.0) == Fitting((), 3, 0.0, ())


def test_epochs_that_are_given_are_the_epochs() -> None:
    assert (Eval().epochs, Eval().min_steps) == (8, 200)
    assert Eval(epochs=2).min_steps == 0
    assert Eval(epochs=2, min_steps=50).min_steps == 50
