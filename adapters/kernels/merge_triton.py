"""merge() and add_gradients() in Triton: a block of tokens of one head a program, the global tokens one by one."""

import torch
import triton
import triton.language as tl
from medlingua.adapters.kernels.contract import borders_among, document_of
from torch import Tensor

_BLOCK = 64  # tokens


@triton.jit
def _merge(
    query, key, value, out, sums, merged, total, document, places, borders, tokens, query_stride, reach, scale,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, head, column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.arange(0, PADDED)
    real = token < tokens
    inside = real[:, None] & (column < WIDTH)[None, :]
    row = (token[:, None].to(tl.int64) * HEADS + head) * WIDTH + column[None, :]
    q_row = token[:, None].to(tl.int64) * query_stride + head * WIDTH + column[None, :]
    q = tl.load(query + q_row, mask=inside, other=0.0).to(tl.float32)
    mixed = tl.load(out + row, mask=inside, other=0.0).to(tl.float32)
    log_sum = tl.load(sums + head * tokens + token, mask=real, other=0.0)
    mine = tl.load(document + token, mask=real, other=-1)
    last = tl.max(mine)
    first = tl.min(tl.where(real, mine, last))
    for number in range(tl.load(borders + first), tl.load(borders + last + 1)):
        place = tl.load(places + number)
        seen = real & (mine == tl.load(document + place)) & (tl.abs(token - place) > reach)
        if tl.max(seen.to(tl.int32)) > 0:
            at = (number * HEADS + head) * WIDTH + column
            k = tl.load(key + at, mask=column < WIDTH, other=0.0).to(tl.float32)
            v = tl.load(value + at, mask=column < WIDTH, other=0.0).to(tl.float32)
            score = tl.where(seen, tl.sum(q * k[None, :], axis=1) * scale, float("-inf"))
            largest = tl.maximum(log_sum, score)
            new = largest + tl.log(tl.exp(log_sum - largest) + tl.exp(score - largest))
            mixed = mixed * tl.exp(log_sum - new)[:, None] + tl.exp(score - new)[:, None] * v[None, :]
            log_sum = new
    tl.store(merged + row, mixed.to(merged.dtype.element_ty), mask=inside)
    tl.store(total + head * tokens + token, log_sum, mask=real)


@triton.jit
def _add_gradients(
    d_out, query, key, value, out, total, d_query, d_key, d_value, document, places, borders, tokens, query_stride,
    reach, scale, HEADS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, head, column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.arange(0, PADDED)
    real = token < tokens
    inside = real[:, None] & (column < WIDTH)[None, :]
    row = (token[:, None].to(tl.int64) * HEADS + head) * WIDTH + column[None, :]
    mine = tl.load(document + token, mask=real, other=-1)
    last = tl.max(mine)
    first = tl.min(tl.where(real, mine, last))
    begin, end = tl.load(borders + first), tl.load(borders + last + 1)
    if begin < end:
        q_row = token[:, None].to(tl.int64) * query_stride + head * WIDTH + column[None, :]
        q = tl.load(query + q_row, mask=inside, other=0.0).to(tl.float32)
        d_o = tl.load(d_out + row, mask=inside, other=0.0).to(tl.float32)
        inner = tl.sum(d_o * tl.load(out + row, mask=inside, other=0.0).to(tl.float32), axis=1)
        log_sum = tl.load(total + head * tokens + token, mask=real, other=0.0)
        d_q = tl.load(d_query + row, mask=inside, other=0.0).to(tl.float32)
        for number in range(begin, end):
            place = tl.load(places + number)
            seen = real & (mine == tl.load(document + place)) & (tl.abs(token - place) > reach)
            if tl.max(seen.to(tl.int32)) > 0:
                at = (number * HEADS + head) * WIDTH + column
                k = tl.load(key + at, mask=column < WIDTH, other=0.0).to(tl.float32)
                v = tl.load(value + at, mask=column < WIDTH, other=0.0).to(tl.float32)
                weight = tl.where(seen, tl.exp(tl.sum(q * k[None, :], axis=1) * scale - log_sum), 0.0)
                d_score = weight * (tl.sum(d_o * v[None, :], axis=1) - inner) * scale
                d_q += d_score[:, None] * k[None, :]
                tl.atomic_add(d_key + at, tl.sum(d_score[:, None] * q, axis=0), mask=column < WIDTH)
                tl.atomic_add(d_value + at, tl.sum(weight[:, None] * d_o, axis=0), mask=column < WIDTH)
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
        query, key.contiguous(), value.contiguous(), out.contiguous(), sums.contiguous(), merged, total,
        *_documents(tokens, cu_seqlens, global_tokens), tokens, query.stride(0), reach, scale,
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
    cu_seqlens: Tensor,
    global_tokens: Tensor,
    reach: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """See merge.add_gradients(). The sums over tokens are atomic: their last bits differ from run to run."""
    tokens, heads, width = query.shape
    d_key, d_value = (torch.zeros(key.shape, dtype=torch.float32, device=key.device) for _ in range(2))
    _add_gradients[triton.cdiv(tokens, _BLOCK), heads](
        d_out.contiguous(), query, key.contiguous(), value.contiguous(), out.contiguous(), total.contiguous(),
        d_query, d_key, d_value, *_documents(tokens, cu_seqlens, global_tokens), tokens, query.stride(0), reach,
        scale,
        HEADS=heads, WIDTH=width, PADDED=triton.next_power_of_2(width), BLOCK=_BLOCK,
    )  # fmt: skip
    return d_key, d_value


def _documents(tokens: int, cu_seqlens: Tensor, global_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token its document, (tokens,) int32; the global tokens; and their borders by document."""
    document = document_of(torch.arange(tokens, device=cu_seqlens.device), cu_seqlens).to(torch.int32)
    return document, global_tokens.to(torch.int32), borders_among(global_tokens, cu_seqlens)
