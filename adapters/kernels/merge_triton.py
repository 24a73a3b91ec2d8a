"""merge() and add_gradients() in Triton: a block of tokens of one head a program, the global tokens one by one.

A program finds the documents of its tokens, and their global tokens, by bisection: less than a kernel each to prepare
them in every layer.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 64  # tokens


@triton.jit
def _document(token, borders, documents, steps):
    """Of each token the first token of its document, and that of the next one."""
    low, high = tl.zeros_like(token), tl.zeros_like(token) + documents
    for _ in range(steps):
        middle = (low + high) // 2
        behind = tl.load(borders + middle) <= token
        low, high = tl.where(behind, middle, low), tl.where(behind, high, middle)
    return tl.load(borders + low), tl.load(borders + low + 1)


@triton.jit
def _before(value, places, count, steps):
    """How many of the ascending places lie before the value."""
    low, high = tl.zeros_like(value), tl.zeros_like(value) + count
    for _ in range(steps):
        middle = (low + high) // 2
        between = low < high
        behind = tl.load(places + middle, mask=between, other=0) < value
        low, high = tl.where(between & behind, middle + 1, low), tl.where(between & (behind == 0), middle, high)
    return low


@triton.jit
def _merge(
    query, key, value, out, sums, merged, total, borders, places, tokens, documents, document_steps, count, steps,
    query_stride, key_stride, value_stride, reach, scale,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, head, column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.arange(0, PADDED)
    real = token < tokens
    token = tl.minimum(token, tokens - 1)
    inside = real[:, None] & (column < WIDTH)[None, :]
    row = (token[:, None].to(tl.int64) * HEADS + head) * WIDTH + column[None, :]
    q_row = token[:, None].to(tl.int64) * query_stride + head * WIDTH + column[None, :]
    q = tl.load(query + q_row, mask=inside, other=0.0).to(tl.float32)
    mixed = tl.load(out + row, mask=inside, other=0.0).to(tl.float32)
    log_sum = tl.load(sums + head * tokens + token)
    begin, end = _document(token, borders, documents, document_steps)
    first, last = _before(tl.min(begin), places, count, steps), _before(tl.max(end), places, count, steps)
    for number in range(first, last):
        place = tl.load(places + number)
        seen = (place >= begin) & (place < end) & (tl.abs(token - place) > reach)
        if tl.max(seen.to(tl.int32)) > 0:
            at = head * WIDTH + column
            k = tl.load(key + place * key_stride + at, mask=column < WIDTH, other=0.0).to(tl.float32)
            v = tl.load(value + place * value_stride + at, mask=column < WIDTH, other=0.0).to(tl.float32)
            score = tl.where(seen, tl.sum(q * k[None, :], axis=1) * scale, float("-inf"))
            largest = tl.maximum(log_sum, score)
            new = largest + tl.log(tl.exp(log_sum - largest) + tl.exp(score - largest))
            mixed = mixed * tl.exp(log_sum - new)[:, None] + tl.exp(score - new)[:, None] * v[None, :]
            log_sum = new
    tl.store(merged + row, mixed.to(merged.dtype.element_ty), mask=inside)
    tl.store(total + head * tokens + token, log_sum, mask=real)


@triton.jit
def _add_gradients(
    d_out, query, key, value, out, total, d_query, d_key, d_value, borders, places, tokens, documents,
    document_steps, count, steps, query_stride, key_stride, value_stride, reach, scale,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, head, column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.arange(0, PADDED)
    real = token < tokens
    token = tl.minimum(token, tokens - 1)
    inside = real[:, None] & (column < WIDTH)[None, :]
    row = (token[:, None].to(tl.int64) * HEADS + head) * WIDTH + column[None, :]
    begin, end = _document(token, borders, documents, document_steps)
    first, last = _before(tl.min(begin), places, count, steps), _before(tl.max(end), places, count, steps)
    if first < last:
        q_row = token[:, None].to(tl.int64) * query_stride + head * WIDTH + column[None, :]
        q = tl.load(query + q_row, mask=inside, other=0.0).to(tl.float32)
        d_o = tl.load(d_out + row, mask=inside, other=0.0).to(tl.float32)
        inner = tl.sum(d_o * tl.load(out + row, mask=inside, other=0.0).to(tl.float32), axis=1)
        log_sum = tl.load(total + head * tokens + token)
        d_q = tl.load(d_query + row, mask=inside, other=0.0).to(tl.float32)
        for number in range(first, last):
            place = tl.load(places + number)
            seen = real & (place >= begin) & (place < end) & (tl.abs(token - place) > reach)
            if tl.max(seen.to(tl.int32)) > 0:
                at = head * WIDTH + column
                k = tl.load(key + place * key_stride + at, mask=column < WIDTH, other=0.0).to(tl.float32)
                v = tl.load(value + place * value_stride + at, mask=column < WIDTH, other=0.0).to(tl.float32)
                weight = tl.where(seen, tl.exp(tl.sum(q * k[None, :], axis=1) * scale - log_sum), 0.0)
                d_score = weight * (tl.sum(d_o * v[None, :], axis=1) - inner) * scale
                d_q += d_score[:, None] * k[None, :]
                to = number * HEADS * WIDTH + at
                tl.atomic_add(d_key + to, tl.sum(d_score[:, None] * q, axis=0), mask=column < WIDTH)
                tl.atomic_add(d_value + to, tl.sum(weight[:, None] * d_o, axis=0), mask=column < WIDTH)
        tl.store(d_query + row, d_q.to(d_query.dtype.element_ty), mask=inside)


def merge(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    sums: Tensor,
    cu_seqlens: Tensor,
    global_tokens: Tensor,
    reach: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """See merge.merge()."""
    tokens, heads, width = query.shape
    merged = torch.empty_like(out, memory_format=torch.contiguous_format)
    total = torch.empty_like(sums, memory_format=torch.contiguous_format)
    _merge[triton.cdiv(tokens, _BLOCK), heads](
        query, key, value, out.contiguous(), sums.contiguous(), merged, total,
        *_searched(tokens, cu_seqlens, global_tokens), query.stride(0), key.stride(0), value.stride(0), reach, scale,
        HEADS=heads, WIDTH=width, PADDED=triton.next_power_of_2(width), BLOCK=_BLOCK,
    )  # fmt: skip
    return merged, total


def add_gradients(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    total: Tensor,
    d_query: Tensor,
    d_key: Tensor,
    d_value: Tensor,
    cu_seqlens: Tensor,
    global_tokens: Tensor,
    reach: int,
    scale: float,
) -> None:
    """See merge.add_gradients(). The sums over tokens are atomic: their last bits differ from run to run."""
    tokens, heads, width = query.shape
    # The sums are in fp32, and atomic ones in bf16 are not to be had on every GPU.
    further = torch.zeros(2, len(global_tokens), heads, width, dtype=torch.float32, device=key.device)
    _add_gradients[triton.cdiv(tokens, _BLOCK), heads](
        d_out.contiguous(), query, key, value, out.contiguous(), total.contiguous(), d_query, *further,
        *_searched(tokens, cu_seqlens, global_tokens), query.stride(0), key.stride(0), value.stride(0), reach, scale,
        HEADS=heads, WIDTH=width, PADDED=triton.next_power_of_2(width), BLOCK=_BLOCK,
    )  # fmt: skip
    for gradient, part in zip((d_key, d_value), further.to(d_key.dtype), strict=True):
        gradient.index_add_(0, global_tokens, part)


def _searched(tokens: int, cu_seqlens: Tensor, global_tokens: Tensor) -> tuple[Tensor | int, ...]:
    """The borders of documents and the global tokens, with how many there are and how many steps find one."""
    documents, count = len(cu_seqlens) - 1, len(global_tokens)
    return (
        cu_seqlens, global_tokens, tokens, documents, (documents - 1).bit_length(), count, count.bit_length(),
    )  # fmt: skip
