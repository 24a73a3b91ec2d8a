"""fp16, for GPUs without bf16: the loss is scaled, so that small gradients are kept; too large ones are left out."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import Encoder, load
from medlingua.languages.errors import InputError
from medlingua.recipes import machine
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Run, Train
from medlingua.recipes.training import checkpoint, effects, learner, loop
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.learner import Training, build_learner, plain_learner
from medlingua.recipes.training.objectives import LanguageModelLoss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.processes import Processes
from medlingua.recipes.walk import adapt
from medlingua.reports.read import read_metrics
from medlingua.reports.rows import PlanRow
from safetensors.torch import load_file

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from .test_batches import documents_of, shard
from .test_loop import cut_into

FP16, FP32 = Precision("fp16", ""), Precision("fp32", "")


def gradients(encoder: Encoder, precision: Precision, factor: float = 1.0) -> torch.Tensor:
    """What the optimizer gets, in one step on a loss times `factor`."""
    mine = plain_learner(replace(encoder, model=copy.deepcopy(encoder.model).train()), Train(clip=0.0), precision)
    seen: list[torch.Tensor] = []
    mine.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in mine.module.parameters() if p.grad is not None]))
    )
    batch = cut_into(encoder, 2)
    step(mine, LanguageModelLoss(mine.passing), batch._replace(targets=batch.targets / factor), 1e-3)
    (gradient,) = seen
    return gradient


@pytest.mark.parametrize(
    "family", ["bert", "modernbert", "eurobert", "longformer", "jina_embeddings_v3", "deberta-v2", "mpnet", "albert"]
)
def test_gradients_are_those_of_fp32_even_where_fp16_has_no_such_small_numbers(family: str, build: Any) -> None:  # noqa: F811
    encoder = load(str(build(family)))
    for factor in (1.0, 1e-6):
        exact, ours = (gradients(encoder, precision, factor) for precision in (FP32, FP16))
        assert (ours - exact).norm() < 0.02 * exact.norm(), factor
    assert exact.abs().max() < torch.finfo(torch.float16).smallest_normal  # so that unscaled ones would be lost


def test_a_step_out_of_range_changes_nothing_says_so_and_halves_the_scale(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(learner, "_scaler", lambda *_: torch.amp.GradScaler("cpu", init_scale=2.0**22))
    first, weights = copy.deepcopy(encoder.model.state_dict()), list[dict[str, torch.Tensor]]()
    monkeypatch.setattr(
        effects, "show_progress", lambda *_: weights.append(copy.deepcopy(encoder.model.state_dict()))
    )
    loop.train(encoder, training(encoder, make_run, tmp_path, tokens=4_800))
    said = "".join(capsys.readouterr())
    left_out = {int(step) for step in re.findall(r"step (\d+) changes no weight: its gradients", said)}
    unchanged = {
        number
        for number, (before, after) in enumerate(pairwise([first, *weights]), 1)
        if all(torch.equal(after[name], old) for name, old in before.items())
    }
    assert unchanged == left_out
    assert 1 in left_out
    assert len(left_out) < len(weights) / 2
    saved, _ = checkpoint.restore(tmp_path / "checkpoints", encoder.model, build_optimizer(encoder.model, Train()))
    assert saved is not None
    assert saved.loss_scale == 2.0 ** (22 - len(left_out))
    assert saved.scale_steps == len(weights) - max(left_out)


def test_O16_a_run_that_was_stopped_ends_with_the_same_weights_and_scale(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale grows within the run, by steps that are counted over the stop."""
    grows = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    monkeypatch.setattr(learner, "_scaler", lambda *_: copy.deepcopy(grows))
    ends: list[tuple[Any, dict[str, torch.Tensor]]] = []
    saved = checkpoint.save

    def cut_off(folder: Path, state: Checkpoint, *given: Any) -> Path:
        path = saved(folder, state, *given)
        if folder.parent.name == "stopped" and state.step == 4:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(checkpoint, "save", cut_off)
    for name in ("whole", "stopped"):
        mine = replace(encoder, model=copy.deepcopy(encoder.model))
        given = training(mine, make_run, tmp_path / name, tokens=2_800)
        if name == "stopped":
            with pytest.raises(KeyboardInterrupt):
                loop.train(mine, given)
            mine = replace(encoder, model=copy.deepcopy(encoder.model))
        loop.train(mine, given)
        state, _ = checkpoint.restore(given.folder / "checkpoints", mine.model, build_optimizer(mine.model, Train()))
        assert state is not None
        ends.append(((state.step, state.loss_scale, state.scale_steps), mine.model.state_dict()))
    (whole, weights), (stopped, same) = ends
    assert whole == stopped
    assert whole[1:] == (2.0 ** (10 + whole[0] // 3), whole[0] % 3)
    for name, weight in weights.items():
        assert torch.equal(weight, same[name]), name


def test_a_run_in_fp16_is_planned_trained_and_saved(make_run: Callable[..., Run], tmp_path: Path) -> None:
    sets = (
        "train.tokens=2_000",
        "train.batch_tokens=250",
        "train.lr=1e-3",
        "train.collapse=warn",
        "data.near_duplicates=0",
    )
    adapt(make_run("train.precision=fp16", *sets), tmp_path / "run")
    plan = PlanRow.model_validate_json((tmp_path / "run" / "plan.json").read_bytes())
    assert plan.precision == "fp16"
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    losses = [row.loss for row in read_metrics(tmp_path / "run" / "metrics.jsonl")[0]]
    assert losses[-1] < losses[0]


def test_a_model_split_over_processes_is_not_trained_in_fp16(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    given = training(encoder, make_run, tmp_path, 600, "train.shard=true")
    with pytest.raises(
        InputError, match=r"train\.shard: fp16 scales the loss of a whole model; set train\.precision"
    ):
        build_learner(encoder, replace(given, processes=Processes(0, 2)))


@pytest.mark.parametrize(("capability", "name"), [((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "fp32")])
def test_a_gpu_without_bf16_trains_in_fp16_where_it_has_units_for_it(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU of 2018")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    precision = machine.precision_of("auto", torch.device("cuda"))
    assert precision.name == name
    assert "a GPU of 2018 has" in precision.reason


def training(encoder: Encoder, make_run: Callable[..., Run], folder: Path, tokens: int, *sets: str) -> Training:
    ids = [d % (len(encoder.tokenizer) - 5) + 5 for d in documents_of([40] * 30)]
    run = make_run(
        f"train.tokens={tokens}", "train.batch_tokens=400", "train.micro_tokens=200", "train.checkpoint_tokens=400",
        *sets,
    )  # fmt: skip
    return Training(run, folder, (replace(shard(ids), name="notes"),), FP16, lambda *_: None)
