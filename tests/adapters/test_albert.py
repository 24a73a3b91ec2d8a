"""ALBERT: factorised embeddings, and layers that share their weights."""

from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import load, save
from medlingua.adapters.packed import layer_states, pack
from safetensors.torch import load_file, save_file

from .test_packed import LENGTHS, documents, logits, stock

KINDS: dict[str, dict[str, Any]] = {
    "one layer for all, as published": {"num_hidden_layers": 3},
    "two groups": {"num_hidden_layers": 4, "num_hidden_groups": 2},
    "two layers in a group": {"num_hidden_layers": 2, "inner_group_num": 2},
    "embeddings as wide as the states": {"embedding_size": 32},
    "the activation of the published models": {"hidden_act": "gelu_new"},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_kind_of_albert_gives_the_stock_logits_and_reopens(
    changes: dict[str, Any], build: Any, tmp_path: Any
) -> None:
    folder = build("albert", **changes)
    encoder = load(str(folder))
    ids = documents(encoder)
    expected = stock(folder, "albert", *ids)
    for packed, alone in zip(torch.split(logits(encoder, ids), list(LENGTHS)), expected, strict=True):
        assert alone.abs().max() > 0.1
        torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-5)
    save(encoder, tmp_path / "saved")
    for again, alone in zip(stock(tmp_path / "saved", "albert", *ids), expected, strict=True):
        assert torch.equal(again, alone)


@torch.no_grad()
def test_one_module_has_the_states_of_each_of_its_layers(build: Any) -> None:
    encoder = load(str(build("albert", num_hidden_layers=3)))
    ids = documents(encoder)
    by_layer = layer_states(encoder, pack(ids, encoder.first_position))
    assert len(by_layer) == 3
    assert (by_layer[1] - by_layer[0]).abs().max() > 1e-2
    body = encoder.model.base_model.eval()
    alone = [body(input_ids=torch.tensor(one)[None], output_hidden_states=True).hidden_states[1:] for one in ids]
    for number, states in enumerate(by_layer):
        torch.testing.assert_close(states, torch.cat([layers[number][0] for layers in alone]), atol=1e-4, rtol=1e-4)


def test_the_head_for_the_order_of_sentences_is_left_out(build: Any) -> None:
    folder = build("albert")
    weights = load_file(folder / "model.safetensors")
    weights |= {"sop_classifier.classifier.weight": torch.zeros(2, 32), "albert.pooler.weight": torch.zeros(32, 32)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(str(folder)).dropped == ()
