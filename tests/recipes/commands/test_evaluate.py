"""adapt evaluate: which models, which language, which settings, and whose scores a folder holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from medlingua.languages.pack import load_pack
from medlingua.recipes.folder import claim
from medlingua.recipes.settings import Run
from medlingua.recipes.text.task_set import find_tasks
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
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--set", "eval.tasks=synthetic_outcome", "--set", "eval.seeds=1"]
    scores = tmp_path / "scores"
    assert call(monkeypatch, ["evaluate", str(run_folder), *chosen, *SHORT, "--out", str(scores)]) == 0
    rows = read_scores(scores / "results.jsonl")
    assert {row.task for row in rows} == {"synthetic_outcome"}
    assert {row.language for row in rows} == {"fr"}
    assert {row.seed for row in rows if row.model == "first"} == {0}
    lines = capsys.readouterr().err.splitlines()
    (task,) = (t for t in find_tasks(load_pack("fr"), None, ("synthetic_outcome",), ()).tasks)
    about = next(line for line in lines if line.startswith("task synthetic_outcome: "))
    assert [int(word) for word in about.replace(",", " ").split() if word.isdecimal()] == [
        len(task.train), len(task.dev), len(task.test), 1,
    ]  # fmt: skip


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


def test_the_address_of_a_presets_base_and_a_fetched_model_can_be_scored(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "lab_models"
    shutil.copytree(base, package / "small")
    (package / "__init__.py").touch()
    shutil.copytree(base, tmp_path / "root" / "models" / "almanach--camembert-bio-base")
    monkeypatch.syspath_prepend(tmp_path)
    scores = tmp_path / "scores"
    models = ["package:lab_models/small", "camembert_bio"]
    words = ["--lang", "fr", "--data", str(tmp_path / "root"), *ONE, "--out", str(scores)]
    assert call(monkeypatch, ["evaluate", *models, *words]) == 0
    assert {"small", "camembert_bio"} <= {row.model for row in read_scores(scores / "results.jsonl")}
    assert call(monkeypatch, ["evaluate", "package:absent_models/small", *words]) == 2
    assert "absent_models is not installed" in capsys.readouterr().err


def test_scores_that_no_evaluation_wrote_are_not_joined(
    run_folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_folder / "results.jsonl"
    results.touch()
    assert call(monkeypatch, ["evaluate", str(base), "--lang", "fr", *ONE, "--out", str(run_folder)]) == 2
    assert "scores that no evaluation wrote" in capsys.readouterr().err
    assert results.read_bytes() == b""


def test_an_evaluation_joins_the_scores_of_another_system_and_then_guards_its_own(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = load_pack("fr")
    (task,) = find_tasks(pack, None, ("synthetic_ner",), ()).tasks
    lines = [json.dumps({"id": example.id, "predicted": []}) for example in task.test]
    (tmp_path / "other.jsonl").write_text("\n".join(lines), encoding="utf-8")
    out = ["--out", str(tmp_path / "scores")]
    score = ["score", str(tmp_path / "other.jsonl"), "--lang", "fr", "--task", "synthetic_ner", *out]
    assert call(monkeypatch, score) == 0
    evaluate = ["evaluate", str(base), "--lang", "fr", *ONE, *out]
    assert call(monkeypatch, evaluate) == 0
    assert {"predictions", "tiny"} <= {row.model for row in read_scores(tmp_path / "scores" / "results.jsonl")}
    assert call(monkeypatch, [*score, "--name", "second"]) == 0
    assert call(monkeypatch, [*evaluate, "--set", "eval.lr=1e-3"]) == 2
    assert "differ in eval.lr" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_refused_before_another_is_scored(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent, scores = str(tmp_path / "absent"), tmp_path / "scores"
    assert call(monkeypatch, ["evaluate", str(base), absent, "--lang", "fr", *ONE, "--out", str(scores)]) == 2
    assert f"model folder {absent} does not exist" in capsys.readouterr().err
    assert not scores.exists()


def test_a_tokenizer_that_merges_words_of_the_language_is_said_to(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base, tmp_path / "uncased")
    file = tmp_path / "uncased" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "normalizer": {"type": "Lowercase"}}), "utf-8")
    words = ["evaluate", str(tmp_path / "uncased"), str(base), "--lang", "fr", *ONE]
    assert call(monkeypatch, [*words, "--out", str(tmp_path / "scores")]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "tokenizer loses" in line)
    assert "uncased: its tokenizer loses upper case (SIDA = sida)" in line
    assert call(monkeypatch, [*words, "--allow", "uncased", "--out", str(tmp_path / "allowed")]) == 0
    assert "tokenizer loses" not in capsys.readouterr().err
