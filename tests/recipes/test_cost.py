"""The cost of a run that several processes did."""

from collections.abc import Callable
from pathlib import Path

import pytest
from medlingua.recipes.cost import Spent
from medlingua.recipes.settings import Run
from medlingua.recipes.walk import adapt
from medlingua.reports.read import read_run
from medlingua.reports.rows import EvalRow

SETS = ("train.tokens=3_000", "train.batch_tokens=256", "train.eval_tokens=1_000", "train.checkpoint_tokens=500",
        "train.precision=fp32", "eval.tasks=none", "data.held_out=0.2")  # fmt: skip


class Stopped(Exception):
    pass


def stop(row: EvalRow) -> None:
    raise Stopped


def test_the_cost_of_a_resumed_run_is_that_of_all_its_parts(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run, folder = make_run(*SETS), tmp_path / "run"
    with pytest.raises(Stopped):
        adapt(run, folder, on_evaluation=stop)
    partial = folder / "cost.partial.json"
    spent = Spent.model_validate_json(partial.read_text())
    assert spent.seconds > 0
    assert spent.peak_memory_bytes > 0
    # As if the first part had been a long one on a larger machine.
    long = spent.model_copy(update={"seconds": 5_000.0, "peak_memory_bytes": 2**50, "energy_joules": None})
    partial.write_text(long.model_dump_json())
    adapt(run, folder)
    cost = read_run(folder).cost
    assert cost is not None
    assert cost.resumed == 1
    assert cost.seconds > 5_000
    assert cost.train_seconds < 5_000
    assert cost.peak_memory_bytes == 2**50
    assert cost.energy_joules is None
    assert not partial.exists()
