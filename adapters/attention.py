"""attend(): attention over packed documents, with windows, that no document crosses.

A packed batch is one row of T tokens; `cu_seqlens` holds the document borders. transformers masks
padding, not packing: restarting `position_ids` does not separate documents in a bidirectional model
(TRAPS O8). `register()` makes attend() an attention implementation of transformers, with the mask
function that a custom name loses otherwise (O9), so every family that asks its attention interface
gets packed documents without a patched class.

Shapes: T tokens in all documents, H query heads, G key heads (H a multiple of G), D head width.
"""

from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "medlingua"
_DENSE_TOKENS = 512  # above it the flash kernel's smaller memory wins
Backend = Literal["plain", "blockwise", "varlen", "flash"]


class BackendChoice(NamedTuple):
    name: Backend
    reason: str


def choose_backend(device: torch.device, dtype: torch.dtype) -> BackendChoice:
    """The fastest backend that is exact for this device and dtype, and why."""
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type == "cuda" and half:
        if _flash() is not None:
            return BackendChoice("flash", "flash-attn is installed")
        if _varlen() is not None:
            return BackendChoice("varlen", "torch's variable-length flash attention")
        return BackendChoice("blockwise", "no variable-length flash attention in this torch")
    if device.type == "cuda":
        return BackendChoice("blockwise", "flash kernels take bf16 or fp16 only")
    if device.type == "cpu":
        return BackendChoice(
            "blockwise", f"document by document on the cpu, whole weights up to {_DENSE_TOKENS} tokens"
        )
    return BackendChoice("blockwise", f"scaled_dot_product_attention, document by document, on {device.type}")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    cu_seqlens_q: Tensor | None = None,
    reach: int | None = None,
    scale: float | None = None,
    causal: bool = False,
    backend: Backend | None = None,
) -> Tensor:
    """Attention inside each packed document.

    query: (T, H, D) float; key, value: (T, G, D). cu_seqlens: (documents + 1,) int32, 0 first, T last.
    cu_seqlens_q: borders of the queries where they are fewer than the keys, (M, H, D) with M last; then every
    query sees its whole document, so neither reach nor causal may be given.
    reach: a token sees tokens at most this far away, each side (half of a window's width); None sees all.
    scale: factor on the scores, default D ** -0.5. causal: a token sees no later token.
    backend: None takes choose_backend's. Returns (T, H, D), the dtype of query.
    """
    if cu_seqlens_q is None:
        cu_seqlens_q = cu_seqlens
    elif reach is not None or causal:
        raise ValueError("chosen queries have no place: give neither reach nor causal")
    name = backend or choose_backend(query.device, query.dtype).name
    if name in ("varlen", "flash"):
        asked, longest = (int(borders.diff().max()) for borders in (cu_seqlens_q, cu_seqlens))
        window = (-1 if reach is None else reach, 0 if causal else (-1 if reach is None else reach))
        if name == "flash":
            return _flash()(  # type: ignore[no-any-return]
                query, key, value, cu_seqlens_q, cu_seqlens, asked, longest,
                softmax_scale=scale, causal=causal, window_size=window,
            )  # fmt: skip
        return _varlen()(  # type: ignore[no-any-return]
            query, key, value, cu_seqlens_q, cu_seqlens, asked, longest,
            scale=scale, window_size=window, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
    if name == "plain":
        return attend_plain(
            query, key, value, cu_seqlens, cu_seqlens_q=cu_seqlens_q, reach=reach, scale=scale, causal=causal
        )
    asked_of, lengths = cu_seqlens_q.diff().tolist(), cu_seqlens.diff().tolist()
    return _attend_blockwise(query, key, value, asked_of, lengths, reach, scale, causal)


def attend_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    cu_seqlens_q: Tensor | None = None,
    reach: int | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """The reference twin of attend(): one softmax over all scores, masked by definition."""
    asking, tokens = (torch.arange(len(x), device=query.device) for x in (query, key))
    borders = cu_seqlens if cu_seqlens_q is None else cu_seqlens_q
    asker, document = (
        torch.bucketize(places, ends[1:].to(places), right=True)
        for places, ends in ((asking, borders), (tokens, cu_seqlens))
    )
    seen = asker[:, None] == document[None, :]
    distance = asking[:, None] - tokens[None, :]
    if reach is not None:
        seen &= distance.abs() <= reach
    if causal:
        seen &= distance >= 0
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _attend_blockwise(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    asked: list[int],
    lengths: list[int],
    reach: int | None,
    scale: float | None,
    causal: bool,
) -> Tensor:
    # split, not slices: its gradient is one concatenation instead of a zero-filled copy a document.
    grouped = query.shape[1] != key.shape[1]
    dense = query.device.type == "cpu" and not causal and not grouped
    outputs = []
    parts = (torch.split(x, sizes) for x, sizes in ((query, asked), (key, lengths), (value, lengths)))
    for q, k, v in zip(*parts, strict=True):
        whole = reach is None or len(k) <= reach + 1
        if dense and whole and len(k) <= _DENSE_TOKENS:
            outputs.append(_Dense.apply(q, k, v, q.shape[-1] ** -0.5 if scale is None else scale))  # type: ignore[no-untyped-call]
            continue
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))  # (1, heads, length, D)
        if reach is None or whole:
            out = scaled_dot_product_attention(q, k, v, scale=scale, is_causal=causal, enable_gqa=grouped)
        else:
            out = _attend_window(q, k, v, reach, scale, causal, grouped)
        outputs.append(out[0].transpose(0, 1))
    return torch.cat(outputs)


class _Dense(torch.autograd.Function):
    """One short document on a CPU, keys (L, H, D): all its weights at once, kept for the gradient.

    Two to three times as fast as torch's CPU flash kernel up to some 500 tokens, most of all in bf16
    (reports/notes); the weights take H * L * L entries.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            # Contiguous once: each of the products below would copy its own.
            q, k, v = (x.transpose(0, 1).contiguous() for x in (query * scale, key, value))
            weights = torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1)
            out = torch.bmm(weights, v).transpose(0, 1)
        ctx.save_for_backward(q, k, v, weights, out)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, out = ctx.saved_tensors
        d_out = grads[0]
        # The softmax's gradient needs each row's sum of weight times its gradient, which is out . d_out.
        inner = (d_out * out).sum(dim=-1).T[:, :, None]
        d_out = d_out.transpose(0, 1).contiguous()
        d_v = torch.bmm(weights.transpose(1, 2), d_out)
        d_scores = torch.bmm(d_out, v.transpose(1, 2)).sub_(inner).mul_(weights)
        d_q = torch.bmm(d_scores, k).mul_(ctx.scale)
        d_k = torch.bmm(d_scores.transpose(1, 2), q)
        return d_q.transpose(0, 1), d_k.transpose(0, 1), d_v.transpose(0, 1), None


def _attend_window(
    q: Tensor, k: Tensor, v: Tensor, reach: int, scale: float | None, causal: bool, grouped: bool
) -> Tensor:
    """One document, (1, heads, L, D): blocks of queries against the keys that they can reach."""
    length = q.shape[2]
    block = max(64, reach)
    outputs = []
    for start in range(0, length, block):
        end = min(start + block, length)
        first, last = max(0, start - reach), min(length, end + reach)
        distance = (
            torch.arange(start, end, device=q.device)[:, None] - torch.arange(first, last, device=q.device)[None, :]
        )
        seen = distance.abs() <= reach
        if causal:
            seen &= distance >= 0
        outputs.append(
            scaled_dot_product_attention(
                q[:, :, start:end],
                k[:, :, first:last],
                v[:, :, first:last],
                attn_mask=seen,
                scale=scale,
                enable_gqa=grouped,
            )
        )
    return torch.cat(outputs, dim=2)


@cache
def _varlen() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@cache
def _flash() -> Any:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None
    return flash_attn_varlen_func


def register() -> None:
    """Make attend() known to transformers under NAME, as an attention and as a mask function.

    A model set to it takes packed rows (`cu_seq_lens_q` passed to its forward) and ordinary batches:
    without padding each row is one document; with a padding mask the stock sdpa path is used.
    """
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """Only padding needs a mask: attend() knows documents and windows without one."""
    if attention_mask is None:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)  # type: ignore[no-any-return]


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    query_rows: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: query (B, H, L, D), key and value (B, G, L, D) -> (B, L, H, D).

    query_rows: (M,) int64, the rows of the batch's tokens that will be used; the others are zero.
    """
    batch, _, length, _ = query.shape
    if attention_mask is not None:
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
        return out.transpose(1, 2), None
    if dropout:
        raise ValueError("attend() has no dropout on attention weights: load the model with dropout 0")
    if cu_seq_lens_q is None:
        cu_seq_lens_q = torch.arange(0, (batch + 1) * length, length, dtype=torch.int32, device=query.device)
    # Families pass half the window plus one, flash attention's inclusive bound.
    reach = None if sliding_window is None else sliding_window - 1
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    if query_rows is None or reach is not None:
        out = attend(q, k, v, cu_seq_lens_q, reach=reach, scale=scaling)
    else:
        asked = torch.searchsorted(query_rows, cu_seq_lens_q.to(query_rows)).to(torch.int32)
        some = attend(q[query_rows], k, v, cu_seq_lens_q, cu_seqlens_q=asked, scale=scaling)
        out = some.new_zeros(q.shape[0], *some.shape[1:]).index_copy(0, query_rows, some)
    return out.reshape(batch, length, *out.shape[1:]), None
