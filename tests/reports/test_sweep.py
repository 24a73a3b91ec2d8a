"""Figures of a sweep."""

import csv
import re
from pathlib import Path

import optuna
import pytest
from medlingua.reports.rows import TrialRow
from medlingua.reports.sweep import write_sweep


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("seed", range(3))
def test_the_setting_that_decides_a_dozen_trials_is_the_most_important(seed: int, tmp_path: Path) -> None:
    def measured(trial: optuna.Trial) -> float:
        unit = trial.suggest_categorical("objective.unit", ["piece", "word"])
        trial.suggest_float("train.lr", 1e-5, 1e-2, log=True)
        decay = trial.suggest_float("train.weight_decay", 0.0, 0.2)
        return 1.5 + (0.05 if unit == "piece" else 0.0) + 0.01 * decay

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(measured, n_trials=12)
    rows = [
        TrialRow(
            number=trial.number, state="complete", values=tuple(trial.values), parameters=trial.params, tokens=100,
            seconds=1.0, evaluations=((50, 0.5, 2.0), (100, 1.0, trial.values[0])),
        )
        for trial in study.trials
    ]  # fmt: skip
    page = write_sweep(tmp_path, study, ["bits_per_byte"], rows).read_text(encoding="utf-8")
    picture = page.partition('aria-label="Importance of the settings')[2].partition("</svg>")[0]
    assert uppermost(picture) == "objective.unit"
    names = ("history-bits_per_byte", "parallel-bits_per_byte", "importance-bits_per_byte", "curves")
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "csv")} | {"captions.md"}
    with (tmp_path / "figures" / "history-bits_per_byte.csv").open(encoding="utf-8", newline="") as file:
        best = [float(row["best_so_far"]) for row in csv.DictReader(file)]
    assert best == sorted(best, reverse=True)
    assert best[-1] == pytest.approx(study.best_value)


def uppermost(picture: str) -> str:
    """The name of the uppermost bar, which is the longest."""
    names = re.findall(r' y="([0-9.]+)"[^>]*>([a-z_.]+)</text>', picture)
    return min((float(y), name) for y, name in names if "." in name)[1]
