"""Phases of kind clm: every token from those before it, by the head of masked-LM, and then masked-LM again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import load
from medlingua.adapters.packed import hidden_states, pack
from medlingua.recipes.settings import Phase
from medlingua.recipes.training.batches import Batch, Place, Stream, batches
from medlingua.recipes.training.objectives import LanguageModelLoss, NextToken, special_ids
from medlingua.recipes.training.optimizer_step import step
from torch.nn.functional import cross_entropy

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from .test_batches import SPECIAL, a_pass, documents_of, frame, shard
from .test_working_copy import learner_of


def next_tokens(lengths: list[int], context: int = 32) -> Stream:
    return Stream((shard(documents_of(lengths)),), Phase(tokens=1), 0, 0, frame(context), NextToken(SPECIAL))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=6), context=st.integers(9, 40))
def test_every_token_is_predicted_once_a_pass_from_the_place_before_it(lengths: list[int], context: int) -> None:
    chunks = a_pass(next_tokens(lengths, context))
    assert sum(len(chunk.labels) for chunk in chunks) == sum(lengths)
    for chunk in chunks:
        assert np.array_equal(chunk.ids[chunk.positions + 1], chunk.labels)
        assert np.array_equal(chunk.positions, np.arange(len(chunk.ids) - 2))


def test_special_tokens_inside_a_document_are_not_predicted() -> None:
    ids = np.array([7, 1, 8])
    shown, predicted = NextToken(SPECIAL)(ids, None, np.random.default_rng(0))
    assert np.array_equal(shown, ids)
    assert predicted.tolist() == [0, 2]


@pytest.mark.parametrize("family", ["bert", "modernbert", "longformer"])
def test_the_loss_is_cross_entropy_of_the_next_token_and_so_are_its_gradients(family: str, build: Any) -> None:  # noqa: F811
    """Document by document, all logits at once."""
    encoder = load(str(build(family)))
    special = special_ids(encoder.tokenizer)
    rng = np.random.default_rng(0)
    documents = [np.array([2, *rng.integers(5, len(encoder.tokenizer), n), 3]) for n in (20, 3, 41)]
    labels = [np.flatnonzero(~special[ids[1:-1]]) for ids in documents]
    row = pack(documents, encoder.first_position)
    where = np.concatenate([at + start for at, start in zip(labels, row.cu_seqlens.tolist(), strict=False)])
    targets = np.concatenate([ids[at + 1] for ids, at in zip(documents, labels, strict=True)])
    loss = LanguageModelLoss(encoder, causal=True)(row.with_labels(targets, where))
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in encoder.model.named_parameters() if p.grad is not None}
    encoder.model.zero_grad()
    transform, decoder = encoder.architecture.head(encoder.model)
    plain = torch.zeros(())
    for ids, at in zip(documents, labels, strict=True):
        states = hidden_states(encoder, pack([ids], encoder.first_position), causal=True)
        plain = plain + cross_entropy(decoder(transform(states))[at], torch.from_numpy(ids[at + 1]), reduction="sum")
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    plain.backward()  # type: ignore[no-untyped-call]
    for name, parameter in encoder.model.named_parameters():
        if parameter.grad is not None:
            scale = max(1.0, float(parameter.grad.abs().max()))
            assert (gradients[name] - parameter.grad).abs().max() < 1e-4 * scale, name


@pytest.mark.parametrize("family", ["bert", "modernbert", "longformer"])
def test_compiled_layers_learn_the_next_token_like_the_others(family: str, build: Any) -> None:  # noqa: F811
    torch._dynamo.reset()
    losses = []
    for dtype, backend in ((None, None), (torch.float32, "aot_eager")):
        encoder = load(str(build(family)))
        learner = learner_of(encoder, dtype, backend)
        batch = _batch_of(encoder)
        objective = LanguageModelLoss(learner.passing, causal=True)
        losses.append([step(learner, objective, batch, 1e-3)[0] for _ in range(3)])
    assert losses[1] == pytest.approx(losses[0], abs=2e-5)
    assert losses[0][2] < losses[0][0]


def _batch_of(encoder: Any) -> Batch:
    targets = NextToken(special_ids(encoder.tokenizer))
    stream = Stream((shard(_small(encoder)),), Phase(tokens=1), 0, 0, replace(frame(32), first=2, last=3), targets)
    return next(batches(stream, Place(), 200, 100, encoder.first_position))


def _small(encoder: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(5, len(encoder.tokenizer), n) for n in (40, 25, 60)]
