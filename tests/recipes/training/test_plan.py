"""What a plan says that a run will cost, and lines on what is unusual about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import Encoder, load
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Run
from medlingua.recipes.training.plan import Decided, in_words, plan_of, whole_steps

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from ..conftest import call

FP32 = Precision("fp32", "as the test says")


def test_a_plan_measures_on_a_copy(make_run: Callable[..., Run], encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    run = make_run("train.tokens=512", "train.batch_tokens=256", "train.micro_tokens=256")
    plan = plan_of(Decided(run, (), [128]), encoder, FP32, 0.0)
    assert plan.seconds
    assert (plan.tokens, plan.steps, plan.corpus_tokens, plan.passes) == (512, 2, 128, 4.0)
    assert all(torch.equal(value, before[name]) for name, value in encoder.model.state_dict().items())
    words = "\n".join(in_words(plan))
    assert "512 tokens in about 2 steps: about" in words
    assert "128 tokens, special tokens counted, read 4 times" in words


def test_a_plan_names_padded_batches_where_no_kernel_of_ours_computes(
    make_run: Callable[..., Run],
    build: Any,  # noqa: F811
) -> None:
    run = make_run("train.tokens=512", "train.batch_tokens=256", "train.micro_tokens=256")
    plan = plan_of(Decided(run, (), [128]), load(str(build("mpnet"))), FP32, 0.0)
    assert "attention   padded: the layers of transformers" in "\n".join(in_words(plan))


@pytest.mark.parametrize(("tokens", "lines"), [(100, 1), (256, 0), (1_000, 0), (0, 0)])
def test_fewer_tokens_than_a_step_are_reported(tokens: int, lines: int, make_run: Callable[..., Run]) -> None:
    messages = whole_steps(make_run(f"train.tokens={tokens}", "train.batch_tokens=256"))
    assert len(messages) == lines
    assert all("100 tokens" in line and "train.batch_tokens = 256" in line for line in messages)


def test_without_training_the_plan_still_says_what_the_tasks_take(
    base: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medlingua.recipes.walk._PLAN_SECONDS", 0.0)
    words = ["plan", "--strategy", "continue", "--lang", "fr", "--base", str(base), "--corpus", str(corpus)]
    words += ["--set", "train.tokens=0", "--set", "eval.tasks=synthetic_outcome"]
    assert call(monkeypatch, words) == 0
    plan_lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert plan_lines["training"] == "training    none: train.tokens = 0"
    assert "of it fine-tuning on tasks" in plan_lines["evaluation"]


@pytest.mark.parametrize(
    "strategy",
    [
        ["--strategy", "continue"],
        ["--strategy", "convert", "--set", "adapt.length=256", "--set", "adapt.window=64"],
        ["--strategy", "scratch", "--set", "adapt.size=tiny", "--set", "adapt.length=256"],
    ],
)
def test_the_command_plans_what_the_run_would_train(
    strategy: list[str], base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medlingua.recipes.walk._PLAN_SECONDS", 0.0)
    words = ["plan", *strategy, "--lang", "fr", "--base", str(base), "--corpus", str(corpus)]
    assert call(monkeypatch, words) == 0
    lines = capsys.readouterr().out.splitlines()
    plan_lines = {line.split()[0]: line for line in lines}
    assert {"model", "corpus", "training", "evaluation", "memory", "disk"} <= plan_lines.keys()
    tokens = int(plan_lines["corpus"].split()[1].replace(",", ""))
    passes = 1 if "convert" in strategy else 3
    assert "give --data ROOT with tasks of language fr" in plan_lines["tasks"]
    assert f"training    {passes * tokens:,} tokens" in plan_lines["training"]
    assert not list(tmp_path.iterdir())
