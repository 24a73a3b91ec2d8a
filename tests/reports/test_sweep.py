"""Pictures of a sweep say what its trials say."""

import re
from pathlib import Path

import optuna
import pytest
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
    page = write_sweep(tmp_path, study, ["bits_per_byte"], []).read_text(encoding="utf-8")
    assert uppermost(page.partition("<h2>Importance of settings</h2>")[2]) == "objective.unit"


def uppermost(picture: str) -> str:
    """The name beside the uppermost bar, which is the longest."""
    names = re.findall(r' y="([0-9.]+)"[^>]*>([a-z_.]+)</text>', picture)
    return min((float(y), name) for y, name in names if "." in name)[1]
