"""The main job, as a person gives it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from medlingua.adapters.encoder import load
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ..recipes.conftest import call
from .conftest import give, same_weights, started
from .forks import Fork

HEAVY = ("torch", "transformers", "spacy", "pandas")


def metrics_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_plain_transformers_opens_the_model(finished: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    model = AutoModelForMaskedLM.from_pretrained(finished / "model")
    read = tokenizer("Le patient est [MASK] .", return_tensors="pt")
    logits = model(**read).logits
    assert logits.shape == (*read["input_ids"].shape, model.config.vocab_size)
    assert torch.isfinite(logits).all()


def test_the_report_is_there_and_names_the_text(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "notes" in page
    assert (finished / "model" / "README.md").exists()


def test_loss_and_bits_fall(finished: Path) -> None:
    rows = metrics_of(finished)
    losses = [float(str(row["loss"])) for row in rows if "loss" in row]
    bits = {row["model"]: float(str(row["bits_per_byte"])) for row in rows if "bits_per_byte" in row}
    quarter = len(losses) // 4
    assert sum(losses[-quarter:]) < 0.95 * sum(losses[:quarter])
    assert bits["trained"] < 0.95 * bits["base"]


def test_the_same_command_again_says_finished(
    finished: Path, command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished / "model" / "model.safetensors").stat().st_mtime_ns
    assert call(monkeypatch, [*command[1:], "--out", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "finished" in captured.err + captured.out
    assert (finished / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_is_not_taken_for_one_of_other_text(
    finished: Path, command: list[str], corpus: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Another time of the same text is no change."""
    before = corpus.read_bytes()
    line = [*command[1:], "--out", str(finished)]
    os.utime(corpus)
    assert call(monkeypatch, line) == 0
    try:
        corpus.write_bytes(before + before.splitlines(keepends=True)[0].replace(b"patient", b"voisin"))
        capsys.readouterr()
        assert call(monkeypatch, line) == 2
        assert f"its text has changed since: {corpus}" in capsys.readouterr().err
    finally:
        corpus.write_bytes(before)
    assert call(monkeypatch, line) == 0


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['adapt', '--help']\n"
        "from medlingua.recipes.command import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--strategy" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.slow
def test_O16_a_run_killed_at_three_random_moments_ends_with_the_same_weights(
    finished: Path, command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    began = time.monotonic()
    process = started(command, out)
    until_training = time.monotonic() - began
    moments = [random.uniform(0, 1), *(random.uniform(0, until_training + 3) for _ in range(2))]
    for number, moment in enumerate(moments):
        if number:  # the others may come while it loads, reads, trains, saves, or not at all
            process = Fork([*command, "--out", str(out)])
        time.sleep(moment)
        process.kill()
        process.communicate()
        assert process.returncode in {-signal.SIGKILL, 0}, f"killed after {moments[: number + 1]} s"
    again = give(command, out)
    assert again.returncode == 0, (moments, again.stderr)
    assert "resuming at step" in again.stderr or "this run is finished" in again.stderr, moments
    same_weights(finished, out)


def test_O16_a_stopped_run_saves_and_goes_on_to_the_same_weights(
    finished: Path, command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    process = started(command, out)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "saving, then stopping" in stderr
    assert "same command resumes" in stderr
    reached = max(out.glob("checkpoints/step-*")).name
    again = give(command, out)
    assert again.returncode == 0, again.stderr
    assert f"resuming at step {int(reached.removeprefix('step-')):,}" in again.stderr + again.stdout
    same_weights(finished, out)


def test_a_head_that_the_base_has_is_preserved_where_a_fresh_one_is_requested(
    command: list[str], base: Path, tmp_path: Path
) -> None:
    """Its bias too, and no run is spent on another one."""
    line = [*command]
    for key in ("adapt.head=fresh", "adapt.head_tokens=2_000", "adapt.head_lang=fr", "train.tokens=0"):
        line += ["--set", key]
    done = give(line, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "the base has a masked-LM head, which is kept" in done.stderr
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Own head: a fresh head was asked for" in page
    assert "the base had no masked-LM head" not in page
    assert not (tmp_path / "run" / "head").exists()
    ours = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model").state_dict()
    for name, tensor in AutoModelForMaskedLM.from_pretrained(base).state_dict().items():
        assert torch.equal(ours[name], tensor), name


def test_a_base_without_a_head_gets_one_and_is_measured_before_its_body_is_touched(
    base: Path, command: list[str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    whole = AutoModelForMaskedLM.from_pretrained(base)
    whole.base_model.save_pretrained(bare)
    AutoTokenizer.from_pretrained(base).save_pretrained(bare)
    line = [*command]
    line[line.index(str(base))] = str(bare)
    for key in ("adapt.head=fresh", "adapt.head_tokens=2_000", "train.tokens=2_000"):
        line += ["--set", key]
    done = give(line, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.startswith("The trained model is") for line in lines if "than piece frequencies" in line] == [True]
    assert [len([line for line in lines if line.startswith(word)]) for word in ("machine ", "text: ")] == [1, 1]
    headed = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "head" / "model")
    body = headed.base_model.state_dict()
    for name, tensor in whole.base_model.state_dict().items():
        assert torch.equal(body[name], tensor), name
    assert next(row["model"] for row in metrics_of(tmp_path / "run") if row["kind"] == "eval") == "base"
    after = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model").base_model.state_dict()
    assert not torch.equal(after["encoder.layer.0.output.dense.weight"], body["encoder.layer.0.output.dense.weight"])
    drawn = load(str(bare), head="fresh", seed=0).model.cls.predictions.transform.dense.weight
    assert not torch.equal(headed.cls.predictions.transform.dense.weight, drawn)
