"""attend() against its plain twin, and our attention name against transformers' own."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.attention import NAME, attend, attend_plain, register
from medlingua.adapters.encoder import load
from torch import Tensor
from transformers import AttentionInterface

PACKING = ["bert", "roberta", "camembert", "xlm-roberta", "electra", "modernbert", "eurobert", "ultrabert"]
PACKING += ["jina_embeddings_v3"]


def tensors(lengths: list[int], heads: int, key_heads: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    q, k, v = (torch.randn(total, h, 8, generator=draw) for h in (heads, key_heads, key_heads))
    borders = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return q, k, v, borders


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 150), min_size=1, max_size=5),
    reach=st.sampled_from([None, 0, 2, 8, 70]),
    causal=st.booleans(),
    heads=st.sampled_from([(2, 2), (4, 2), (4, 1)]),
    scale=st.sampled_from([None, 0.1]),
    seed=st.integers(0, 3),
)
def test_O8_attention_equals_its_definition(
    lengths: list[int], reach: int | None, causal: bool, heads: tuple[int, int], scale: float | None, seed: int
) -> None:
    given = tensors(lengths, *heads, seed=seed)
    out = attend(*given, reach=reach, causal=causal, scale=scale)
    assert out.shape == given[0].shape
    torch.testing.assert_close(
        out, attend_plain(*given, reach=reach, causal=causal, scale=scale), atol=1e-5, rtol=1e-5
    )


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reach", [None, 0, 8])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["equal-heads", "grouped-heads"])
def test_O8_flex_attention_sees_the_same_pairs(heads: tuple[int, int], reach: int | None, causal: bool) -> None:
    """Uncompiled, and forward alone: all that a processor runs of it. With global tokens where they may be."""
    given = tensors([1, 140, 33, 60], *heads)
    some = None if causal else torch.tensor([0, 50, 140, 200])
    ours, plain = (
        attend(*given, reach=reach, causal=causal, global_tokens=some, backend=backend)
        for backend in ("flex", "plain")
    )
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_a_backend_that_cannot_serve_a_request_names_the_reason() -> None:
    *qkv, borders = tensors([4, 5], 2, 2)
    with pytest.raises(ValueError, match="varlen: needs a CUDA device"):
        attend(*qkv, borders, reach=1, backend="varlen")
    chosen = {"query_positions": torch.tensor([0, 5])}
    with pytest.raises(ValueError, match="flex: takes no query_positions"):
        attend(qkv[0][:2], *qkv[1:], borders, **chosen, backend="flex")
    with pytest.raises(ValueError, match="not with causal"):
        attend(qkv[0][:2], *qkv[1:], borders, **chosen, causal=True)


@pytest.mark.parametrize("place", [-1, 9])
def test_a_global_token_outside_the_documents_is_named(place: int) -> None:
    *qkv, borders = tensors([4, 5], 2, 2)
    with pytest.raises(ValueError, match=f"global token {place} is outside the batch's 9 tokens"):
        attend(*qkv, borders, reach=1, global_tokens=torch.tensor([place]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reach", [None, 2, 8])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["equal-heads", "grouped-heads"])
def test_O8_gradients_equal_those_of_the_definition(heads: tuple[int, int], reach: int | None, causal: bool) -> None:
    *qkv, borders = tensors([1, 90, 33], *heads)
    toward = torch.randn(qkv[0].shape, generator=torch.Generator().manual_seed(1))
    gradients = []
    for function in (attend, attend_plain):
        leaves = [x.clone().requires_grad_() for x in qkv]
        (function(*leaves, borders, reach=reach, causal=causal) * toward).sum().backward()
        gradients.append([x.grad for x in leaves])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_O8_short_and_long_documents_of_one_row_both_equal_the_definition() -> None:
    """Around 512 tokens the way of computing changes."""
    *qkv, borders = tensors([600, 5, 512, 513], 2, 2)
    toward = torch.randn(qkv[0].shape, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (attend, attend_plain):
        leaves = [x.clone().requires_grad_() for x in qkv]
        out = function(*leaves, borders)
        (out * toward).sum().backward()
        results.append([out.detach(), *(x.grad for x in leaves)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # another kernel, which is faster without a gradient
        torch.testing.assert_close(attend(*qkv, borders), results[1][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("some", [(), (0, 31, 300, 649)], ids=["no-global", "global"])
@pytest.mark.parametrize("reach", [None, 2, 100])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["equal-heads", "grouped-heads"])
def test_chosen_queries_get_what_they_get_among_all(
    heads: tuple[int, int], reach: int | None, some: tuple[int, ...]
) -> None:
    """Of one document none is asked for, of one the last, of one longer than 512 many; global ones and others."""
    *qkv, borders = tensors([30, 20, 600, 7], *heads)
    rows = torch.tensor([0, 3, 29, 50, *range(90, 500, 3), 649, 656])
    given = {"reach": reach, "global_tokens": torch.tensor(some) if some else None}
    toward = torch.randn(len(rows), *qkv[0].shape[1:], generator=torch.Generator().manual_seed(1))
    results = []
    for answers in (
        lambda q, k, v: attend(q[rows], k, v, borders, query_positions=rows, **given),
        lambda q, k, v: attend_plain(q[rows], k, v, borders, query_positions=rows, **given),
        lambda q, k, v: attend_plain(q, k, v, borders, **given)[rows],
    ):
        leaves = [x.clone().requires_grad_() for x in qkv]
        out = answers(*leaves)
        (out * toward).sum().backward()
        results.append([out.detach(), *(x.grad for x in leaves)])
    for ours, plain, among_all in zip(*results, strict=True):
        torch.testing.assert_close(ours, among_all, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain, among_all, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reach", [None, 100])
def test_O8_attention_in_bf16_stays_near_the_definition_in_fp32(reach: int | None) -> None:
    *qkv, borders = tensors([300, 40, 700], 4, 4)
    results = []
    for function, dtype in ((attend, torch.bfloat16), (attend_plain, torch.float32)):
        leaves = [x.bfloat16().to(dtype).requires_grad_() for x in qkv]
        out = function(*leaves, borders, reach=reach)
        assert out.dtype == dtype
        out.float().square().sum().backward()
        results.append([out.detach().float(), *(x.grad.float() for x in leaves)])
    for ours, plain in zip(*results, strict=True):
        # bf16 keeps 8 bits: a few roundings on the way.
        assert (ours - plain).norm() < 0.02 * plain.norm()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), reach=st.sampled_from([0, 3, 20, 70, 130]), heads=st.sampled_from([(2, 2), (4, 2)]))
def test_global_tokens_equal_the_definition_values_and_gradients(
    data: Any, reach: int, heads: tuple[int, int]
) -> None:
    """None, some or all tokens of a document, at its ends and next to each other."""
    lengths = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=3))
    chosen = torch.tensor(sorted(data.draw(st.sets(st.integers(0, sum(lengths) - 1)))), dtype=torch.int64)
    *qkv, borders = tensors(lengths, *heads)
    toward = torch.randn(qkv[0].shape, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (attend, attend_plain):
        leaves = [x.clone().requires_grad_() for x in qkv]
        out = function(*leaves, borders, reach=reach, global_tokens=chosen)
        (out * toward).sum().backward()
        results.append([out.detach(), *(x.grad for x in leaves)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("token", [-1, 8])
def test_a_global_token_outside_the_document_is_named(token: int) -> None:
    *qkv, borders = tensors([8], 2, 2)
    with pytest.raises(ValueError, match=f"global token {token} is outside"):
        attend(*qkv, borders, reach=2, global_tokens=torch.tensor([token]))


def test_global_tokens_are_not_causal() -> None:
    *qkv, borders = tensors([8], 2, 2)
    with pytest.raises(ValueError, match="not with causal"):
        attend(*qkv, borders, reach=2, causal=True, global_tokens=torch.tensor([0]))


@pytest.mark.parametrize("function", [attend, attend_plain])
def test_O8_no_gradient_crosses_a_border_or_a_window(function: Any) -> None:
    q, k, v, borders = tensors([20, 30], 2, 2)
    v.requires_grad_()
    function(q, k, v, borders, reach=3)[25].sum().backward()
    touched = v.grad.abs().sum(dim=(1, 2)).nonzero().flatten().tolist()
    assert touched == list(range(22, 29))


@pytest.mark.parametrize("family", PACKING)
def test_O9_a_padded_batch_gives_the_logits_of_stock_sdpa(family: str, build: Any, sample: list[str]) -> None:
    """Real tokens alone: what stands at padded places depends on the back end (O12)."""
    register()
    encoder = load(str(build(family)))
    texts = [sample[0] + " " + sample[1], "Toux."]
    batch = encoder.tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    real = batch["attention_mask"].bool()
    assert not real.all()
    model = encoder.model.eval()
    logits = {}
    with torch.no_grad():
        for name in (NAME, "sdpa", "eager"):
            model.set_attn_implementation(name)
            logits[name] = model(**batch).logits[real]
        model.set_attn_implementation(NAME)
        alone = model(**encoder.tokenizer(texts[1], return_tensors="pt", return_token_type_ids=False)).logits[0]
    torch.testing.assert_close(logits[NAME], logits["sdpa"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits[NAME], logits["eager"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[NAME][-len(alone) :], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", PACKING)
def test_O12_padding_does_not_move_real_tokens(family: str, build: Any, sample: list[str]) -> None:
    encoder = load(str(build(family)))
    model = encoder.model.eval()
    alone = encoder.tokenizer(sample[0], return_tensors="pt", return_token_type_ids=False)
    padded = encoder.tokenizer(
        sample[0], return_tensors="pt", return_token_type_ids=False, padding="max_length", max_length=80
    )
    assert padded["input_ids"].shape[1] == 80
    with torch.no_grad():
        expected, actual = model(**alone).logits[0], model(**padded).logits[0, : alone["input_ids"].shape[1]]
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reach", [None, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_O9_dropout_on_attention_weights_is_computed_inside_documents_and_windows(
    packed: bool, reach: int | None
) -> None:
    """With one-hot values the output is the weights: none outside what a query sees, and the rest as drawn."""
    batch, length, rate = (1, 20, 0.5) if packed else (2, 20, 0.5)
    q, k = torch.randn(2, batch, 1, length, length, generator=torch.Generator().manual_seed(0))
    v = torch.eye(length).expand(batch, 1, length, length)
    borders = torch.tensor([0, 7, length], dtype=torch.int32) if packed else None
    window = None if reach is None else reach + 1
    register()
    attention = AttentionInterface()[NAME]
    weights, dropped = (
        attention(torch.nn.Identity(), q, k, v, None, dropout=p, sliding_window=window, cu_seq_lens_q=borders)[0]
        for p in (0.0, rate)
    )
    drawn = dropped != 0
    torch.testing.assert_close(dropped, torch.where(drawn, weights / (1 - rate), 0.0), atol=1e-6, rtol=1e-5)
    assert 0.3 < drawn.sum() / (weights != 0).sum() < 0.7
