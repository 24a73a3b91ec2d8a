"""Families whose attention is their own: packed documents through the stock layers, in padded batches."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import load, save
from medlingua.adapters.extension import extend
from medlingua.adapters.packed import hidden_states, layer_states, pack
from medlingua.adapters.padded import group_by_length
from medlingua.adapters.pruning import prune
from medlingua.languages.errors import InputError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, DebertaV2ForMaskedLM, MPNetForMaskedLM

from .conftest import word_pieces
from .test_packed import LENGTHS, documents, logits, stock

PADDED = sorted(name for name, architecture in ARCHITECTURES.items() if architecture.padded)
DEBERTAS: dict[str, dict[str, Any]] = {
    "v3": {},
    "v2-xlarge, with a convolution": {"conv_kernel_size": 3, "conv_act": "gelu"},
    "projections of its own for positions": {"share_att_key": False},
    "content to position alone, without buckets": {"pos_att_type": ["c2p"], "position_buckets": -1},
    "absolute positions too": {"position_biased_input": True, "type_vocab_size": 2},
    "absolute positions alone": {"position_biased_input": True, "relative_attention": False, "pos_att_type": []},
    "factorised embeddings": {"embedding_size": 16},
    "the head that multiplies with the table": {"legacy": False},
}


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60))
def test_batches_hold_every_document_once_with_little_padding(lengths: list[int]) -> None:
    groups = group_by_length(lengths)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[number] for number in group]
        places = len(sizes) * max(sizes)
        assert places <= 1.25 * sum(sizes)
        assert len(sizes) == 1 or (places <= 8_192 and places * max(sizes) <= 2**21)


def test_documents_of_one_length_share_a_batch() -> None:
    assert group_by_length([40, 7, 40, 40, 7, 7]) == [[0, 2, 3], [1, 4, 5]]
    assert [len(group) for group in group_by_length([512] * 20)] == [8, 8, 4]
    assert [len(group) for group in group_by_length([64] * 130)] == [128, 2]


@pytest.mark.parametrize("changes", DEBERTAS.values(), ids=DEBERTAS)
def test_every_kind_of_deberta_gives_the_stock_logits_and_reopens(
    changes: dict[str, Any], build: Any, tmp_path: Any
) -> None:
    folder = build("deberta-v2", **changes)
    encoder = load(str(folder))
    ids = documents(encoder, (*LENGTHS, 38))  # 40 and 38 tokens: one batch, with padding
    expected = stock(folder, "deberta-v2", *ids)
    together = torch.split(logits(encoder, ids), [len(one) for one in ids])
    for packed, alone in zip(together, expected, strict=True):
        assert alone.abs().max() > 0.1
        torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-5)
    save(encoder, tmp_path / "saved")
    for again, alone in zip(stock(tmp_path / "saved", "deberta-v2", *ids), expected, strict=True):
        assert torch.equal(again, alone)


@pytest.mark.parametrize("family", PADDED)
@torch.no_grad()
def test_no_document_sees_another(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    ids = documents(encoder)
    before = hidden_states(encoder, pack(ids, encoder.first_position))
    ids[1] = np.array([ids[1][0], 9, 11, 12, ids[1][-1]])
    after = hidden_states(encoder, pack(ids, encoder.first_position))
    first = LENGTHS[0]
    torch.testing.assert_close(after[:first], before[:first], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after[first + 5 :], before[first + LENGTHS[1] :], atol=1e-5, rtol=1e-5)
    assert (after[first] - before[first]).abs().max() > 1e-2


@pytest.mark.parametrize("family", PADDED)
@torch.no_grad()
def test_states_of_each_layer_are_the_stock_models(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    ids = documents(encoder)
    by_layer = layer_states(encoder, pack(ids, encoder.first_position))
    body = encoder.model.base_model.eval()
    alone = [body(input_ids=torch.tensor(one)[None], output_hidden_states=True).hidden_states[1:] for one in ids]
    assert len(by_layer) == 2
    for number, states in enumerate(by_layer):
        expected = torch.cat([layers[number][0] for layers in alone])
        torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", PADDED)
def test_weights_in_bf16_stay_near_fp32(family: str, build: Any) -> None:
    """As a GPU trains it, with a copy of the model in bf16."""
    encoder = load(str(build(family)))
    row = pack(documents(encoder), encoder.first_position)
    exact = hidden_states(encoder, row).detach()
    encoder.model.to(torch.bfloat16)
    narrow = hidden_states(encoder, row)
    assert narrow.dtype == torch.bfloat16
    assert float((narrow.detach().float() - exact).norm() / exact.norm()) < 0.05
    narrow.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.model.parameters() if p.grad is not None)


# What transformers' own class does of its own


def legacy_free(build: Any) -> Any:
    return load(str(build("deberta-v2", legacy=False)))


def test_transformers_cuts_the_head_of_a_deberta_that_is_not_legacy_and_we_do_not(
    build: Any, corpus: list[str], tmp_path: Any
) -> None:
    """Its output embeddings are the dense layer of the head: resizing makes that as wide as the vocabulary."""
    broken = DebertaV2ForMaskedLM.from_pretrained(build("deberta-v2", legacy=False))
    broken.resize_token_embeddings(300, mean_resizing=False)
    assert broken.lm_predictions.lm_head.dense.out_features == 300
    for new in (
        extend(legacy_free(build).tokenizer, corpus, 12, min_documents=2).tokenizer,
        prune(legacy_free(build).tokenizer, corpus[:2]),
    ):
        encoder = legacy_free(build)
        old = encoder.tokenizer.get_vocab()
        dense = encoder.model.lm_predictions.lm_head.dense.weight.clone()
        bias = encoder.model.lm_predictions.lm_head.bias.clone()
        changed, _ = replace_vocabulary(encoder, new)
        save(changed, tmp_path / str(len(new)), sample=corpus[:3])
        saved = AutoModelForMaskedLM.from_pretrained(tmp_path / str(len(new)))
        head = saved.lm_predictions.lm_head
        assert torch.equal(head.dense.weight, dense)
        both = [(id, old[piece]) for piece, id in new.get_vocab().items() if piece in old]
        now, before = (torch.tensor(ids) for ids in zip(*both, strict=True))
        assert len(head.bias) == len(new)
        assert torch.equal(head.bias[now], bias[before])


def test_a_head_that_the_config_does_not_read_is_named(build: Any) -> None:
    """config.json of Microsoft's models does not say `legacy`, which transformers takes for true."""
    folder = build("deberta-v2", legacy=False)
    config = folder / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"legacy": false', '"legacy": true'), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r'no masked-LM head.*lm_predictions, which "legacy": false in config\.json'):
        load(str(folder))
    assert load(str(folder), head="fresh").fresh_head


def test_the_detector_of_a_deberta_v3_is_left_out(build: Any) -> None:
    folder = build("deberta-v2")
    weights = load_file(folder / "model.safetensors")
    body = {name: tensor for name, tensor in weights.items() if not name.startswith("cls.")}
    detector = {
        "mask_predictions.dense.weight": torch.zeros(32, 32),
        "mask_predictions.classifier.bias": torch.zeros(1),
    }
    save_file(body | detector, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no masked-LM head"):
        load(str(folder))
    assert load(str(folder), head="fresh").fresh_head


def test_an_mpnet_counts_positions_from_the_piece_1_whatever_its_config_says(build: Any) -> None:
    """To transformers the padding is the piece with id 1, which another tokenizer may have for a word."""
    stock_model = MPNetForMaskedLM.from_pretrained(build("mpnet", pad_token_id=4)).eval()
    ids = torch.tensor([[0, 7, 1, 9, 2]])
    positions = torch.arange(2, 7)[None]
    with torch.no_grad():
        counted, given = (stock_model(input_ids=ids, **more).logits for more in ({}, {"position_ids": positions}))
    assert (counted - given).abs().max() > 0.1
    with pytest.raises(InputError, match=r"the padding piece of an MPNet has id 1.*here it is 4"):
        load(str(build("mpnet", pad_token_id=4)))
    with pytest.raises(InputError, match=r"the new tokenizer: the padding piece of an MPNet has id 1.*here it is 0"):
        replace_vocabulary(load(str(build("mpnet"))), word_pieces())


def test_an_mpnet_with_other_buckets_than_transformers_computes_is_refused(build: Any) -> None:
    folder = build("mpnet", relative_attention_num_buckets=16)
    with pytest.raises(IndexError):  # 32, whatever the config says
        stock(folder, "mpnet", np.arange(60))
    with pytest.raises(InputError, match="relative_attention_num_buckets = 16"):
        load(str(folder))
