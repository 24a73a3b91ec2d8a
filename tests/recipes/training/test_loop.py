"""A step: the loss, its gradient however the batch is cut, what moves, and when it stops."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import pack
from medlingua.languages.errors import InputError
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Run, Train
from medlingua.recipes.training import loop
from medlingua.recipes.training.batches import Batch, Place
from medlingua.recipes.training.learner import Learner, Training
from medlingua.recipes.training.objectives import LanguageModelLoss, summed_loss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from torch.nn import functional

from .test_batches import documents_of, shard


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 1_024, 2_300])
def test_O11_the_loss_in_chunks_is_cross_entropy(bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    decoder = torch.nn.Linear(16, 97, bias=bias)
    labels = torch.randint(0, 97, (rows,))
    results = []
    for loss_of in (
        lambda x: summed_loss(x, decoder, labels),
        lambda x: functional.cross_entropy(decoder(x), labels, reduction="sum"),
    ):
        features = torch.randn(rows, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        decoder.zero_grad()
        loss = loss_of(features)
        torch.autograd.backward(loss / 7)
        gradients = [features.grad, *(p.grad for p in decoder.parameters())]
        results.append([loss.detach(), *(g.clone() for g in gradients if g is not None)])
    assert len(results[0]) == (4 if bias else 3)
    for ours, plain in zip(*results, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-5)


def test_O11_the_loss_in_bf16_stays_near_cross_entropy_in_fp32() -> None:
    torch.manual_seed(0)
    decoder, labels = torch.nn.Linear(32, 500), torch.randint(0, 500, (1_500,))
    results = []
    for narrow in (True, False):
        features = torch.randn(1_500, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        decoder.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            loss = summed_loss(features, decoder, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        results.append(
            (float(loss.detach()), [g.clone() for g in (features.grad, *(p.grad for p in decoder.parameters()))])
        )
    (ours, ours_gradients), (exact, exact_gradients) = results
    assert ours == pytest.approx(exact, rel=1e-3)
    for gradient, expected in zip(ours_gradients, exact_gradients, strict=True):
        assert (gradient - expected).norm() < 0.02 * expected.norm()


def documents(encoder: Encoder, count: int = 8) -> list[tuple[np.ndarray, np.ndarray]]:
    """Id arrays and the places to predict, of very unequal number."""
    rng = np.random.default_rng(5)
    examples = []
    for number in range(count):
        ids = rng.integers(5, len(encoder.tokenizer), 10 + 9 * number)
        examples.append((ids, np.sort(rng.permutation(len(ids))[: 1 + 3 * number])))
    return examples


def cut_into(encoder: Encoder, parts: int) -> Batch:
    whole = documents(encoder)
    size = len(whole) // parts
    micro = []
    for start in range(0, len(whole), size):
        group = whole[start : start + size]
        row = pack([ids for ids, _ in group], encoder.first_position)
        offsets = row.cu_seqlens[:-1].tolist()
        where = np.concatenate([places + offset for (_, places), offset in zip(group, offsets, strict=True)])
        micro.append(row.with_labels(np.concatenate([ids[places] for ids, places in group]), where))
    targets = sum(len(m.labels) for m in micro)
    return Batch(tuple(micro), sum(len(m.ids) for m in micro), targets, Place())


def learner(encoder: Encoder, optimizer: torch.optim.Optimizer, clip: float = 1.0) -> Learner:
    return Learner(encoder, encoder, encoder.model, optimizer, Accelerator(cpu=True), clip)


class Recorder(torch.optim.SGD):
    """Keeps the gradient that a step was given."""

    def step(self, closure: Any = None) -> None:
        self.seen = torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]])


def test_O1_O2_the_gradient_does_not_depend_on_the_micro_batches(encoder: Encoder) -> None:
    results = []
    for parts in (8, 4, 1):
        optimizer = Recorder([p for p in encoder.model.parameters() if p.requires_grad], lr=0.0)
        for p in encoder.model.parameters():
            p.grad = torch.zeros_like(p)
        batch = cut_into(encoder, parts)
        assert len(batch.micro) == parts
        loss, norm = step(learner(encoder, optimizer, 1e9), LanguageModelLoss(encoder), batch, 0.0)
        results.append((loss, norm, optimizer.seen))
    for loss, norm, gradient in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-5)
        assert norm == pytest.approx(results[0][1], rel=1e-4)
        assert torch.allclose(gradient, results[0][2], atol=1e-6)


def test_O13_one_step_moves_the_weights_that_had_a_gradient(encoder: Encoder) -> None:
    before = {name: p.detach().clone() for name, p in encoder.model.named_parameters()}
    had: dict[str, torch.Tensor] = {}
    optimizer = build_optimizer(encoder.model, Train())
    handle = optimizer.register_step_pre_hook(
        lambda *_: had.update({n: p.grad != 0 for n, p in encoder.model.named_parameters() if p.grad is not None})
    )
    step(learner(encoder, optimizer), LanguageModelLoss(encoder), cut_into(encoder, 2), 3e-5)
    handle.remove()
    after = dict(encoder.model.named_parameters())
    moved = sum(int((after[n] != before[n])[mask].sum()) for n, mask in had.items())
    assert moved / sum(int(mask.sum()) for mask in had.values()) > 0.99


def test_C8_rows_without_data_keep_their_norm(encoder: Encoder) -> None:
    optimizer = build_optimizer(encoder.model, Train(weight_decay=0.1))
    table = encoder.model.get_input_embeddings().weight
    positions = encoder.model.bert.embeddings.position_embeddings.weight
    norms = table.detach().norm(dim=1), positions.detach().norm(dim=1)
    batch = cut_into(encoder, 2)
    unseen = torch.ones(len(positions), dtype=torch.bool)
    for micro in batch.micro:
        unseen[micro.positions] = False
    assert unseen.any()
    for _ in range(20):
        step(learner(encoder, optimizer), LanguageModelLoss(encoder), batch, 1e-2)
    assert torch.allclose(positions.detach().norm(dim=1)[unseen], norms[1][unseen], rtol=1e-6)
    assert not torch.allclose(positions.detach().norm(dim=1)[~unseen], norms[1][~unseen], rtol=1e-3)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, p in encoder.model.named_parameters():
        assert (id(p) in decayed) == (p.ndim == 2 and "embeddings" not in name), name


def test_the_optimizer_wants_fp32_weights(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="fp32"):
        build_optimizer(encoder.model.to(torch.bfloat16), Train())


def test_a_loss_that_is_not_finite_stops_with_its_place(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = make_run("train.tokens=2_000", "train.batch_tokens=300", "train.micro_tokens=300")
    ids = [d % (len(encoder.tokenizer) - 5) + 5 for d in documents_of([40] * 30)]
    notes = replace(shard(ids), name="notes")
    with torch.no_grad():
        encoder.model.get_output_embeddings().bias.fill_(math.inf)
    with pytest.raises(InputError, match=r"loss is (nan|inf) at step 1 of phase 'train' \(pass 0, documents 0 to"):
        loop.train(encoder, Training(run, tmp_path, (notes,), Precision("fp32", ""), lambda *_: None))
    assert list(tmp_path.glob("checkpoints/step-*/state.json"))


def test_text_without_a_token_to_predict_is_named(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """As emoji are to a WordPiece: unknown, all of it."""
    run = make_run("train.tokens=2_000", "train.batch_tokens=300", "train.micro_tokens=300")
    ids = [np.full(40, encoder.tokenizer.unk_token_id) for _ in range(30)]
    notes = replace(shard(ids), name="notes")
    with pytest.raises(
        InputError, match=r"step 1 of phase 'train' has no token to predict: .* unknown to the tokenizer"
    ):
        loop.train(encoder, Training(run, tmp_path, (notes,), Precision("fp32", ""), lambda *_: None))
