"""torch's memory-efficient attention: fp32 and old GPUs too, and windows by blocks of tokens.

The kernel (Rabe and Staats, arXiv 2112.05682; xFormers' implementation) knows documents of any length, but no window.
So with a window the row is cut into blocks of queries, whatever documents they belong to, each with the keys that it
can reach, and a bias leaves out what a query does not see. All blocks are one call.
"""

from typing import ClassVar

import torch
from medlingua.adapters.kernels.contract import Pattern, Request, document_of
from medlingua.adapters.kernels.summed import SummedKernel, no_merge
from torch import Tensor
from torch.nn.functional import pad

_LEAST = 64  # queries of a block
_ALIGNED = 16  # rows of the bias begin at multiples of so many entries, as the kernel needs
_ROWS = 32  # log-sums of a document are stored in multiples of so many


class Efficient(SummedKernel):
    name: ClassVar[str] = "efficient"
    summary: ClassVar[str] = "torch's memory-efficient attention, windows by blocks of tokens"

    def refusal(self, request: Request) -> str | None:
        if request.causal and request.device.type == "cuda":
            return "causal attention on CUDA is left to the other kernels"
        if request.selected and (request.window or request.device.type != "cuda"):
            return "computes blocks of neighbouring queries: no selected queries with a window, nor without CUDA"
        return no_merge(request)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
        if _whole(query, pattern):
            out, sums, *_ = torch.ops.aten._efficient_attention_forward(
                query[None], key[None], value[None], None, pattern.cu_seqlens_q, pattern.cu_seqlens,
                *_longest(query, key, pattern), 0.0, 0, True, scale=pattern.scale,
            )  # fmt: skip
            return out[0], _by_token(sums, pattern.cu_seqlens_q, len(query))
        blocks = Blocks(query, pattern)
        out, sums = dense_forward(*blocks.cut(query, key, value), blocks.bias, pattern.scale)
        return blocks.join(out), blocks.join_sums(sums)

    def backward(
        self, d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor, Tensor]:
        groups = query.shape[1] // key.shape[1]
        wide_key, wide_value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
        if _whole(query, pattern):
            no_draws = torch.zeros((), dtype=torch.int64)  # of dropout, which is 0
            longest = _longest(query, key, pattern)
            d_query, d_key, d_value, _ = torch.ops.aten._efficient_attention_backward(
                d_out[None], query[None], wide_key[None], wide_value[None], None, out[None], pattern.cu_seqlens_q,
                pattern.cu_seqlens, *longest, _by_document(sums, pattern.cu_seqlens_q, longest[0]), 0.0, no_draws,
                no_draws, 0, False, scale=pattern.scale,
            )  # fmt: skip
            d_query, d_key, d_value = d_query[0], d_key[0], d_value[0]
        else:
            blocks = Blocks(query, pattern)
            gradients = dense_backward(
                blocks.cut_queries(d_out), *blocks.cut(query, wide_key, wide_value), blocks.cut_queries(out),
                blocks.cut_sums(sums), blocks.bias, pattern.scale,
            )  # fmt: skip
            d_query, d_key, d_value = blocks.join(gradients[0]), *map(blocks.add_up, gradients[1:])
        if groups > 1:
            d_key, d_value = (x.view(len(x), -1, groups, x.shape[2]).sum(dim=2) for x in (d_key, d_value))
        return d_query.contiguous(), d_key.contiguous(), d_value.contiguous()


class Blocks:
    """A row of T tokens as N blocks of B queries, each with the B + 2 * reach keys around it.

    bias: (N, 1, B, K) of the queries' dtype, 0 where a query sees a key and -inf elsewhere, K the keys of a block. A
    query behind the last token sees itself alone, so that no sum is empty.
    """

    def __init__(self, query: Tensor, pattern: Pattern) -> None:
        reach = pattern.max_seqlen - 1 if pattern.reach is None else pattern.reach
        self.tokens, self.reach = len(query), reach
        self.size = max(_LEAST, 1 << (reach - 1).bit_length() if reach else 0)
        self.count = -(-self.tokens // self.size)
        self.behind = self.count * self.size - self.tokens
        device = query.device
        queries = torch.arange(self.count * self.size, device=device).view(self.count, self.size, 1)
        keys = (
            torch.arange(self.size + 2 * reach, device=device)
            - reach
            + self.size * torch.arange(self.count, device=device).view(self.count, 1, 1)
        )
        document = document_of(torch.arange(self.tokens, device=device), pattern.cu_seqlens)
        of_queries = pad(document, (0, self.behind), value=-1).view(self.count, self.size, 1)
        of_keys = self._windows(pad(document, (reach, reach + self.behind), value=-2))[:, None, :]
        ahead = keys - queries
        near = (ahead >= -reach) & (ahead <= (0 if pattern.causal else reach))
        seen = (of_queries == of_keys) & near | (ahead == 0)
        width = seen.shape[2] + -seen.shape[2] % _ALIGNED
        bias = query.new_full((self.count, 1, self.size, width), float("-inf"))
        self.bias = bias[..., : seen.shape[2]].masked_fill_(seen[:, None], 0.0)

    def cut(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, H, D) each -> (N, H, B, D), and (N, H, K, D) twice."""
        around = (0, 0, 0, 0, self.reach, self.reach + self.behind)
        key, value = (self._windows(pad(x, around)).transpose(2, 3) for x in (key, value))
        return self.cut_queries(query), key, value

    def cut_queries(self, x: Tensor) -> Tensor:
        return pad(x, (0, 0, 0, 0, 0, self.behind)).view(self.count, self.size, *x.shape[1:]).transpose(1, 2)

    def cut_sums(self, sums: Tensor) -> Tensor:
        """(H, T) -> (N, H, B). Behind the last token a query sees itself, a key of zeros: its sum is 0."""
        return pad(sums, (0, self.behind)).view(len(sums), self.count, self.size).transpose(0, 1)

    def join(self, x: Tensor) -> Tensor:
        """(N, H, B, D) -> (T, H, D), contiguous."""
        return x.transpose(1, 2).reshape(-1, *x.shape[1::2])[: self.tokens].contiguous()

    def join_sums(self, sums: Tensor) -> Tensor:
        return sums.transpose(0, 1).flatten(1)[:, : self.tokens].contiguous()

    def add_up(self, x: Tensor) -> Tensor:
        """Gradients of the blocks' keys or values, (N, H, K, D) -> (T, H, D): each token's from all its blocks."""
        x = x.transpose(1, 2)  # (N, K, H, D)
        starts = range(0, x.shape[1], self.size)  # of parts of the blocks that do not overlap each other
        total = x.new_zeros(self.count * self.size + starts[-1], *x.shape[2:], dtype=torch.float32)
        for start in starts:
            part = x[:, start : start + self.size]
            rows = total[start : start + self.count * self.size].view(self.count, self.size, *x.shape[2:])
            rows[:, : part.shape[1]] += part
        return total[self.reach : self.reach + self.tokens].to(x.dtype)

    def _windows(self, x: Tensor) -> Tensor:
        """(T + behind + 2 * reach, ...) -> (N, ..., K): the overlapping windows, a view."""
        return x.unfold(0, self.size + 2 * self.reach, self.size)


def dense_forward(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """query (N, H, B, D), key and value (N, H, K, D), bias (N, 1, B, K) -> out (N, H, B, D), log-sums (N, H, B)."""
    if query.device.type == "cuda":
        out, sums, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, bias.expand(-1, query.shape[1], -1, -1), True, scale=scale
        )
        return out, sums
    scores = (query @ key.transpose(2, 3)).float() * scale + bias
    sums = scores.logsumexp(dim=-1)
    return (scores - sums[..., None]).exp().to(value.dtype) @ value, sums


def dense_backward(
    d_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of dense_forward, shapes as there."""
    if query.device.type == "cuda":
        no_draws = torch.zeros((), dtype=torch.int64)  # of dropout, which is 0
        *gradients, _ = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            d_out, query, key, value, bias.expand(-1, query.shape[1], -1, -1), out, sums.contiguous(), no_draws,
            no_draws, 0.0, [True, True, True, False], scale=scale,
        )  # fmt: skip
        return tuple(gradients)
    weights = ((query @ key.transpose(2, 3)).float() * scale + bias - sums[..., None]).exp()
    inner = (d_out.float() * out.float()).sum(dim=-1, keepdim=True)
    d_scores = (weights * ((d_out @ value.transpose(2, 3)).float() - inner) * scale).to(query.dtype)
    weights = weights.to(query.dtype)
    return d_scores @ key, d_scores.transpose(2, 3) @ query, weights.transpose(2, 3) @ d_out


def _whole(query: Tensor, pattern: Pattern) -> bool:
    """Whether the kernel for whole documents does it: it is CUDA's alone."""
    return query.device.type == "cuda" and (pattern.reach is None or pattern.reach >= pattern.max_seqlen - 1)


def _longest(query: Tensor, key: Tensor, pattern: Pattern) -> tuple[int, int]:
    """Bounds of the documents' lengths, of queries and of keys; the kernel wants none above what is there."""
    return min(pattern.max_seqlen, len(query)), min(pattern.max_seqlen, len(key))


def _by_token(sums: Tensor, borders: Tensor, tokens: int) -> Tensor:
    """The kernel's log-sums (documents, H, at least max_seqlen) -> (H, tokens)."""
    document, place = _places(borders, tokens)
    return sums[document, :, place].T.contiguous()


def _by_document(sums: Tensor, borders: Tensor, max_seqlen: int) -> Tensor:
    """(H, tokens) -> what the kernel's backward pass takes, (documents, H, max_seqlen rounded up)."""
    padded = sums.new_zeros(len(borders) - 1, len(sums), -(-max_seqlen // _ROWS) * _ROWS)
    document, place = _places(borders, sums.shape[1])
    padded[document, :, place] = sums.T
    return padded


def _places(borders: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Of each token: its document, and its place in it."""
    places = torch.arange(tokens, device=borders.device)
    document = document_of(places, borders)
    return document, places - borders.to(places)[document]
