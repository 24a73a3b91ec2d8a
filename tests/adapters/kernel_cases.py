"""What every attention kernel must compute like the plain one: the cases, and the comparison."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from medlingua.adapters.attention import attend
from medlingua.adapters.kernels.choice import KERNELS
from medlingua.adapters.kernels.contract import Request
from torch import Tensor

LENGTHS = (1, 90, 33, 170, 64)
GLOBAL = (0, 1, 60, 124, 200, 357)


@dataclass(frozen=True, slots=True)
class Case:
    """heads: of queries, and of keys. global_tokens, selected: whether there are some."""

    heads: tuple[int, int]
    width: int
    reach: int | None
    causal: bool = False
    global_tokens: bool = False
    selected: bool = False

    def request(self, device: torch.device, dtype: torch.dtype) -> Request:
        grouped = self.heads[0] != self.heads[1]
        return Request(
            device, dtype, self.width, grouped, self.reach is not None, self.causal, self.global_tokens, self.selected
        )


def cases() -> Iterator[Case]:
    for heads in ((4, 4), (4, 2)):
        for reach in (None, 1, 2, 48, 64):
            for width in (16, 64) if reach in (None, 2) else (16,):
                yield Case(heads, width, reach)
                yield Case(heads, width, reach, causal=True)
                yield Case(heads, width, reach, global_tokens=True)
                yield Case(heads, width, reach, selected=True)


def tensors(case: Case, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """query, key, value of that dtype, borders, and what the output is multiplied by before it is added up."""
    draw = torch.Generator().manual_seed(0)
    query, key, value, toward = (
        torch.randn(sum(LENGTHS), heads, case.width, generator=draw)
        for heads in (*case.heads, case.heads[1], case.heads[0])
    )
    borders = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    return (*(x.to(dtype).to(device) for x in (query, key, value)), borders.to(device), toward.to(device))


def errors(kernel: str, case: Case, device: torch.device, dtype: torch.dtype) -> list[float] | None:
    """Of the output and the three gradients: the largest difference from the plain kernel's in fp32, by its size.

    None where the kernel refuses the case.
    """
    if KERNELS[kernel].refusal(case.request(device, dtype)) is not None:
        return None
    query, key, value, borders, toward = tensors(case, device, dtype)
    tokens = torch.tensor([3, 50, *range(130, 290, 7), 357], device=device)
    options = {
        "reach": case.reach,
        "causal": case.causal,
        "global_tokens": torch.tensor(GLOBAL, device=device) if case.global_tokens else None,
        "query_positions": tokens if case.selected else None,
    }
    if case.selected:
        query, toward = query[tokens], toward[tokens]
    results = []
    for backend in (kernel, "plain"):
        kind = dtype if backend == kernel else torch.float32
        leaves = [x.detach().to(kind).requires_grad_() for x in (query, key, value)]
        out = attend(*leaves, borders, **options, backend=backend)
        assert out.dtype == kind
        assert out.shape == query.shape
        (out.float() * toward).sum().backward()
        results.append([out.detach().float(), *(x.grad.float() for x in leaves)])
    return [float((a - b).abs().max() / b.abs().max().clamp_min(1.0)) for a, b in zip(*results, strict=True)]
