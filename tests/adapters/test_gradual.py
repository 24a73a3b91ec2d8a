"""Positions that change little by little: the source at one end, the result at the other."""

from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.gradual import Gradual
from medlingua.adapters.packed import hidden_states, layer_states, pack
from medlingua.adapters.positions import rotations, thetas
from medlingua.adapters.rotary import rescale, to_rotary
from medlingua.recipes.training.objectives import Distilled

SOURCES = ["bert", "roberta", "camembert", "xlm-roberta", "electra"]


def source_of(family: str, build: Any, **changes: Any) -> Encoder:
    same_width = {"embedding_size": 32, "hidden_size": 32} if family == "electra" else {}
    return load(str(build(family, **(same_width | changes))))


def rows_of(encoder: Encoder, *lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(5, len(encoder.tokenizer), n) for n in lengths]


@torch.no_grad()
def states(encoder: Encoder, rows: list[np.ndarray]) -> torch.Tensor:
    return hidden_states(encoder, pack(rows, encoder.first_position))


@pytest.mark.parametrize("family", SOURCES)
def test_C17_a_gradual_change_starts_as_the_source_and_ends_as_the_result(family: str, build: Any) -> None:
    source = source_of(family, build)
    converted = to_rotary(source, 256, 10_000.0)
    rows = rows_of(source, 40, source.length)
    end = states(converted, rows)
    gradual = Gradual(source, converted)
    torch.testing.assert_close(states(converted, rows), end, atol=0, rtol=0)
    gradual.set(0.0)
    torch.testing.assert_close(states(converted, rows), states(source, rows), atol=1e-5, rtol=1e-5)
    gradual.set(0.5)
    halfway = states(converted, rows)
    assert (halfway - end).abs().max() > 1e-3
    gradual.set(1.0)
    torch.testing.assert_close(states(converted, rows), end, atol=0, rtol=0)


def test_a_text_beyond_the_old_table_reads_it_again_from_its_start(build: Any) -> None:
    source = source_of("bert", build)
    converted = to_rotary(source, 256, 10_000.0)
    Gradual(source, converted).set(0.0)
    row = np.full(2 * source.length, 7)
    one_word = converted.model.base_model.embeddings(
        input_ids=torch.from_numpy(row)[None], position_ids=torch.arange(len(row))[None]
    )[0]
    first, second = one_word.split(source.length)
    torch.testing.assert_close(first, second)
    assert (first[0] - first[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "jina_embeddings_v3"])
def test_C18_theta_rises_geometrically_between_two_rotations(family: str, build: Any) -> None:
    source = source_of(family, build)
    before = max(thetas(source.model).values())
    rescaled = rescale(source, 4 * source.length, 100 * before, "none")
    gradual = Gradual(source, rescaled)
    for share in (0.0, 0.25, 1.0):
        gradual.set(share)
        assert max(thetas(rescaled.model).values()) == pytest.approx(before * 100**share, rel=1e-2)


def test_C20_local_layers_keep_their_rotation_all_the_way(build: Any) -> None:
    source = source_of("modernbert", build)
    rescaled = rescale(source, 4 * source.length, 1e6, "none")
    gradual = Gradual(source, rescaled)
    local = {name: inv_freq.clone() for name, inv_freq in rotations(source.model) if "sliding" in name}
    assert local
    for share in (0.0, 0.5, 1.0):
        gradual.set(share)
        for name, inv_freq in rotations(rescaled.model):
            if name in local:
                torch.testing.assert_close(inv_freq, local[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
def test_C22_scaled_rotations_start_as_the_source_too(scaling: Any, build: Any) -> None:
    source = source_of("modernbert", build)
    rescaled = rescale(source, 8 * source.length, None, scaling)
    rows = rows_of(source, 50)
    end = states(rescaled, rows)
    gradual = Gradual(source, rescaled)
    gradual.set(0.0)
    torch.testing.assert_close(states(rescaled, rows), states(source, rows), atol=1e-5, rtol=1e-5)
    gradual.set(1.0)
    torch.testing.assert_close(states(rescaled, rows), end, atol=0, rtol=0)
    assert (end - states(source, rows)).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_distilling_costs_nothing_where_the_hidden_states_are_the_teachers(family: str, build: Any) -> None:
    source = source_of(family, build)
    converted = to_rotary(source, 256, 10_000.0)
    rows = rows_of(source, 40, 25)
    packed = pack(rows, converted.first_position).with_labels(torch.tensor([7, 8, 9]).numpy(), np.array([3, 5, 60]))
    gradual, objective = Gradual(source, converted), Distilled(converted, source)
    gradual.set(0.0)
    assert float(objective(packed).detach()) < 1e-8
    gradual.set(1.0)
    loss = objective(packed)
    loss.backward()
    theirs = layer_states(source, pack(rows, source.first_position))
    mine = layer_states(converted, packed)
    plain = [((a - b) ** 2).mean() / b.var() for a, b in zip(mine, theirs, strict=True)]
    assert loss.item() == pytest.approx(3 * torch.stack(plain).mean().item(), rel=1e-5)
    assert all(p.grad is None for p in source.model.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in converted.model.base_model.parameters())
    assert not any("teacher" in name for name in objective.state_dict())
