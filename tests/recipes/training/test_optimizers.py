"""The optimizers: what they do to which weights, and that a stopped run keeps their state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import Encoder, load
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Run, Train
from medlingua.recipes.training import checkpoint
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.objectives import LanguageModelLoss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer, check_optimizer
from medlingua.recipes.walk import adapt
from safetensors.torch import load_file

from tests.adapters.conftest import build  # noqa: F401 -- a fixture
from tests.recipes.conftest import write_base

from .test_loop import cut_into, learner

NAMES = ["adamw", "stableadamw", "muon"]


def trained(encoder: Encoder, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    batch = cut_into(encoder, 2)
    return [step(learner(encoder, optimizer), LanguageModelLoss(encoder), batch, 3e-3)[0] for _ in range(steps)]


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: Any, encoder: Encoder) -> None:
    losses = trained(encoder, build_optimizer(encoder.model, Train(optimizer=name)), 30)
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("name", NAMES)
def test_O16_a_restored_state_goes_on_to_the_same_weights(name: Any, base: Path, tmp_path: Path) -> None:
    whole = load(str(base))
    trained(whole, build_optimizer(whole.model, Train(optimizer=name)), 6)
    stopped = load(str(base))
    optimizer = build_optimizer(stopped.model, Train(optimizer=name))
    trained(stopped, optimizer, 3)
    checkpoint.save(tmp_path, Checkpoint(step=3), stopped.model, optimizer)
    again = load(str(base))
    optimizer = build_optimizer(again.model, Train(optimizer=name))
    state, damaged = checkpoint.restore(tmp_path, again.model, optimizer)
    assert (state, damaged) == (Checkpoint(step=3), [])
    trained(again, optimizer, 3)
    for (parameter, a), b in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), parameter


@pytest.mark.parametrize("name", NAMES)
def test_C8_embeddings_norms_and_biases_are_not_decayed(name: Any, encoder: Encoder) -> None:
    optimizer = build_optimizer(encoder.model, Train(optimizer=name, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    every = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in encoder.model.parameters())
    for parameter_name, p in encoder.model.named_parameters():
        assert (id(p) in decayed) == (p.ndim == 2 and "embeddings" not in parameter_name), parameter_name


def test_muon_moves_the_matrices_of_layers_by_orthogonal_steps_and_not_the_output_head(build: Any) -> None:  # noqa: F811
    """ModernBERT's decoder is its embeddings; an untied one is a matrix that AdamW trains."""
    folder = build("bert")
    encoder = load(str(folder))
    encoder.model.cls.predictions.decoder.weight = torch.nn.Parameter(
        encoder.model.cls.predictions.decoder.weight.detach().clone()
    )
    optimizer = build_optimizer(encoder.model, Train(optimizer="muon", weight_decay=0.0))
    dense = encoder.model.bert.encoder.layer[0].output.dense.weight
    before = dense.detach().clone()
    trained(encoder, optimizer, 1)
    singular = torch.linalg.svdvals((dense.detach() - before).double())
    assert float(singular.max() / singular[: len(singular) // 2].min()) < 3  # AdamW's are orders of magnitude apart
    assert "momentum_buffer" in optimizer.state[dense]
    assert "exp_avg" in optimizer.state[encoder.model.cls.predictions.decoder.weight]


def test_stableadamw_needs_no_clipping(encoder: Encoder) -> None:
    """A gradient a thousand times the usual one moves no tensor further than its learning rate, root mean square."""
    optimizer = build_optimizer(encoder.model, Train(optimizer="stableadamw", weight_decay=0.0))
    batch = cut_into(encoder, 2)
    at_work = learner(encoder, optimizer, clip=0.0)
    for _ in range(5):
        step(at_work, LanguageModelLoss(encoder), batch, 1e-3)
    before = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    step(at_work, _Times(encoder, 1_000.0), batch, 1e-3)
    for name, p in encoder.model.named_parameters():
        assert float((p.detach() - before[name]).square().mean().sqrt()) <= 1.01e-3, name


class _Times(LanguageModelLoss):
    def __init__(self, encoder: Encoder, factor: float) -> None:
        super().__init__(encoder)
        self._factor = factor

    def forward(self, packed: Any) -> torch.Tensor:
        return super().forward(packed) * self._factor


def test_an_optimizer_of_whole_matrices_does_not_split_them() -> None:
    with pytest.raises(InputError, match=r"train.shard splits them"):
        check_optimizer(Train(optimizer="muon", shard=True))


def test_a_state_is_carried_over_into_another_run(base: Path, tmp_path: Path) -> None:
    first = load(str(base))
    optimizer = build_optimizer(first.model, Train())
    trained(first, optimizer, 3)
    checkpoint.save(tmp_path / "run" / "checkpoints", Checkpoint(step=3), first.model, optimizer)
    second = build_optimizer(first.model, Train())
    checkpoint.carry_over(tmp_path / "run", first.model, second)
    for p in first.model.parameters():
        assert {k: v.tolist() for k, v in second.state[p].items()} == {
            k: v.tolist() for k, v in optimizer.state[p].items()
        }


def test_a_state_of_another_model_or_optimizer_is_refused(base: Path, tmp_path: Path, build: Any) -> None:  # noqa: F811
    run = tmp_path / "run"
    first = load(str(base))
    optimizer = build_optimizer(first.model, Train())
    with pytest.raises(InputError, match="has no checkpoint"):
        checkpoint.carry_over(run, first.model, optimizer)
    trained(first, optimizer, 1)
    checkpoint.save(run / "checkpoints", Checkpoint(step=1), first.model, optimizer)
    other = load(str(build("bert")))
    with pytest.raises(InputError, match=r"the state of another model.*--base .*model"):
        checkpoint.carry_over(run, other.model, build_optimizer(other.model, Train()))
    deeper = load(str(write_base(tmp_path / "deeper", num_hidden_layers=3)))
    with pytest.raises(InputError, match=r"state of another model, without .*layer\.2"):
        checkpoint.carry_over(run, deeper.model, build_optimizer(deeper.model, Train()))
    with pytest.raises(InputError, match=r"trained with AdamW.*set train.optimizer"):
        checkpoint.carry_over(run, first.model, build_optimizer(first.model, Train(optimizer="muon")))
    (run / "checkpoints" / "step-00000001" / "state.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"state\.json is not what a run wrote"):
        checkpoint.carry_over(run, first.model, optimizer)


def test_clipping_is_reported_for_an_optimizer_that_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    check_optimizer(Train(optimizer="stableadamw", clip=0.0))
    assert "clip" not in capsys.readouterr().err
    check_optimizer(Train(optimizer="stableadamw"))
    assert "train.clip = 0" in capsys.readouterr().err


def test_the_mean_of_the_last_checkpoints_of_the_last_phase(base: Path, tmp_path: Path) -> None:
    encoder = load(str(base))
    optimizer = build_optimizer(encoder.model, Train())
    seen: list[dict[str, torch.Tensor]] = []
    for number, phase in ((0, 0), (1, 0), (2, 1), (3, 1), (4, 1)):
        checkpoint.save(tmp_path, Checkpoint(step=number, phase=phase), encoder.model, optimizer, copies=5)
        seen.append({n: p.detach().clone() for n, p in encoder.model.named_parameters()})
        trained(encoder, optimizer, 1)
    assert checkpoint.set_to_average(tmp_path, 2, 1, encoder.model) == 2
    for name, p in encoder.model.named_parameters():
        torch.testing.assert_close(p.detach(), (seen[3][name] + seen[4][name]) / 2)
    assert checkpoint.set_to_average(tmp_path, 9, 1, encoder.model) == 3


def test_a_run_saves_the_mean_and_says_of_how_many(
    make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        "train.average=3",
        "train.checkpoint_tokens=600",
        "train.keep_checkpoints=3",
        "data.near_duplicates=0",
    )
    adapt(make_run(*settings), tmp_path / "run")
    assert "the mean of its last 3 checkpoints" in capsys.readouterr().err
    last = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert len(last) == 3
    weights = [load_file(path / "weights.safetensors") for path in last]
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name in saved.keys() & weights[0].keys():
        torch.testing.assert_close(saved[name], sum(w[name] for w in weights) / 3)
