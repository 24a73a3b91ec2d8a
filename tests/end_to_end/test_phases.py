"""Runs of several phases, as a person gives them."""

import signal
from pathlib import Path

import numpy as np
import pytest

from ..recipes.conftest import call
from .conftest import give, same_weights, started
from .test_command import metrics_of
from .test_scratch import line as scratch_line

DETOUR = """
[[phases]]
name = "next token"
kind = "clm"
tokens = 2_000 # shared out of train.tokens in this proportion

[[phases]]
name = "masked words"
tokens = 1_000
"""


def test_O16_a_causal_detour_trains_the_same_head_and_resumes_to_the_same_weights(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "detour.toml").write_text(DETOUR, encoding="utf-8")
    line = [*command, "--config", str(tmp_path / "detour.toml")]
    whole = give(line, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    stopped = started(line, tmp_path / "stopped")
    stopped.send_signal(signal.SIGTERM)
    _, stderr = stopped.communicate(timeout=100)
    assert stopped.returncode == 130, stderr
    again = give(line, tmp_path / "stopped")
    assert again.returncode == 0, again.stderr
    same_weights(tmp_path / "whole", tmp_path / "stopped")
    rows = metrics_of(tmp_path / "whole")
    detour, masked = (
        [float(str(row["loss"])) for row in rows if row["kind"] == "train" and row["phase"] == phase]
        for phase in (0, 1)
    )
    assert np.mean(detour[-5:]) < np.mean(detour[:5])
    assert np.mean(masked[:5]) < np.mean(detour[:5])  # the same head: it begins with what the detour learnt
    bits = {row["model"]: float(str(row["bits_per_byte"])) for row in rows if "bits_per_byte" in row}
    assert bits["trained"] < bits["base"]


def test_global_attention_and_causal_attention_exclude_each_other(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["adapt.architecture=longformer", "adapt.vocabulary=replace", "adapt.new_pieces=700"]
    settings += ["eval.tasks='none'", "objective.kind=clm", "train.global_tokens=first"]
    assert call(monkeypatch, scratch_line(corpus, tmp_path / "run", *settings)) == 2
    assert "train.global_tokens = 'none'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
