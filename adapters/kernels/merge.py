"""Global tokens merged with a windowed kernel: what a query sees beyond its window, by their log-sums.

    total = logaddexp(log-sum inside the window, log-sum over the global tokens outside it)
    out   = out inside * exp(log-sum inside - total) + sum of exp(score - total) * value over those global tokens

(Liu et al., arXiv 2310.01889, put parts together like this across devices.) Given the merged `out` and `total`, the
windowed kernel's backward pass yields the exact gradients of its own part, because it computes each weight again as
exp(score - total); what the global tokens add is here. On CUDA each direction is one Triton kernel, which reads and
writes each token once; the functions below are its twins in plain torch.

Shapes: T tokens, n global tokens, H heads, D head width.
"""

from functools import cache
from importlib.util import find_spec

import torch
from medlingua.adapters.kernels.contract import document_of
from torch import Tensor


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
    """The windows' out (T, H, D) and log-sums (H, T) fp32, with the global tokens counted in: new ones of both.

    query, key, value: (T, H, D), the heads of a token next to each other in memory.
    """
    if query.device.type == "cuda" and _has_triton():
        from medlingua.adapters.kernels import merge_triton

        return merge_triton.merge(query, key, value, out, sums, cu_seqlens, global_tokens, reach, scale)
    scores = _scores(query, key[global_tokens], cu_seqlens, global_tokens, reach, scale)
    total = torch.logaddexp(sums, scores.logsumexp(dim=-1))
    weights = (scores - total[..., None]).exp()
    share = (sums - total).exp().T[..., None]
    merged = out.float() * share + torch.einsum("htn,nhd->thd", weights, value[global_tokens].float())
    return merged.to(out.dtype), total


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
    """Adds what comes of the global tokens to the gradients of query, key and value, (T, H, D) each, in place."""
    if query.device.type == "cuda" and _has_triton():
        from medlingua.adapters.kernels import merge_triton

        merge_triton.add_gradients(
            d_out, query, key, value, out, total, d_query, d_key, d_value, cu_seqlens, global_tokens, reach, scale
        )
        return
    key, value = key[global_tokens], value[global_tokens]
    scores = _scores(query, key, cu_seqlens, global_tokens, reach, scale)
    weights = (scores - total[..., None]).exp()
    inner = (d_out.float() * out.float()).sum(dim=-1).T[..., None]
    d_scores = weights * (torch.einsum("thd,nhd->htn", d_out.float(), value.float()) - inner) * scale
    d_query += torch.einsum("htn,nhd->thd", d_scores, key.float()).to(d_query.dtype)
    d_key.index_add_(0, global_tokens, torch.einsum("htn,thd->nhd", d_scores, query.float()).to(d_key.dtype))
    d_value.index_add_(0, global_tokens, torch.einsum("htn,thd->nhd", weights, d_out.float()).to(d_value.dtype))


@cache
def _has_triton() -> bool:
    """torch brings it along on Linux."""
    return find_spec("triton") is not None


def _scores(
    query: Tensor, key: Tensor, cu_seqlens: Tensor, global_tokens: Tensor, reach: int, scale: float
) -> Tensor:
    """(H, T, n) fp32, -inf but for global tokens of the query's own document beyond its window."""
    places = torch.arange(len(query), device=query.device)
    together = document_of(places, cu_seqlens)[:, None] == document_of(global_tokens, cu_seqlens)[None]
    outside = together & ((places[:, None] - global_tokens[None]).abs() > reach)
    scores = torch.einsum("thd,nhd->htn", query.float(), key.float()) * scale
    return scores.masked_fill(~outside, float("-inf"))
