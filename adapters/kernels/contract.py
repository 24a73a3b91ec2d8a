"""What attention is asked for, and what every kernel says about itself.

Shapes: T tokens in all packed documents, Q queries (T where every token is one), H query heads, G key heads (H a
multiple of G), D head width.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Request:
    """What a kernel must be able to do.

    grouped: fewer key heads than query heads. selected: some tokens alone are queries. traced: inside torch.compile,
    which no kernel that loops over documents in Python can go through.
    """

    device: torch.device
    dtype: torch.dtype
    head_width: int = 64
    grouped: bool = False
    window: bool = False
    causal: bool = False
    global_tokens: bool = False
    selected: bool = False
    traced: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which query sees which key.

    cu_seqlens: (documents + 1,) int32 borders. max_seqlen: no document is longer; known on the host, so that nobody
    waits for the device. reach: a token sees tokens at most this far away on each side; None: all of its document.
    query_positions: (Q,) int64 ascending, or None where every token is a query. global_tokens: (n,) int64 ascending,
    or None. causal: a token sees no later token.
    """

    cu_seqlens: Tensor
    max_seqlen: int
    scale: float
    reach: int | None = None
    causal: bool = False
    query_positions: Tensor | None = None
    global_tokens: Tensor | None = None

    @property
    def cu_seqlens_q(self) -> Tensor:
        """Borders of the documents among the queries, int32."""
        if self.query_positions is None:
            return self.cu_seqlens
        return borders_among(self.query_positions, self.cu_seqlens)

    @property
    def window(self) -> tuple[int, int]:
        """Keys seen before and after a query, -1 for all: flash attention's `window_size`."""
        before = -1 if self.reach is None else self.reach
        return before, 0 if self.causal else before


class Kernel(Protocol):
    """One way to compute attention.

    refusal: why it cannot do what is asked, or None where it can. A call takes query (Q, H, D), key and value
    (T, G, D) and returns (Q, H, D), differentiable in all three.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def refusal(self, request: Request) -> str | None: ...

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor: ...


def borders_among(positions: Tensor, cu_seqlens: Tensor) -> Tensor:
    """positions (n,) int64 ascending -> (documents + 1,) int32: how many lie before each border."""
    return torch.searchsorted(positions, cu_seqlens.to(positions)).to(torch.int32)


def document_of(positions: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Index of the document that each of the positions (n,) int64 lies in, (n,) int64."""
    return torch.bucketize(positions, cu_seqlens[1:].to(positions), right=True)


def sees(tokens: int, pattern: Pattern) -> Tensor:
    """Whether a query sees a key, by definition: (Q, tokens) bool."""
    device = pattern.cu_seqlens.device
    keys = torch.arange(tokens, device=device)
    queries = keys if pattern.query_positions is None else pattern.query_positions
    seen = document_of(queries, pattern.cu_seqlens)[:, None] == document_of(keys, pattern.cu_seqlens)[None, :]
    distance = queries[:, None] - keys[None, :]
    if pattern.reach is not None:
        near = distance.abs() <= pattern.reach
        if pattern.global_tokens is not None:
            near[torch.isin(queries, pattern.global_tokens)] = True
            near[:, pattern.global_tokens] = True
        seen &= near
    if pattern.causal:
        seen &= distance >= 0
    return seen


@lru_cache(maxsize=8)
def capability(device: torch.device) -> tuple[int, int]:
    """Compute capability of a CUDA device, such as (9, 0) for an H100."""
    return torch.cuda.get_device_capability(device)
