"""The definition of attention over packed documents, slow and with all scores in memory: what tests compare with."""

from typing import ClassVar

import torch
from medlingua.adapters.kernels.contract import Pattern, Request, sees
from medlingua.adapters.kernels.summed import SummedKernel, no_merge
from torch import Tensor


class Plain:
    """One softmax over all scores, masked by definition."""

    name: ClassVar[str] = "plain"
    summary: ClassVar[str] = "the definition, with all scores in memory"

    def refusal(self, request: Request) -> str | None:
        return None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = torch.einsum("qhd,khd->hqk", query, key) * pattern.scale
        seen = sees(len(key), pattern)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        return torch.einsum("hqk,khd->qhd", weights, value)


class PlainSummed(SummedKernel):
    """The same in the shape of a flash kernel, which gives the log-sums and takes them back."""

    name: ClassVar[str] = "plain-summed"
    summary: ClassVar[str] = "the definition, with the log-sum of each query"

    def refusal(self, request: Request) -> str | None:
        return no_merge(request)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        scores = _scores(query, key, pattern)
        sums = scores.logsumexp(dim=-1)
        weights = (scores - sums[..., None]).exp().to(value.dtype)
        return torch.einsum("hqk,khd->qhd", weights, _grouped(value, query)), sums

    def backward(
        self, d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = (_scores(query, key, pattern) - sums[..., None]).exp()
        d_weights = torch.einsum("qhd,khd->hqk", d_out.float(), _grouped(value, query).float())
        inner = (d_out.float() * out.float()).sum(dim=-1).T[..., None]
        d_scores = weights * (d_weights - inner) * pattern.scale
        d_query = torch.einsum("hqk,khd->qhd", d_scores, _grouped(key, query).float())
        d_key = torch.einsum("hqk,qhd->khd", d_scores, query.float())
        d_value = torch.einsum("hqk,qhd->khd", weights, d_out.float())
        d_key, d_value = (x.view(len(x), key.shape[1], -1, x.shape[2]).sum(dim=2) for x in (d_key, d_value))
        return d_query.to(query.dtype), d_key.to(key.dtype), d_value.to(value.dtype)


def _scores(query: Tensor, key: Tensor, pattern: Pattern) -> Tensor:
    """(H, Q, T) fp32, -inf where a query does not see a key."""
    scores = torch.einsum("qhd,khd->hqk", query.float(), _grouped(key, query).float()) * pattern.scale
    return scores.masked_fill(~sees(len(key), pattern), float("-inf"))


def _grouped(x: Tensor, query: Tensor) -> Tensor:
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1)
