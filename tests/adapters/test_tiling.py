"""Larger models from smaller ones."""

from typing import Any, get_args

import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import Family, Size, random_encoder
from medlingua.adapters.packed import hidden_states, pack
from medlingua.adapters.tiling import copy_embeddings, tile_weights
from medlingua.languages.errors import InputError

from .test_packed import documents, logits

FAMILIES = get_args(Family)


def new_encoder(family: Any, tokenizer: Any, size: Size, length: int = 128, seed: int = 0) -> Encoder:
    encoder = random_encoder(family, size, length, 16, tokenizer, seed)
    for name, parameter in encoder.model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name.lower() and "weight" in name), std=0.08)
    encoder.model.tie_weights()
    return encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_twice_as_wide_computes_what_the_small_one_does(family: str, new_byte_pieces: Any) -> None:
    small = new_encoder(family, new_byte_pieces, "mini")
    large = new_encoder(family, new_byte_pieces, "small", seed=1)
    tile_weights(small, large, seed=3)
    ids = documents(small)
    expected = logits(small, ids)
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits(large, ids), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_of_a_unit_do_not_learn_alike(family: str, new_byte_pieces: Any) -> None:
    small, large = (new_encoder(family, new_byte_pieces, size) for size in ("mini", "small"))
    tile_weights(small, large, seed=3)
    ids = documents(large)
    states = hidden_states(large, pack(ids, large.first_position))
    transform, decoder = large.architecture.head(large.model)
    decoder(transform(states)).square().mean().backward()
    linears = [m for m in large.model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    moved = [m.weight.grad for m in linears if m.weight.grad is not None and m.out_features == 512]
    assert len(moved) >= 8
    for gradient in moved:
        assert (gradient[:256] - gradient[256:]).abs().max() > 0.01 * gradient.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_stacked_and_longer_tables_begin_again(family: str, new_byte_pieces: Any) -> None:
    small, large = (
        new_encoder(family, new_byte_pieces, "tiny", 128),
        new_encoder(family, new_byte_pieces, "mini", 300, seed=1),
    )
    before = {name: p.clone() for name, p in large.model.named_parameters()}
    tile_weights(small, large, seed=3)
    sources = dict(small.model.named_parameters())
    stays = [n for n, p in large.model.named_parameters() if torch.equal(p, before[n])]
    assert all("attn_norm" in name for name in stays)  # what the small model's first layer has none of
    biases = [n for n in sources if ".0." in n and n.endswith("bias") and "query" not in n]
    for name in biases:
        for layer in (0, 1):  # of four, from the first of two
            copy = dict(large.model.named_parameters())[name.replace(".0.", f".{layer}.")]
            assert torch.equal(copy[: len(sources[name])], sources[name])
    if small.architecture.positions == "learned":
        table = large.model.base_model.embeddings.position_embeddings.weight
        assert torch.equal(table[large.first_position + 128], table[large.first_position])
        assert torch.equal(
            table[: large.first_position + 1, :128],
            small.model.base_model.embeddings.position_embeddings.weight[: small.first_position + 1],
        )
    assert torch.isfinite(logits(large, documents(large))).all()


def test_a_table_alone_is_carried_to_another_family(new_byte_pieces: Any) -> None:
    small, large = new_encoder("bert", new_byte_pieces, "tiny"), new_encoder("modernbert", new_byte_pieces, "mini")
    copy_embeddings(small, large)
    source, table = (encoder.model.get_input_embeddings().weight for encoder in (small, large))
    assert torch.equal(table[:, :128], source)
    assert torch.equal(table[:, 128:], source)
    with pytest.raises(InputError, match=r"larger adapt\.size"):
        copy_embeddings(large, small)


def test_a_deberta_with_other_positions_is_not_tiled(new_byte_pieces: Any) -> None:
    small, large = (new_encoder("deberta-v2", new_byte_pieces, size) for size in ("tiny", "mini"))
    small.model.config.position_buckets = 64
    with pytest.raises(InputError, match="the base has position_buckets = 64, a new model 256"):
        tile_weights(small, large, seed=0)


@pytest.mark.parametrize(
    ("base", "target", "message"),
    [
        (("bert", "mini"), ("bert", "tiny"), "256 wide, adapt.size gives 128"),
        (("bert", "medium"), ("bert", "small"), "8 layers deep"),
        (("bert", "tiny"), ("roberta", "mini"), "within a family"),
    ],
)
def test_what_cannot_be_tiled_is_refused(base: Any, target: Any, message: str, new_byte_pieces: Any) -> None:
    small, large = (random_encoder(family, size, 64, 16, new_byte_pieces, 0) for family, size in (base, target))
    with pytest.raises(InputError, match=message):
        tile_weights(small, large, seed=0)
