"""attend(): attention over packed documents, with windows, that no document crosses.

A packed batch is one row of T tokens; `cu_seqlens` holds the document borders. transformers masks
padding, not packing: restarting `position_ids` does not separate documents in a bidirectional model
(TRAPS O8). `register()` makes attend() an attention implementation of transformers, with the mask
function that a custom name loses otherwise (O9), so every family that asks its attention interface
gets packed documents without a patched class.

Shapes: T tokens in all documents, H query heads, G key heads (H a multiple of G), D head width.
"""

from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

import torch
from medlingua.adapters.document_attention import DENSE_TOKENS, attend_document
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "medlingua"
Backend = Literal["plain", "blockwise", "varlen", "flash", "flex"]


class BackendChoice(NamedTuple):
    name: Backend
    reason: str


def choose_backend(device: torch.device, dtype: torch.dtype, global_tokens: bool = False) -> BackendChoice:
    """The fastest backend that is exact for this device and dtype, with global tokens or without, and the reason."""
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type == "cuda" and global_tokens:
        return BackendChoice("flex", "the flash kernels have no global tokens")
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
            "blockwise", f"document by document on the cpu, whole weights up to {DENSE_TOKENS} tokens"
        )
    return BackendChoice("blockwise", f"scaled_dot_product_attention, document by document, on {device.type}")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    query_positions: Tensor | None = None,
    global_tokens: Tensor | None = None,
    reach: int | None = None,
    scale: float | None = None,
    causal: bool = False,
    backend: Backend | None = None,
) -> Tensor:
    """Attention inside each packed document.

    query: (T, H, D) float; key, value: (T, G, D). cu_seqlens: (documents + 1,) int32, 0 first, T last.
    query_positions: (M,) int64, ascending: the tokens that are queries, where not all are; query is (M, H, D) then.
    Not with causal, nor with reach on the flash kernels, which count to find the position of a query.
    global_tokens: (n,) int64, ascending: tokens that see their whole document and are seen by all of it, whatever the
    reach; not with causal.
    reach: a token sees tokens at most this far away on each side (half of a window's width); None: all.
    scale: factor on the scores, default D ** -0.5. causal: a token sees no later token.
    backend: None for that of choose_backend. Returns the shape and dtype of query.
    """
    if query_positions is not None and causal:
        raise ValueError("query_positions: not with causal")
    if global_tokens is not None:
        _check_global(global_tokens, cu_seqlens, causal)
        if backend in ("varlen", "flash"):
            raise ValueError(f"backend {backend} has no global tokens; flex has")
    name = backend or choose_backend(query.device, query.dtype, global_tokens is not None).name
    if name in ("varlen", "flash"):
        if query_positions is not None and reach is not None:
            raise ValueError(f"backend {name} takes no query_positions with a window")
        cu_seqlens_q = cu_seqlens if query_positions is None else _query_borders(query_positions, cu_seqlens)
        longest_query, longest_key = (int(borders.diff().max()) for borders in (cu_seqlens_q, cu_seqlens))
        window = (-1 if reach is None else reach, 0 if causal else (-1 if reach is None else reach))
        if name == "flash":
            return _flash()(  # type: ignore[no-any-return]
                query, key, value, cu_seqlens_q, cu_seqlens, longest_query, longest_key,
                softmax_scale=scale, causal=causal, window_size=window,
            )  # fmt: skip
        return _varlen()(  # type: ignore[no-any-return]
            query, key, value, cu_seqlens_q, cu_seqlens, longest_query, longest_key,
            scale=scale, window_size=window, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
    if name == "plain":
        return attend_plain(
            query, key, value, cu_seqlens,
            query_positions=query_positions, global_tokens=global_tokens, reach=reach, scale=scale, causal=causal,
        )  # fmt: skip
    if name == "flex":
        if query_positions is not None:
            raise ValueError("backend flex takes no query_positions")
        return _attend_flex(query, key, value, cu_seqlens, global_tokens, reach, scale, causal)
    places = [] if global_tokens is None else global_tokens.tolist()
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return _attend_blockwise(query, key, value, cu_seqlens, query_positions, places, reach, factor, causal)


def _query_borders(rows: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Borders of the documents among the queries."""
    return torch.searchsorted(rows, cu_seqlens.to(rows)).to(torch.int32)


def _check_global(global_tokens: Tensor, cu_seqlens: Tensor, causal: bool) -> None:
    if causal:
        raise ValueError("global tokens see the whole document: not with causal")
    outside = global_tokens[(global_tokens < 0) | (global_tokens >= int(cu_seqlens[-1]))]
    if len(outside):
        raise ValueError(f"global token {int(outside[0])} is outside the batch's {int(cu_seqlens[-1])} tokens")


def attend_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    query_positions: Tensor | None = None,
    global_tokens: Tensor | None = None,
    reach: int | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """The reference for attend(): one softmax over all scores, masked by definition."""
    seen = _seen(cu_seqlens, query_positions, global_tokens, reach, causal)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _seen(
    cu_seqlens: Tensor,
    query_positions: Tensor | None = None,
    global_tokens: Tensor | None = None,
    reach: int | None = None,
    causal: bool = False,
) -> Tensor:
    """Whether a query sees a key, by definition: (queries, T) bool."""
    tokens = torch.arange(int(cu_seqlens[-1]), device=cu_seqlens.device)
    queries = tokens if query_positions is None else query_positions
    left, right = (torch.bucketize(places, cu_seqlens[1:].to(places), right=True) for places in (queries, tokens))
    seen = left[:, None] == right[None, :]
    distance = queries[:, None] - tokens[None, :]
    if reach is not None:
        near = distance.abs() <= reach
        if global_tokens is not None:
            near[torch.isin(queries, global_tokens)] = True
            near[:, global_tokens] = True
        seen &= near
    if causal:
        seen &= distance >= 0
    return seen


def _attend_blockwise(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    query_positions: Tensor | None,
    global_tokens: list[int],
    reach: int | None,
    scale: float,
    causal: bool,
) -> Tensor:
    lengths = cu_seqlens.diff().tolist()
    query_lengths = (
        lengths if query_positions is None else _query_borders(query_positions, cu_seqlens).diff().tolist()
    )
    # split, not slices: its gradient is one concatenation instead of a zero-filled copy a document.
    parts = (torch.split(x, sizes) for x, sizes in ((query, query_lengths), (key, lengths), (value, lengths)))
    positions = [None] * len(lengths) if query_positions is None else torch.split(query_positions, query_lengths)
    outputs, start = [], 0
    for q, k, v, chosen in zip(*parts, positions, strict=True):
        is_global = tuple(t - start for t in global_tokens if start <= t < start + len(k))
        places = None if chosen is None else chosen - start
        outputs.append(attend_document(q, k, v, reach, scale, causal, is_global, places))
        start += len(k)
    return torch.cat(outputs)


def _attend_flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    global_tokens: Tensor | None,
    reach: int | None,
    scale: float | None,
    causal: bool,
) -> Tensor:
    """torch's FlexAttention: computes only blocks of 128 by 128 in which some query sees some key."""
    flex, _ = _flex(query.device.type)
    mask = _flex_mask(cu_seqlens, global_tokens, reach, causal)
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
    out: Tensor = flex(q, k, v, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1])
    return out[0].transpose(0, 1)


@lru_cache(maxsize=4)  # all layers of a kind pass the same tensors, which are hashed by identity
def _flex_mask(cu_seqlens: Tensor, global_tokens: Tensor | None, reach: int | None, causal: bool) -> Any:
    _, make = _flex(cu_seqlens.device.type)
    tokens = int(cu_seqlens[-1])
    places = torch.arange(tokens, device=cu_seqlens.device)
    document = torch.bucketize(places, cu_seqlens[1:].to(places), right=True)
    is_global = torch.zeros(tokens, dtype=torch.bool, device=cu_seqlens.device)
    if global_tokens is not None:
        is_global[global_tokens] = True

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        together = document[query] == document[key]
        if reach is not None:
            together = together & (((query - key).abs() <= reach) | is_global[query] | is_global[key])
        return together & (query >= key) if causal else together

    return make(seen, None, None, tokens, tokens, device=cu_seqlens.device)


@cache
def _flex(device: str) -> tuple[Any, Any]:
    """flex_attention and create_block_mask, compiled on CUDA; uncompiled they are slow."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if device != "cuda":
        return flex_attention, create_block_mask
    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)


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
    """Register attend() with transformers under NAME, as an attention and as a mask function.

    A model set to it takes packed rows (`cu_seq_lens_q` passed to its forward) and ordinary batches:
    without padding each row is one document; with a padding mask the stock sdpa path is used.
    """
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """Only padding needs a mask: attend() gets documents and windows in other arguments."""
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
    query_positions: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: query (B, H, L, D), key and value (B, G, L, D) -> (B, L, H, D).

    query_positions: (M,) int64, the rows of the batch's tokens that will be used; the others may be anything.
    dropout: of attention weights. Our kernels have none, so that it goes through scaled_dot_product_attention
    with a whole mask: exact, at a memory that grows with the square of the tokens.
    """
    batch, _, length, _ = query.shape
    # Families pass half the window plus one, flash attention's inclusive bound.
    reach = None if sliding_window is None else sliding_window - 1
    if dropout and attention_mask is None:
        borders = torch.tensor([0, length], device=query.device) if cu_seq_lens_q is None else cu_seq_lens_q
        attention_mask = _seen(borders, reach=reach)[None, None]
    if attention_mask is not None:
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
        return out.transpose(1, 2), None
    if cu_seq_lens_q is None:
        cu_seq_lens_q = torch.arange(0, (batch + 1) * length, length, dtype=torch.int32, device=query.device)
    # Rotations in fp32 leave fp32 queries and keys under autocast, with bf16 values.
    q, k, v = (x.to(value.dtype).transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    if query_positions is None or reach is not None:
        out = attend(q, k, v, cu_seq_lens_q, reach=reach, scale=scaling)
    else:
        selected = attend(q[query_positions], k, v, cu_seq_lens_q, query_positions=query_positions, scale=scaling)
        out = selected.new_zeros(q.shape[0], *selected.shape[1:]).index_copy(0, query_positions, selected)
    return out.reshape(batch, length, *out.shape[1:]), None
