"""Flash attention over documents of any length: torch's own kernels, and those of the package flash-attn.

Dao, arXiv 2307.08691 (version 2) and Shah et al., arXiv 2407.08608 (version 3).
"""

from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from medlingua.adapters.kernels.contract import Pattern, Request, capability
from medlingua.adapters.kernels.summed import SummedKernel, no_merge
from torch import Tensor

_WIDEST = 256  # of a head


def _refusal(request: Request) -> str | None:
    """What all versions have in common."""
    if request.device.type != "cuda":
        return "needs a CUDA device"
    if request.dtype not in (torch.float16, torch.bfloat16):
        return "takes bf16 and fp16 alone"
    if capability(request.device) < (8, 0):
        return "needs compute capability 8.0 (A100, RTX 30) or later"
    if request.head_width > _WIDEST or request.head_width % 8:
        return f"takes head widths of a multiple of 8 up to {_WIDEST}"
    if request.selected and request.window:
        return "counts to find the position of a query: no selected queries with a window"
    return no_merge(request)


class TorchFlash(SummedKernel):
    """torch's own kernel, version 2 of flash attention, present in every CUDA build since torch 2.11."""

    name: ClassVar[str] = "varlen"
    summary: ClassVar[str] = "torch's variable-length flash attention"

    def refusal(self, request: Request) -> str | None:
        if not _has_windows():
            return "needs torch 2.11, whose flash attention has windows"
        return _refusal(request)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        before, after = pattern.window
        out, sums, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, pattern.cu_seqlens_q, pattern.cu_seqlens, pattern.max_seqlen, pattern.max_seqlen,
            0.0, pattern.causal, False, scale=pattern.scale, window_size_left=before, window_size_right=after,
        )  # fmt: skip
        return out, sums

    def backward(
        self, d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor, Tensor]:
        before, after = pattern.window
        no_draws = torch.zeros(2, dtype=torch.uint64, device=query.device)  # of dropout, which is 0
        return torch.ops.aten._flash_attention_backward(  # type: ignore[no-any-return]
            d_out, query, key, value, out, sums.contiguous(), pattern.cu_seqlens_q, pattern.cu_seqlens,
            pattern.max_seqlen, pattern.max_seqlen, 0.0, pattern.causal, no_draws, query.new_empty(0),
            scale=pattern.scale, window_size_left=before, window_size_right=after,
        )  # fmt: skip


class TorchFlash3(TorchFlash):
    """Version 3, for Hopper. torch puts it behind the same operators once it is activated."""

    name: ClassVar[str] = "flash3"
    summary: ClassVar[str] = "flash attention 3 through torch"

    def refusal(self, request: Request) -> str | None:
        if find_spec("flash_attn_interface") is None:
            return "the package flash-attn-3 is not installed"
        if not hasattr(torch.nn.attention, "activate_flash_attention_impl"):
            return "needs torch 2.11, which can activate it"
        return super().refusal(request) or (
            None if capability(request.device)[0] == 9 else "needs a Hopper GPU (H100, H200)"
        )

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        _activate_version_3()
        return super().forward(query, key, value, pattern)


class PackageFlash(SummedKernel):
    """The kernel of the package flash-attn, version 2."""

    name: ClassVar[str] = "flash"
    summary: ClassVar[str] = "the package flash-attn"

    def refusal(self, request: Request) -> str | None:
        if find_spec("flash_attn") is None:
            return "the package flash-attn is not installed"
        return _refusal(request)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        from flash_attn.flash_attn_interface import _flash_attn_varlen_forward

        before, after = pattern.window
        out, sums, *_ = _flash_attn_varlen_forward(
            query, key, value, pattern.cu_seqlens_q, pattern.cu_seqlens, pattern.max_seqlen, pattern.max_seqlen,
            0.0, pattern.scale, pattern.causal, window_size_left=before, window_size_right=after,
        )  # fmt: skip
        return out, sums

    def backward(
        self, d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor, Tensor]:
        from flash_attn.flash_attn_interface import _flash_attn_varlen_backward

        before, after = pattern.window
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        _flash_attn_varlen_backward(
            d_out, query, key, value, out, sums.contiguous(), d_query, d_key, d_value, pattern.cu_seqlens_q,
            pattern.cu_seqlens, pattern.max_seqlen, pattern.max_seqlen, 0.0, pattern.scale, pattern.causal,
            before, after, 0.0, None, False,
        )  # fmt: skip
        return d_query, d_key, d_value


@cache
def _has_windows() -> bool:
    schema: Any = torch.ops.aten._flash_attention_forward.default._schema
    return any(argument.name == "window_size_left" for argument in schema.arguments)


@cache
def _activate_version_3() -> None:
    torch.nn.attention.activate_flash_attention_impl("FA3")
