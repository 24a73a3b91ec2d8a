"""adapt evaluate: which models, which language, which settings, and whose scores a folder holds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from medlingua.recipes.folder import claim
from medlingua.recipes.settings import Run
from medlingua.reports.read import read_scores

from ..conftest import call

SHORT = ["--set", "eval.epochs=1", "--set", "eval.min_steps=0"]
ONE = ["--tasks", "synthetic_outcome", "--seeds", "1", *SHORT]


@pytest.fixture
def run_folder(make_run: Callable[..., Run], base: Path, tmp_path: Path) -> Path:
    """A French run that has saved its model."""
    folder = tmp_path / "first"
    claim(folder, make_run())
    shutil.copytree(base, folder / "model")
    return folder


def test_a_run_folder_says_its_language_and_set_chooses_tasks_and_seeds(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["--set", "eval.tasks=synthetic_outcome", "--set", "eval.seeds=1"]
    scores = tmp_path / "scores"
    assert call(monkeypatch, ["evaluate", str(run_folder), *chosen, *SHORT, "--out", str(scores)]) == 0
    rows = read_scores(scores / "results.jsonl")
    assert {row.task for row in rows} == {"synthetic_outcome"}
    assert {row.language for row in rows} == {"fr"}
    assert {row.seed for row in rows if row.model == "first"} == {0}


def test_run_folders_of_two_languages_need_lang(
    run_folder: Path,
    make_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "second"
    claim(other, make_run(lang="es"))
    words = ["evaluate", str(run_folder), str(other), "--out", str(tmp_path / "scores")]
    assert call(monkeypatch, words) == 2
    message = capsys.readouterr().err
    assert f"fr ({run_folder})" in message
    assert f"es ({other})" in message
    assert "--lang" in message
