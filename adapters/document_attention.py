"""Attention inside one document: whole for short ones, in bands of a window for long ones.

Shapes: Q queries (L where every token is a query), L keys, H query heads, G key heads (H a multiple of G), D head
width. On CPU the weights are kept for the gradient, which is two to three times as fast as torch's flash kernel on
short documents (reports/notes). Elsewhere, without a gradient, and for long documents without a window, it is
scaled_dot_product_attention.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

DENSE_TOKENS = 512  # whole weights up to here: above it the flash kernel's smaller memory wins
_BLOCK = 64  # queries of one band: fewer waste less outside the window, more make larger products


def attend_document(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    reach: int | None,
    scale: float,
    causal: bool = False,
    global_places: tuple[int, ...] = (),
    places: Tensor | None = None,
) -> Tensor:
    """One document: query (Q, H, D), key and value (L, G, D) -> (Q, H, D).

    global_places: tokens that every token sees, and that see every token, whatever the reach; not with causal.
    places: (Q,) int64 ascending, positions of the queries among the L tokens; None: all are queries. Not with causal.
    """
    if not len(query):
        return query
    grouped = query.shape[1] != key.shape[1]
    whole = reach is None or len(key) <= reach + 1 or len(global_places) == len(key)
    own_kernel = query.device.type == "cpu" and not grouped
    if whole and own_kernel and not causal and len(key) <= DENSE_TOKENS and torch.is_grad_enabled():
        return _Dense.apply(query, key, value, scale)  # type: ignore[no-any-return, no-untyped-call]
    if whole:
        return _scaled_dot_product(query, key, value, scale, None, causal)
    assert reach is not None
    if own_kernel:
        out = _Banded.apply(query, key, value, scale, reach, causal, global_places, places)  # type: ignore[no-untyped-call]
    else:
        parts = []
        for band in _bands(len(query), len(key), reach, global_places, places):
            bias = _bias(band, reach, causal, query)
            seen = query[band.start : band.end], _seen(key, band), _seen(value, band)
            parts.append(_scaled_dot_product(*seen, scale, bias))
        out = torch.cat(parts)
    queries = torch.tensor(global_places, dtype=torch.int64, device=query.device)
    if places is not None:
        queries = torch.isin(places, queries).nonzero()[:, 0]
    if len(queries):
        out = out.index_copy(0, queries, attend_document(query[queries], key, value, None, scale))
    return out  # type: ignore[no-any-return]


def _scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None, causal: bool = False
) -> Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))  # (1, heads, tokens, D)
    grouped = query.shape[1] != key.shape[1]
    out = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale, is_causal=causal, enable_gqa=grouped)
    return out[0].transpose(0, 1)


class _Dense(torch.autograd.Function):
    """All weights of a short document at once: H * L * L entries, kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            q, k, v = _by_heads(query, key, value)
            q.mul_(scale)
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


class _Banded(torch.autograd.Function):
    """Blocks of queries against the keys that they reach, and against the n global ones.

    The weights of all blocks would be the largest tensor of a layer, so the backward pass computes them again. Scores
    of the global keys, (H, L, n), are computed for all queries at once and joined with the others in the softmax.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        reach: int,
        causal: bool,
        global_places: tuple[int, ...],
        places: Tensor | None,
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            q, k, v = _by_heads(query, key, value)
            q.mul_(scale)
            n, global_keys = len(global_places), torch.tensor(global_places, dtype=torch.int64)
            far = torch.bmm(q, k[:, global_keys].transpose(1, 2))  # scores of the global keys
            far_weights = torch.empty_like(far)
            out = torch.empty_like(q)
            for band in _bands(len(query), len(key), reach, global_places, places):
                queries, keys = slice(band.start, band.end), slice(band.first, band.last)
                weights = _band_weights(q[:, queries], k[:, keys], far[:, queries], _inside(band, reach, causal, q))
                far_weights[:, queries] = weights[:, :, :n]
                # Not with out=: products of a batch that is not contiguous are computed head by head.
                out[:, queries] = torch.bmm(weights[:, :, n:], v[:, keys])
            if n:
                out.baddbmm_(far_weights, v[:, global_keys])
        out = out.transpose(0, 1)
        ctx.save_for_backward(q, k, v, out, far, far_weights, places)
        ctx.scale, ctx.reach, ctx.causal, ctx.global_places = scale, reach, causal, global_places
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, far, far_weights, places = ctx.saved_tensors
        inner = (grads[0] * out).sum(dim=-1).T[:, :, None]
        d_out = grads[0].transpose(0, 1).contiguous()
        n, global_keys = len(ctx.global_places), torch.tensor(ctx.global_places, dtype=torch.int64)
        d_far = torch.bmm(d_out, v[:, global_keys].transpose(1, 2)).sub_(inner).mul_(far_weights)
        d_q = torch.empty_like(q)
        # Neighbouring bands add to the same keys: in fp32, whatever the weights are in.
        d_k, d_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
        for band in _bands(q.shape[1], k.shape[1], ctx.reach, ctx.global_places, places):
            queries, keys = slice(band.start, band.end), slice(band.first, band.last)
            weights = _band_weights(
                q[:, queries], k[:, keys], far[:, queries], _inside(band, ctx.reach, ctx.causal, q)
            )
            near = weights[:, :, n:]
            d_scores = torch.bmm(d_out[:, queries], v[:, keys].transpose(1, 2)).sub_(inner[:, queries]).mul_(near)
            d_q[:, queries] = torch.bmm(d_scores, k[:, keys])
            _add_product(d_v[:, keys], near.transpose(1, 2), d_out[:, queries])
            _add_product(d_k[:, keys], d_scores.transpose(1, 2), q[:, queries])
        if n:
            d_q.baddbmm_(d_far, k[:, global_keys])
            d_k.index_add_(1, global_keys, torch.bmm(d_far.transpose(1, 2), q).to(d_k.dtype))
            d_v.index_add_(1, global_keys, torch.bmm(far_weights.transpose(1, 2), d_out).to(d_v.dtype))
        d_q.mul_(ctx.scale)
        d_k = d_k.to(k.dtype)  # one after the other, so that the fp32 sums are not all held with their copies
        d_v = d_v.to(v.dtype)
        return d_q.transpose(0, 1), d_k.transpose(0, 1), d_v.transpose(0, 1), None, None, None, None, None


def _band_weights(query: Tensor, key: Tensor, far: Tensor, bias: Tensor) -> Tensor:
    """query (H, Q, D), key (H, W, D), far (H, Q, n), bias (Q, W) -> (H, Q, n + W)."""
    n = far.shape[2]
    if not n:
        return torch.baddbmm(bias, query, key.transpose(1, 2)).softmax(dim=-1)
    scores = query.new_empty(*query.shape[:2], n + key.shape[1])
    scores[:, :, :n] = far
    torch.baddbmm(bias, query, key.transpose(1, 2), out=scores[:, :, n:])
    return scores.softmax(dim=-1)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _by_heads(*tensors: Tensor) -> tuple[Tensor, ...]:
    """(L, H, D) -> new (H, L, D), contiguous once: each of the products that follow would copy its own."""
    return tuple(x.transpose(0, 1).clone(memory_format=torch.contiguous_format) for x in tensors)


class _Band(NamedTuple):
    """Queries start:end see keys first:last where the window lets them, and the global keys everywhere.

    places: (end - start,) of chosen queries; None where query i stands at i.
    """

    start: int
    end: int
    first: int
    last: int
    global_places: tuple[int, ...]
    places: Tensor | None


def _bands(
    queries: int, length: int, reach: int, global_places: tuple[int, ...], places: Tensor | None
) -> Iterator[_Band]:
    stand = range(queries) if places is None else places.tolist()
    for start in range(0, queries, _BLOCK):
        end = min(start + _BLOCK, queries)
        first, last = max(0, stand[start] - reach), min(length, stand[end - 1] + reach + 1)
        yield _Band(start, end, first, last, global_places, None if places is None else places[start:end])


def _seen(x: Tensor, band: _Band) -> Tensor:
    """Keys or values of a band, (globals + window, G, D): the global ones, then the window's."""
    window = x[band.first : band.last]
    if not band.global_places:
        return window
    return torch.cat([x[torch.tensor(band.global_places, device=x.device)], window])


def _bias(band: _Band, reach: int, causal: bool, like: Tensor) -> Tensor:
    """0 where a query sees a key and -inf elsewhere: (queries, globals + window)."""
    window = _inside(band, reach, causal, like)
    return torch.cat([window.new_zeros(len(window), len(band.global_places)), window], dim=1)


def _inside(band: _Band, reach: int, causal: bool, like: Tensor) -> Tensor:
    """0 where a query sees a key of its window and -inf elsewhere; global keys, counted before it, included."""
    queries, columns = band.end - band.start, band.last - band.first
    if band.places is None:
        window = _window_bias(queries, columns, band.start - band.first, reach, causal, like.dtype, like.device)
    else:
        keys = torch.arange(band.first, band.last, device=like.device)
        window = _bias_of(band.places[:, None] - keys, reach, causal, like.dtype)
    if not band.global_places:
        return window
    places = torch.tensor(band.global_places, device=like.device)
    return window.index_fill(1, places[(places >= band.first) & (places < band.last)] - band.first, float("-inf"))


@lru_cache(maxsize=32)
def _window_bias(
    queries: int, columns: int, shift: int, reach: int, causal: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Row i stands `shift` after column 0. All bands but the first and the last are alike."""
    distance = torch.arange(queries, device=device)[:, None] + shift - torch.arange(columns, device=device)
    return _bias_of(distance, reach, causal, dtype)


def _bias_of(distance: Tensor, reach: int, causal: bool, dtype: torch.dtype) -> Tensor:
    """distance: of a query behind a key, (queries, keys)."""
    seen = distance.abs() <= reach
    if causal:
        seen &= distance >= 0
    return torch.zeros(distance.shape, dtype=dtype, device=distance.device).masked_fill(~seen, float("-inf"))
