"""Packed documents: each one as if it were alone, for every family."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.packed import hidden_states, pack
from torch import Tensor

FAMILIES = sorted(ARCHITECTURES)
LENGTHS = (40, 3, 57, 90)  # past every window, past a short neighbour


def documents(encoder: Encoder, lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[np.ndarray]:
    """Random ids between the specials that frame a text."""
    draw = np.random.default_rng(seed)
    cls, sep = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    return [np.array([cls, *draw.integers(5, len(encoder.tokenizer), n - 2), sep]) for n in lengths]


@torch.no_grad()
def logits(encoder: Encoder, ids: list[np.ndarray]) -> Tensor:
    transform, decoder = encoder.architecture.head(encoder.model)
    return decoder(transform(hidden_states(encoder, pack(ids, encoder.first_position))))


@torch.no_grad()
def stock(folder: Any, family: str, *documents: np.ndarray) -> list[Tensor]:
    """What plain transformers answers for each document, unpadded, its own positions and attention."""
    model = getattr(transformers, ARCHITECTURES[family].model_class).from_pretrained(
        folder, attn_implementation="eager"
    )
    return [model.eval()(input_ids=torch.tensor(ids)[None]).logits[0] for ids in documents]


@pytest.mark.parametrize("family", FAMILIES)
def test_O8_a_packed_batch_gives_the_logits_of_each_document_alone(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    ids = documents(encoder)
    together = torch.split(logits(encoder, ids), list(LENGTHS))
    for packed, alone in zip(together, ids, strict=True):
        torch.testing.assert_close(packed, logits(encoder, [alone]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_O15_C1_a_packed_batch_gives_the_logits_of_the_stock_model(family: str, build: Any) -> None:
    folder = build(family)
    encoder = load(str(folder))
    ids = documents(encoder)
    together = torch.split(logits(encoder, ids), list(LENGTHS))
    for packed, expected in zip(together, stock(folder, family, *ids), strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(packed, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_O11_under_bf16_autocast_every_family_stays_near_fp32_and_trains(family: str, build: Any) -> None:
    """As bf16 training runs it. Some families rotate in fp32, so queries and values have different dtypes."""
    encoder = load(str(build(family)))
    row = pack(documents(encoder), encoder.first_position)
    exact = hidden_states(encoder, row).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = hidden_states(encoder, row)
    assert float((narrow.detach() - exact).norm() / exact.norm()) < 0.03
    narrow.float().square().sum().backward()
    trained = {name for name, p in encoder.model.base_model.named_parameters() if p.grad is not None}
    assert any("layer" in name and "q" in name for name in trained), trained


@pytest.mark.parametrize("family", FAMILIES)
def test_C1_a_short_text_gives_the_logits_of_the_stock_model(family: str, build: Any) -> None:
    folder = build(family)
    encoder = load(str(folder))
    (ids,) = documents(encoder, (6,))
    torch.testing.assert_close(logits(encoder, [ids]), stock(folder, family, ids)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILIES if ARCHITECTURES[name].interface])
def test_O8_restarted_positions_alone_would_mix_documents(family: str, build: Any) -> None:
    """The test above can fail: without the borders the same row gives other logits."""
    encoder = load(str(build(family)))
    ids = documents(encoder)
    packed = pack(ids, encoder.first_position)
    with torch.no_grad():
        mixed = encoder.model.base_model(
            input_ids=packed.ids[None], position_ids=packed.positions[None]
        ).last_hidden_state[0]
        apart = hidden_states(encoder, packed)
    assert (mixed - apart).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["bert", "modernbert", "eurobert", "longformer", "deberta-v2"])
def test_O8_the_gradient_of_a_packed_batch_is_the_sum_over_its_documents(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    ids = documents(encoder, (30, 12, 21))
    _, decoder = encoder.architecture.head(encoder.model)
    gradients = []
    for batches in ([ids], [[one] for one in ids]):
        encoder.model.zero_grad()
        for batch in batches:
            transform, decoder = encoder.architecture.head(encoder.model)
            states = hidden_states(encoder, pack(batch, encoder.first_position))
            decoder(transform(states)).logsumexp(-1).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in encoder.model.named_parameters() if p.grad is not None})
    together, apart = gradients
    assert together.keys() == apart.keys()
    for name, gradient in together.items():
        scale = max(1.0, float(apart[name].abs().max()))
        assert (gradient - apart[name]).abs().max() < 1e-4 * scale, name


@pytest.mark.parametrize("chosen", [(0, 7, 41, 42, 99, 189), (60, 61)], ids=["of all documents", "of one"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_chosen_rows_are_those_of_the_whole(family: str, chosen: tuple[int, ...], build: Any) -> None:
    """The last layer may leave out the other tokens: values and gradients stay."""
    encoder = load(str(build(family)))
    packed = pack(documents(encoder), encoder.first_position)
    rows = torch.tensor(chosen)
    results = []
    for states in (lambda: hidden_states(encoder, packed, rows), lambda: hidden_states(encoder, packed)[rows]):
        encoder.model.zero_grad()
        out = states()
        (out * torch.arange(1, out.shape[-1] + 1)).sum().backward()
        gradients = {n: p.grad.clone() for n, p in encoder.model.named_parameters() if p.grad is not None}
        results.append((out.detach(), gradients))
    (some, some_gradients), (every, every_gradients) = results
    torch.testing.assert_close(some, every, atol=1e-5, rtol=1e-5)
    assert some_gradients.keys() == every_gradients.keys()
    for name, gradient in some_gradients.items():
        scale = max(1.0, float(every_gradients[name].abs().max()))
        assert (gradient - every_gradients[name]).abs().max() < 1e-4 * scale, name
    assert hidden_states(encoder, packed).shape[0] == packed.ids.shape[0]


def test_a_document_without_a_token_is_named() -> None:
    with pytest.raises(ValueError, match="document 1 of the batch has no token"):
        pack([np.array([2, 3]), np.array([], dtype=np.int64)], 0)


def test_states_of_chosen_rows_where_some_are_global(build: Any) -> None:
    """Global tokens among the chosen and beside them, few and many to a document."""
    encoder = load(str(build("longformer")))
    ids = documents(encoder)
    every = (encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id, *range(30, 60))
    packed = pack(ids, encoder.first_position, every)
    rows = torch.tensor([0, 7, 39, 41, 42, 99, 120, 189])
    assert 2 < len(packed.global_tokens) < len(packed.ids)
    some, whole = hidden_states(encoder, packed, rows), hidden_states(encoder, packed)[rows]
    torch.testing.assert_close(some, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_C2_a_document_of_exactly_the_usable_length_works(family: str, build: Any) -> None:
    folder = build(family)
    encoder = load(str(folder))
    (ids,) = documents(encoder, (encoder.length,))
    torch.testing.assert_close(logits(encoder, [ids]), stock(folder, family, ids)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [n for n in FAMILIES if ARCHITECTURES[n].positions == "learned"])
def test_C2_no_longer_document_would_fit(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    (ids,) = documents(encoder, (encoder.length + 1,))
    with pytest.raises(IndexError):
        logits(encoder, [ids])


def test_an_empty_document_is_named_not_skipped() -> None:
    with pytest.raises(ValueError, match="document 1"):
        pack([np.array([1, 2]), np.array([], dtype=np.int64)], 0)


def test_O15_positions_restart_at_the_familys_first_place() -> None:
    packed = pack([np.array([7, 8, 9]), np.array([5, 6])], 2)
    assert packed.positions.tolist() == [2, 3, 4, 2, 3]
    assert packed.ids.tolist() == [7, 8, 9, 5, 6]
    assert packed.cu_seqlens.tolist() == [0, 3, 5]
