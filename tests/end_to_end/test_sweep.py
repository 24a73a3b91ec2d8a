"""adapt sweep: trials, workers, pruning, and what is left when a worker dies."""

import json
import os
import pty
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.experiments.sweep import sweep
from medlingua.recipes.resolve import read_run
from medlingua.recipes.walk import adapt

from ..recipes.conftest import call, cases, small_tasks, write_jsonl  # noqa: F401 -- a fixture
from .conftest import same_weights
from .forks import Fork

SWEEP = """
trials = {trials}
objective = {objective}
pruner = {pruner}
sampler = "RandomSampler"
full_tokens = 2_500
[settings]
strategy = "continue"
lang = "fr"
base = "{base}"
data = {{ paths = ["{corpus}"], held_out = 0.2 }}
eval = {{ epochs = 1, min_steps = 0, seeds = 2 }}
[settings.train]
tokens = {tokens}
batch_tokens = 256
micro_tokens = 256
eval_tokens = 1_000
checkpoint_tokens = 500
precision = "fp32"
[space]
train.lr = {{ low = 1e-4, high = 1e-2, log = true }}
adapt.vocabulary = {{ choices = ["keep", "extend"] }}
adapt.new_pieces = {{ low = 10, high = 20, when = {{ adapt.vocabulary = "extend" }} }}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "notes.jsonl", cases(40))


@pytest.fixture
def write(base: Path, corpus: Path, tmp_path: Path) -> Callable[..., Path]:
    def file(**changes: Any) -> Path:
        given = {"trials": 3, "objective": '"bits_per_byte"', "pruner": '"NopPruner"', "tokens": 2_000, **changes}
        path = tmp_path / "sweep.toml"
        path.write_text(SWEEP.format(base=base, corpus=corpus, **given), encoding="utf-8")
        return path

    return file


def line(file: Path, out: Path, *more: str) -> list[str]:
    return [str(Path(sys.executable).parent / "adapt"), "sweep", str(file), "--out", str(out), *more]


def looks(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "eval" and row["model"] == "trained"]


def test_a_sweep_tries_reports_and_names_the_best_and_then_tries_nothing_twice(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    words = line(write(), out)[1:]
    assert call(monkeypatch, words) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in (
        "History of the sweep",
        "a line through the settings",
        "Importance of the settings",
        "a line a trial",
        "3 complete",
    ):
        assert part in page
    assert page.count("<svg") == 4
    assert "mathdefault" not in page, "a power of ten on a log axis is shown as a formula"
    bits = [looks(out / "trials" / f"{n:04d}")[-1]["bits_per_byte"] for n in range(3)]
    assert (out / "trials" / "0000" / "model" / "model.safetensors").exists()

    assert call(monkeypatch, [*words, "--status"]) == 0
    table = capsys.readouterr().out
    assert all(f"{value:.4f}" in table for value in bits)
    assert "Tokens" in table
    assert "Training" in table

    assert call(monkeypatch, [*words, "--best"]) == 0
    full = shlex.split(capsys.readouterr().out.strip())
    best = read_run(out / "trials" / f"{bits.index(min(bits)):04d}")
    assert full[0] == "adapt"
    assert call(monkeypatch, [*full[1:], "--set", "eval.tasks='none'"]) == 0
    ran = read_run(out / "best")
    assert ran.train.tokens == 2_500
    assert ran.train.lr == best.train.lr
    assert ran.adapt == best.adapt

    monkeypatch.setattr("medlingua.recipes.walk.train", lambda *_: pytest.fail("trained again"))
    assert call(monkeypatch, words) == 0
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_pruned_trials_stop_at_a_look_at_held_out_text(write: Callable[..., Path], tmp_path: Path) -> None:
    study = sweep(write(trials=2, pruner='{ name = "ThresholdPruner", upper = 0.01 }'), tmp_path / "sweep")
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]
    for number in range(2):
        folder = tmp_path / "sweep" / "trials" / f"{number:04d}"
        (look,) = looks(folder)
        assert 1_000 <= look["tokens"] < 1_300
        assert not (folder / "model").exists()
        assert (folder / "report.html").exists()


@pytest.mark.usefixtures("small_tasks")
def test_V6_a_dev_score_is_the_objective_and_test_is_not_looked_at(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(trials=2, objective='["bits_per_byte", "synthetic_outcome"]')
    study = sweep(file, tmp_path / "sweep")
    for trial in study.trials:
        folder = tmp_path / "sweep" / "trials" / f"{trial.number:04d}"
        scores = [json.loads(row) for row in (folder / "results.jsonl").read_text().splitlines()]
        assert {score["split"] for score in scores} == {"dev"}
        main = scores[0]["metric"]
        values = [score["value"] for score in scores if score["metric"] == main]
        assert len(values) == 2  # seeds
        assert trial.values == [looks(folder)[-1]["bits_per_byte"], pytest.approx(sum(values) / 2)]
    assert "Pareto front" in (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE]


def test_the_best_settings_of_an_earlier_sweep_are_tried_first_on_this_budget(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the new space does not hold is left out, and said; an earlier value is never taken for a new one."""
    old = sweep(write(trials=4, tokens=1_000), tmp_path / "old")
    file = write(trials=4, tokens=1_500)
    text = file.read_text().replace("trials = 4", f'trials = 4\nseed = 5\nearlier = ["{tmp_path / "old"}"]')
    file.write_text(text.replace('choices = ["keep", "extend"]', 'choices = ["keep"]'))
    new = sweep(file, tmp_path / "new")
    ranked = sorted(old.trials, key=lambda trial: trial.value)[:3]
    assert [t.params["train.lr"] for t in new.trials[:3]] == [t.params["train.lr"] for t in ranked]
    assert new.trials[3].params["train.lr"] not in [t.params["train.lr"] for t in old.trials]
    assert {t.params["adapt.vocabulary"] for t in new.trials} == {"keep"}
    extended = [t for t in ranked if t.params["adapt.vocabulary"] == "extend"]
    stderr = capsys.readouterr().err
    assert stderr.count("left out, not in this space") == len(extended)
    assert all(looks(tmp_path / "new" / "trials" / f"{n:04d}")[-1]["tokens"] >= 1_500 for n in range(4))
    # The earlier folder is needed no more.
    shutil.rmtree(tmp_path / "old")
    assert len(sweep(file, tmp_path / "new", resume=True).trials) == 4
    with pytest.raises(InputError, match=r"old holds no sweep"):
        sweep(file, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def shown_on(terminal: int) -> bytes:
    """All that is written to a terminal, once its last writer has closed it."""
    screen = b""
    with suppress(OSError):
        while part := os.read(terminal, 4_096):
            screen += part
    return screen


def test_resume_begins_nothing_and_a_live_table_ends_with_the_trials(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line(write(trials=1, tokens=1_000), tmp_path / "sweep")
    assert call(monkeypatch, [*words[1:], "--resume"]) == 2
    assert "holds no sweep yet" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
    assert call(monkeypatch, words[1:]) == 0
    assert call(monkeypatch, [*words[1:], "--resume"]) == 0
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with ThreadPoolExecutor() as reader:
        reading = reader.submit(shown_on, ours)
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as on_terminal:
            on_terminal.setattr(sys, "stdout", terminal)
            assert call(on_terminal, [*words[1:], "--status"]) == 0
        screen = reading.result(timeout=60)
    bits = looks(tmp_path / "sweep" / "trials" / "0000")[-1]["bits_per_byte"]
    assert f"{bits:.4f}".encode() in screen
    assert b"complete" in screen


def test_workers_share_a_sweep_and_the_trial_of_a_killed_one_goes_on_from_its_checkpoint(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    words = line(write(trials=3, tokens=5_000), out)
    first = Fork(words)
    limit = time.monotonic() + 120
    while not list(out.glob("trials/0000/checkpoints/step-0000000[1-9]*")):
        assert first.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert call(monkeypatch, [*words[1:], "--status"]) == 0
    assert "its worker is gone" in capsys.readouterr().out
    workers = [Fork(words) for _ in range(2)]
    logs = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], logs
    assert sum("taking up trial 0, which its worker left" in lines for lines in logs) == 1
    assert "resuming at step" in "".join(logs)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "3 complete" in page
    cost = json.loads((out / "trials" / "0000" / "cost.json").read_text())
    assert cost["resumed"] == 1
    begun = [lines.count(" of 3") for lines in logs]
    assert sum(begun) == 2
    alone = tmp_path / "alone"
    adapt(read_run(out / "trials" / "0000"), alone)
    same_weights(alone, out / "trials" / "0000")


def test_a_look_that_a_dead_worker_reported_is_not_reported_again(
    write: Callable[..., Path], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file, out = write(trials=1, tokens=3_000), tmp_path / "sweep"
    first = Fork(line(file, out))
    trial = out / "trials" / "0000"
    while not (trial / "metrics.jsonl").exists() or not looks(trial):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    shutil.rmtree(trial / "checkpoints")  # as if it had died before the first was whole
    study = sweep(file, out)
    assert set(study.trials[0].intermediate_values) == {row["tokens"] // 1_000 * 1_000 for row in looks(trial)}
    assert [w for w in recwarn if "already reported" in str(w.message)] == []


def test_a_worker_that_is_stopped_leaves_its_trial_to_the_next(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    file = write(trials=1, tokens=5_000)
    file.write_text(f'storage = "{storage}"\n' + file.read_text())
    words = line(file, out)
    first = Fork(words)
    while not list(out.glob("trials/0000/checkpoints/step-0000000[1-9]*")):
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 130
    assert call(monkeypatch, words[1:]) == 0
    assert "taking up trial 0" in capsys.readouterr().err
    assert not (out / "journal.log").exists()
    (name,) = optuna.get_all_study_names(storage)
    assert len(optuna.load_study(study_name=name, storage=storage).best_trials) == 1


def test_a_trial_that_cannot_be_fails_alone_and_a_sweep_that_cannot_be_stops(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    file = write(trials=4)
    text = file.read_text()
    file.write_text(text.replace("low = 1e-4, high = 1e-2, log = true", "choices = [1e-3, 1e30]"))
    study = sweep(file, tmp_path / "some")
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "FAIL"}
    assert "the loss is" in (tmp_path / "some" / "report.html").read_text(encoding="utf-8")
    file.write_text(text.replace("notes.jsonl", "nothing.jsonl"))
    with pytest.raises(InputError, match=r"first 3 trials failed, the last one so: .*nothing.jsonl"):
        sweep(file, tmp_path / "none")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("low = 1e-4", "low = 2e-4", "holds another sweep, which differs in space"),
        ("[space]", '[space]\ntrain.precision = { choices = ["fp32", "bf16"] }', "trials are measured alike"),
        ("train.lr", "train.lrr", "did you mean 'train.lr'"),
        ('"bits_per_byte"', '"synthetic_outcome.test"', "a score on test is no objective"),
        ('"bits_per_byte"', '"synthetic_outcom"', "did you mean 'synthetic_outcome'"),
    ],
)
def test_an_invalid_sweep_is_refused_before_anything_is_tried(
    before: str, after: str, message: str, write: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("medlingua.recipes.experiments.sweep.adapt", lambda *_: pytest.fail("a trial began"))
    out, file = tmp_path / "sweep", write()
    words = line(file, out)[1:]
    if "another sweep" in message:
        with pytest.raises(pytest.fail.Exception):
            call(monkeypatch, words)
    file.write_text(file.read_text().replace(before, after, 1))
    assert call(monkeypatch, words) == 2
    assert message in capsys.readouterr().err
    assert out.exists() == ("another sweep" in message)


def test_looking_at_no_sweep_says_so(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, [*line(write(), tmp_path / "sweep")[1:], "--status"]) == 2
    assert "holds no sweep yet" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    assert call(monkeypatch, line(write(), tmp_path / "full")[1:]) == 2
    assert "is not empty and holds no sweep" in capsys.readouterr().err
