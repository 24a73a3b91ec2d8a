"""Names from anybody in a page: they are shown, and are no HTML."""

from pathlib import Path

import optuna
import pytest
from medlingua.reports.compare import write_comparison
from medlingua.reports.rows import Score, TrialRow
from medlingua.reports.sweep import write_sweep

EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>'


def harmless(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_a_model_task_and_note_in_a_comparison_are_no_html(tmp_path: Path) -> None:
    rows = [
        Score(
            model=name, task=EVIL, language="fr", split="test", metric="f1", protocol=EVIL, value=0.5, seed=seed,
            examples=1, gold=1, note=EVIL,
        )
        for name in (EVIL, "base") for seed in (0, 1)
    ]  # fmt: skip
    (tmp_path / "results.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    harmless(write_comparison(tmp_path).read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_setting_and_a_note_in_a_sweep_are_no_html(tmp_path: Path) -> None:
    study = optuna.create_study()
    for value in range(3):
        trial = study.ask()
        trial.suggest_categorical("base", [EVIL, "other"])
        trial.suggest_float("train.lr", 0, 1)
        trial.report(1.0, 1)
        study.tell(trial, float(value))
    rows = [
        TrialRow(
            number=trial.number, state="complete", values=tuple(trial.values), parameters=trial.params, tokens=1,
            seconds=1.0, evaluations=((1, 1.0, 1.0),), note=EVIL,
        )
        for trial in study.trials
    ]  # fmt: skip
    page = write_sweep(tmp_path, study, ["bits_per_byte"], rows)
    harmless(page.read_text(encoding="utf-8"))
    assert "History" in page.read_text(encoding="utf-8")
