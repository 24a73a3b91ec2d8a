"""torch's FlexAttention (arXiv 2412.05496): any pattern, compiled, by blocks in which some query sees a key."""

from functools import cache, lru_cache
from typing import Any, ClassVar

import torch
from medlingua.adapters.kernels.contract import Pattern, Request, document_of
from torch import Tensor

_NARROWEST = 16  # of a head, on CUDA


class Flex:
    """The twin of the merged kernels on CUDA, and what takes over where they would need too much memory."""

    name: ClassVar[str] = "flex"
    summary: ClassVar[str] = "torch's FlexAttention, compiled on the first use"

    def refusal(self, request: Request) -> str | None:
        if request.selected:
            return "takes no query_positions"
        if request.device.type == "cuda" and request.head_width < _NARROWEST:
            return f"takes heads of at least {_NARROWEST}"
        return None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
        flex, _ = _functions(query.device.type)
        mask = _mask(len(key), pattern.cu_seqlens, pattern.global_tokens, pattern.reach, pattern.causal)
        q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
        grouped = query.shape[1] != key.shape[1]
        out: Tensor = flex(q, k, v, block_mask=mask, scale=pattern.scale, enable_gqa=grouped)
        return out[0].transpose(0, 1)


@lru_cache(maxsize=4)  # all layers of a kind pass the same tensors, which are hashed by identity
def _mask(tokens: int, cu_seqlens: Tensor, global_tokens: Tensor | None, reach: int | None, causal: bool) -> Any:
    _, make = _functions(cu_seqlens.device.type)
    document = document_of(torch.arange(tokens, device=cu_seqlens.device), cu_seqlens)
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
def _functions(device: str) -> tuple[Any, Any]:
    """flex_attention and create_block_mask, compiled on CUDA; uncompiled they are slow."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if device != "cuda":
        return flex_attention, create_block_mask
    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)
