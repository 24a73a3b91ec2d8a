"""Kernels that give the log-sum of each query's scores and take it back: flash attention and its like.

With the log-sums attention can be put together from parts: a Longformer layer takes the windowed kernel for the
tokens near a query, and merge.py for the global tokens beyond them. All is one custom operator, so that torch.compile
traces through a layer without a break.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from medlingua.adapters.kernels.contract import Pattern, Request
from medlingua.adapters.kernels.merge import add_gradients, merge
from torch import Tensor


class SummedKernel(ABC):
    """forward gives (out, log-sums (H, Q) fp32); backward takes them back. Neither knows of global tokens."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def refusal(self, request: Request) -> str | None: ...

    @abstractmethod
    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def backward(
        self, d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
        query, key, value = (_head_by_head(x) for x in (query, key, value))
        out: Tensor = _attend(
            query, key, value, pattern.cu_seqlens, pattern.query_positions, pattern.global_tokens, pattern.max_seqlen,
            pattern.scale, pattern.reach, pattern.causal, self.name,
        )[0]  # fmt: skip
        return out


def no_merge(request: Request) -> str | None:
    """Why global tokens cannot be merged with a kernel's windows, or None."""
    if request.grouped and request.global_tokens:
        return "global tokens are not merged for grouped heads"
    return None


KERNELS: dict[str, SummedKernel] = {}  # by name, for the operator, which takes no objects


@torch.library.custom_op("medlingua::attend", mutates_args=())
def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    query_positions: Tensor | None,
    global_tokens: Tensor | None,
    max_seqlen: int,
    scale: float,
    reach: int | None,
    causal: bool,
    kernel: str,
) -> tuple[Tensor, Tensor]:
    """(out (Q, H, D), log-sums (H, Q) fp32)."""
    local = Pattern(cu_seqlens, max_seqlen, scale, reach, causal, query_positions)
    out, sums = KERNELS[kernel].forward(query, key, value, local)
    if global_tokens is None or reach is None:
        return out, sums
    return merge(query, key, value, out, sums, cu_seqlens, global_tokens, reach, scale)


@_attend.register_fake
def _(query: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    queries, heads, _ = query.shape
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    return out, query.new_empty(heads, queries, dtype=torch.float32)


@torch.library.custom_op("medlingua::attend_backward", mutates_args=())
def _attend_backward(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    sums: Tensor,
    cu_seqlens: Tensor,
    query_positions: Tensor | None,
    global_tokens: Tensor | None,
    max_seqlen: int,
    scale: float,
    reach: int | None,
    causal: bool,
    kernel: str,
) -> tuple[Tensor, Tensor, Tensor]:
    local = Pattern(cu_seqlens, max_seqlen, scale, reach, causal, query_positions)
    d_out = d_out.contiguous()
    d_query, d_key, d_value = KERNELS[kernel].backward(d_out, query, key, value, out, sums, local)
    if global_tokens is not None and reach is not None:
        d_query = d_query.contiguous()
        add_gradients(
            d_out, query, key, value, out, sums, d_query, d_key, d_value, cu_seqlens, global_tokens, reach, scale
        )
    return d_query, d_key, d_value


@_attend_backward.register_fake
def _(d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (query, key, value))
    return q, k, v


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, cu_seqlens, query_positions, global_tokens, *ctx.settings = inputs
    ctx.save_for_backward(query, key, value, *output, cu_seqlens, query_positions, global_tokens)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, d_out: Tensor | None, d_sums: Tensor | None) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return (None,) * 11
    return (*_attend_backward(d_out, *ctx.saved_tensors, *ctx.settings), *(None,) * 8)


_attend.register_autograd(_differentiate, setup_context=_save)


def _head_by_head(x: Tensor) -> Tensor:
    """The heads of a token next to each other in memory, so that what the operator returns is laid out as it says."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()
