import os
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from safetensors.torch import load_file

from ..recipes.conftest import cases, small_runs, write_base, write_jsonl  # noqa: F401 -- a fixture
from .forks import ENVIRONMENT, Fork

SETTINGS = {
    "train.tokens": "14_000",
    "train.batch_tokens": "256",
    "train.micro_tokens": "256",
    "train.checkpoint_tokens": "1_000",
    "train.eval_tokens": "7_000",
    "train.keep_checkpoints": "2",  # what is damaged later has one before it
    "train.lr": "3e-3",
    "train.precision": "'fp32'",
    "train.collapse": "'warn'",  # so small a model hardly gets below the frequencies of pieces
    "eval.tasks": "'none'",
    "data.held_out": "0.2",
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "notes.jsonl", cases(80))


def line_of(base: Path, corpus: Path) -> list[str]:
    """The command line of a small run, without --out."""
    line = [str(Path(sys.executable).parent / "adapt"), "--strategy", "continue", "--lang", "fr"]
    line += ["--base", str(base), "--corpus", str(corpus)]
    for key, value in SETTINGS.items():
        line += ["--set", f"{key}={value}"]
    return line


@pytest.fixture(scope="session")
def command(base: Path, corpus: Path) -> list[str]:
    return line_of(base, corpus)


def give(line: list[str], out: Path) -> subprocess.CompletedProcess[str]:
    return ended([*line, "--out", str(out)])


def ended(line: list[str]) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own, once it has ended."""
    process = Fork(line)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode is not None
    return subprocess.CompletedProcess(line, process.returncode, stdout, stderr)


@pytest.fixture(scope="session")
def finished(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped, started as a person starts it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    line = [*command, "--out", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "report.html")
    return out


def same_weights(left: Path, right: Path) -> None:
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (left, right))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def hear_ctrl_c() -> None:
    """In a shell's background, where tests may run, Ctrl-C is ignored, and what is started inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(line: list[str], out: Path) -> Fork:
    """The run in the background, once it has gone on from its third checkpoint."""
    process = Fork([*line, "--out", str(out)])
    until_training(process, out)
    return process


def until_training(process: subprocess.Popen[str] | Fork, out: Path) -> None:
    """Until a run has gone on from its third checkpoint."""
    limit = time.monotonic() + 300
    while len(list(out.glob("checkpoints/step-*"))) < 2 or (out / "checkpoints" / "step-00000000").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.002)
