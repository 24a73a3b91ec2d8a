"""attend(): attention over packed documents, with windows, that no document crosses.

A packed batch is one row of T tokens; `cu_seqlens` holds the document borders. transformers masks
padding, not packing: restarting `position_ids` does not separate documents in a bidirectional model
(TRAPS O8). `register()` makes attend() an attention implementation of transformers, with the mask
function that a custom name loses otherwise (O9), so every family that asks its attention interface
gets packed documents without a patched class.

Shapes: T tokens in all documents, H query heads, G key heads (H a multiple of G), D head width. The ways to compute
it are in kernels/, one file a kernel.
"""

from functools import cache
from typing import Any, Literal

import torch
from medlingua.adapters.kernels.choice import KERNELS, choose
from medlingua.adapters.kernels.contract import Pattern, Request, sees
from medlingua.adapters.kernels.summed import SummedKernel
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "medlingua"
Backend = Literal["plain", "plain-summed", "blockwise", "efficient", "varlen", "flash", "flash3", "flex"]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    max_seqlen: int | None = None,
    query_positions: Tensor | None = None,
    global_tokens: Tensor | None = None,
    reach: int | None = None,
    scale: float | None = None,
    causal: bool = False,
    global_queries: bool = True,
    backend: Backend | None = None,
) -> Tensor:
    """Attention inside each packed document.

    query: (T, H, D) float; key, value: (T, G, D). cu_seqlens: (documents + 1,) int32, 0 first, T last.
    max_seqlen: no document is longer. None: read from cu_seqlens, for which a GPU's queue has to be waited for.
    query_positions: (M,) int64, ascending: the tokens that are queries, where not all are; query is (M, H, D) then.
    Not with causal, nor with reach on the flash kernels, which count to find the position of a query.
    global_tokens: (n,) int64, ascending: tokens that see their whole document and are seen by all of it, whatever the
    reach; not with causal. On a CPU those outside the documents are named; a GPU would have to be waited for.
    reach: a token sees tokens at most this far away on each side (half of a window's width); None: all.
    scale: factor on the scores, default D ** -0.5. causal: a token sees no later token.
    global_queries: False where the caller replaces what the global tokens get: it may then be anything.
    backend: None for the kernel of choose(). Returns the shape and dtype of query.
    """
    if query_positions is not None and causal:
        raise ValueError("query_positions: not with causal")
    if global_tokens is not None:
        _check_global(global_tokens, cu_seqlens, causal)
    arguments = (query.device, query.dtype, query.shape[-1], query.shape[1] != key.shape[1])
    traced = torch.compiler.is_compiling()
    kernel = KERNELS[
        _chosen(
            *arguments,
            reach is not None,
            causal,
            global_tokens is not None,
            query_positions is not None,
            traced,
            backend,
        )
    ]
    if max_seqlen is None:
        max_seqlen = int(cu_seqlens.diff().max())
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    pattern = Pattern(cu_seqlens, max_seqlen, factor, reach, causal, query_positions, global_tokens)
    if global_tokens is None or not isinstance(kernel, SummedKernel):
        return kernel(query, key, value, pattern)
    out = kernel(query, key, value, pattern)
    if not global_queries:
        return out
    whole = Pattern(cu_seqlens, max_seqlen, factor, query_positions=global_tokens)
    again = KERNELS[_chosen(*arguments, False, False, False, True, traced, None)]
    return out.index_copy(0, global_tokens, again(query[global_tokens], key, value, whole))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _chosen(*arguments: Any) -> str:
    """_choose() of the same arguments; a compiler need not look into it."""
    return _choose(*arguments)


@cache
def _choose(
    device: torch.device,
    dtype: torch.dtype,
    head_width: int,
    grouped: bool,
    window: bool,
    causal: bool,
    global_tokens: bool,
    selected: bool,
    traced: bool,
    backend: Backend | None,
) -> str:
    """Name of the kernel; ValueError where the one that is asked for refuses."""
    request = Request(device, dtype, head_width, grouped, window, causal, global_tokens, selected, traced)
    if backend is None:
        return choose(request).kernel.name
    if refusal := KERNELS[backend].refusal(request):
        raise ValueError(f"backend {backend}: {refusal}")
    return backend


def _check_global(global_tokens: Tensor, cu_seqlens: Tensor, causal: bool) -> None:
    if causal:
        raise ValueError("global tokens see the whole document: not with causal")
    if global_tokens.device.type != "cpu" or torch.compiler.is_compiling():
        return
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
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    pattern = Pattern(cu_seqlens, 0, factor, reach, causal, query_positions, global_tokens)
    return KERNELS["plain"](query, key, value, pattern)


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
    max_length_q: int | None = None,
    query_positions: Tensor | None = None,
    causal: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: query (B, H, L, D), key and value (B, G, L, D) -> (B, L, H, D).

    query_positions: (M,) int64, the rows of the batch's tokens that will be used; the others may be anything.
    causal: no token sees a later one; of packed rows alone, not with a padding mask.
    dropout: of attention weights. Our kernels have none, so that it goes through scaled_dot_product_attention
    with a whole mask: exact, at a memory that grows with the square of the tokens.
    """
    batch, _, length, _ = query.shape
    if causal and (attention_mask is not None or query_positions is not None):
        raise ValueError("causal: not with a padding mask, nor with query_positions")
    # Families pass half the window plus one, flash attention's inclusive bound.
    reach = None if sliding_window is None else sliding_window - 1
    if dropout and attention_mask is None:
        borders = torch.tensor([0, length], device=query.device) if cu_seq_lens_q is None else cu_seq_lens_q
        attention_mask = sees(length, Pattern(borders, length, 1.0, reach, causal))[None, None]
    if attention_mask is not None:
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
        return out.transpose(1, 2), None
    if cu_seq_lens_q is None:
        cu_seq_lens_q = torch.arange(0, (batch + 1) * length, length, dtype=torch.int32, device=query.device)
        max_length_q = length
    # Rotations in fp32 leave fp32 queries and keys under autocast, with bf16 values.
    q, k, v = (x.to(value.dtype).transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    if query_positions is None or reach is not None:
        out = attend(q, k, v, cu_seq_lens_q, max_seqlen=max_length_q, reach=reach, scale=scaling, causal=causal)
    else:
        selected = attend(
            q[query_positions], k, v, cu_seq_lens_q,
            max_seqlen=max_length_q, query_positions=query_positions, scale=scaling,
        )  # fmt: skip
        out = selected.new_zeros(q.shape[0], *selected.shape[1:]).index_copy(0, query_positions, selected)
    return out.reshape(batch, length, *out.shape[1:]), None
