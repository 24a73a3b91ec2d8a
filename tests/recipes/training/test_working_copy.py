"""The copy that computes follows the fp32 weights; compiled layers give what others give; nobody waits."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from medlingua.adapters.attention import _choose
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.kernels.choice import KERNELS, Choice
from medlingua.adapters.packed import pack
from medlingua.adapters.positions import rotations
from medlingua.languages.errors import InputError
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Run, Train
from medlingua.recipes.training import loop
from medlingua.recipes.training.batches import Batch, Fill, Place, batches, halved
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.learner import Learner, Training, build_learner
from medlingua.recipes.training.objectives import LanguageModelLoss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.sharded import copied
from medlingua.recipes.training.working_copy import checkpoint_layers, compile_layers, working_copy

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from ..waits import Waits
from .test_batches import documents_of, shard, stream_of
from .test_loop import cut_into

FAMILIES = ["bert", "modernbert", "eurobert", "jina_embeddings_v3", "longformer", "distilbert", "nomic_bert", "gte"]


def learner_of(encoder: Encoder, dtype: torch.dtype | None = None, backend: str | None = None) -> Learner:
    """With a copy in a dtype, its layers compiled by a backend; without both, none."""
    encoder.model.train()
    working = None
    if dtype is not None:
        working = working_copy(encoder, dtype, compiled=False)
        if backend is not None:
            compile_layers(working.encoder, backend)
            working = replace(working, compiled=True)
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(encoder.model, Train())
    learner = Learner(encoder, encoder, encoder.model, optimizer, accelerator, 1.0, working=working)
    if working is not None:
        working.prepare(0.0)
    return learner


def steps(learner: Learner, batch: Batch, lr: float = 1e-3, count: int = 3) -> list[float]:
    objective = LanguageModelLoss(learner.passing)
    return [step(learner, objective, batch, lr)[0] for _ in range(count)]


@pytest.mark.parametrize("family", [*FAMILIES, "albert"])
def test_compiled_layers_train_like_the_others(family: str, build: Any) -> None:  # noqa: F811
    """Forward and backward as one graph a layer, without a break, in every kind of family."""
    torch._dynamo.reset()
    encoders = [load(str(build(family))) for _ in range(2)]
    batch = cut_into(encoders[0], 2)
    if family == "longformer":
        batch = _with_global_tokens(batch)
    eager = steps(learner_of(encoders[0]), batch)
    torch._dynamo.utils.counters.clear()
    compiled = steps(learner_of(encoders[1], torch.float32, "aot_eager"), batch)
    assert compiled == pytest.approx(eager, abs=2e-5)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
    for (name, a), b in zip(encoders[0].model.named_parameters(), encoders[1].model.parameters(), strict=True):
        assert (a - b).abs().max() < 2e-4, name  # Adam makes steps of one size of gradients of any size


@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["itself", "a-copy"])
@pytest.mark.parametrize("family", [*FAMILIES, "deberta-v2"])
def test_layers_computed_again_train_to_the_same_weights(
    family: str,
    dtype: torch.dtype | None,
    build: Any,  # noqa: F811
) -> None:
    """Each layer goes forward twice a step, but a last one that computes the masked tokens alone."""
    encoders = [load(str(build(family))) for _ in range(2)]
    batch = cut_into(encoders[0], 1)
    losses, calls = [], []
    for encoder, again in zip(encoders, (False, True), strict=True):
        if again:
            checkpoint_layers(encoder)
        learner = learner_of(encoder, dtype)
        layer = encoder.architecture.layers(learner.passing.model.base_model)[0]
        count: list[int] = []
        layer.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        inner = next(m for m in layer.modules() if isinstance(m, torch.nn.Linear))
        inner.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        losses.append(steps(learner, batch))
        calls.append(len(count))
    assert losses[1] == losses[0]
    assert calls[1] > calls[0]
    for a, b in zip(encoders[0].model.parameters(), encoders[1].model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_family_in_padded_batches_goes_without_compilation_and_says_so(
    build: Any,  # noqa: F811
    make_run: Callable[..., Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = load(str(build("deberta-v2")))
    run = make_run("train.compile='on'")
    learner = build_learner(encoder, Training(run, tmp_path, (), Precision("fp32", ""), lambda *_: None))
    assert learner.working is None
    assert "train.compile: the family 'deberta-v2' is computed in padded batches" in "".join(capsys.readouterr())
    assert all(np.isfinite(steps(learner, cut_into(encoder, 2))))


@pytest.mark.parametrize("family", ["mpnet", "albert"])
def test_layers_that_the_class_cannot_compute_again_are_refused(family: str, build: Any) -> None:  # noqa: F811
    with pytest.raises(InputError, match=rf"train\.checkpoint_layers: .* the layers of the family '{family}' again"):
        checkpoint_layers(load(str(build(family))))


def test_a_family_in_padded_batches_is_not_split_over_processes(build: Any) -> None:  # noqa: F811
    with pytest.raises(InputError, match=r"train\.shard: a deberta-v2 model cannot be split over processes"):
        copied(load(str(build("deberta-v2"))))


def _with_global_tokens(batch: Batch) -> Batch:
    first = (replace(packed, global_tokens=packed.cu_seqlens[:-1].long()) for packed in batch.micro)
    return batch._replace(micro=tuple(first))


def test_C15_weights_move_in_fp32_by_steps_that_bf16_cannot_hold(encoder: Encoder) -> None:
    before = [p.detach().clone() for p in encoder.model.parameters()]
    learner = learner_of(encoder, torch.bfloat16)
    steps(learner, cut_into(encoder, 2), lr=1e-6, count=2)
    assert learner.working is not None
    moved = 0
    for old, weight, twin in zip(before, learner.working.weights, learner.working.copies, strict=True):
        assert weight.dtype == torch.float32
        assert torch.equal(twin, weight.bfloat16())
        moved += int((weight != old).sum())
    assert moved > 0.3 * sum(p.numel() for p in before)  # pieces that do not occur have no gradient


def test_O1_gradients_of_several_passes_add_up_in_fp32(encoder: Encoder) -> None:
    other = replace(encoder, model=copy.deepcopy(encoder.model))
    for part, learner in ((1, learner_of(encoder, torch.float32)), (4, learner_of(other, torch.float32))):
        steps(learner, cut_into(encoder, part), count=1)
    for a, b in zip(encoder.model.parameters(), other.model.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-4


def test_a_run_in_rows_of_one_length_reads_the_same_text() -> None:
    """Padding fills each row, has no label, and the tokens counted are the documents' own."""
    notes = shard(documents_of([7, 30, 12, 25, 31, 9, 18], seed=3))
    plain, filled = (
        [next(stream) for _ in range(4)]
        for stream in (
            batches(stream_of(notes), Place(), 128, 64, 0),
            batches(stream_of(notes), Place(), 128, 64, 0, fill=Fill(0, 16)),
        )
    )
    for a, b in zip(plain, filled, strict=True):
        assert (a.tokens, a.targets, a.after) == (b.tokens, b.targets, b.after)
        for row, full in zip(a.micro, b.micro, strict=True):
            assert len(full.ids) == 64
            assert torch.equal(full.ids[: len(row.ids)], row.ids)
            assert torch.equal(full.labels, row.labels)
            assert torch.equal(full.label_positions, row.label_positions)
            assert (full.ids[len(row.ids) :] == 0).all()
            assert full.cu_seqlens.diff().max() <= max(16, int(row.cu_seqlens.diff().max()))


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "jina_embeddings_v3"])
def test_C19_a_copy_in_bf16_rotates_by_the_same_frequencies(family: str, build: Any) -> None:  # noqa: F811
    """Rounded to bf16 they would be several turns away from the model's own at the end of a long document."""
    encoder = load(str(build(family)))
    twin = working_copy(encoder, torch.bfloat16, compiled=False).encoder
    assert next(twin.model.parameters()).dtype == torch.bfloat16
    assert dict(rotations(twin.model)).keys() == dict(rotations(encoder.model)).keys() != set()
    for (name, own), (_, of_copy) in zip(rotations(encoder.model), rotations(twin.model), strict=True):
        assert of_copy.dtype == torch.float32, name
        assert torch.equal(own, of_copy), name


def test_a_gpu_is_waited_for_once_a_step(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Counted on a CPU, with the kernels of a GPU: whatever reads a tensor's value waits for the device there."""
    monkeypatch.setattr("medlingua.adapters.attention.choose", lambda request: Choice(KERNELS["plain-summed"], ""))
    _choose.cache_clear()
    try:
        for family, scaler in (("bert", None), ("modernbert", None), ("bert", torch.amp.GradScaler("cpu"))):
            encoder = load(str(build(family)))
            learner, batch = replace(learner_of(encoder, torch.float32), scaler=scaler), cut_into(encoder, 2)
            objective = LanguageModelLoss(learner.passing)
            step(learner, objective, batch, 1e-3)
            with Waits(monkeypatch) as waits:
                step(learner, objective, batch, 1e-3)
            assert waits.places == ["tolist"], family
    finally:
        _choose.cache_clear()


def test_a_pass_that_is_too_large_is_halved_and_the_step_done_again(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same weights come out, told once; where one document is too large, what to do."""
    ids = [d % (len(encoder.tokenizer) - 5) + 5 for d in documents_of([40] * 30)]
    notes = replace(shard(ids), name="notes")
    run = make_run("train.tokens=1_200", "train.batch_tokens=600", "train.micro_tokens=600")
    forward = LanguageModelLoss.forward
    results = []
    for limit in (10**9, 200):

        def limited(self: LanguageModelLoss, packed: Any, limit: int = limit) -> torch.Tensor:
            if len(packed.ids) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(self, packed)

        monkeypatch.setattr(LanguageModelLoss, "forward", limited)
        mine = replace(encoder, model=copy.deepcopy(encoder.model))
        training = Training(run, tmp_path / str(limit), (notes,), Precision("fp32", ""), lambda *_: None)
        state = loop.train(mine, training)
        results.append((state, mine.model.state_dict()))
    output = capsys.readouterr()
    assert (output.out + output.err).count("forward passes are halved to") == 2  # 600, 300, 150
    (whole, weights), (halves, same) = results
    assert isinstance(whole, Checkpoint)
    assert whole.tokens == halves.tokens
    for name, weight in weights.items():
        assert (weight - same[name]).abs().max() < 1e-4, name
    alone = Batch((pack([np.full(82, 7)], encoder.first_position),), 82, 0, Place())
    with pytest.raises(InputError, match=r"one document, 82 tokens.*lower train\.context.*checkpoint_layers"):
        halved(alone)
