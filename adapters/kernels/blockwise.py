"""Document by document, in Python: the fastest on a CPU, and what is left where other kernels refuse."""

from typing import ClassVar

import torch
from medlingua.adapters.document_attention import attend_document
from medlingua.adapters.kernels.contract import Pattern, Request
from torch import Tensor


class Blockwise:
    name: ClassVar[str] = "blockwise"
    summary: ClassVar[str] = "document by document, whole weights of short ones and bands of a window of long ones"

    def refusal(self, request: Request) -> str | None:
        return None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
        lengths = pattern.cu_seqlens.diff().tolist()
        selected = pattern.query_positions
        query_lengths = lengths if selected is None else pattern.cu_seqlens_q.diff().tolist()
        global_tokens = [] if pattern.global_tokens is None else pattern.global_tokens.tolist()
        # split, not slices: its gradient is one concatenation instead of a zero-filled copy a document.
        parts = (torch.split(x, sizes) for x, sizes in ((query, query_lengths), (key, lengths), (value, lengths)))
        positions = [None] * len(lengths) if selected is None else torch.split(selected, query_lengths)
        outputs, start = [], 0
        for q, k, v, chosen in zip(*parts, positions, strict=True):
            is_global = tuple(t - start for t in global_tokens if start <= t < start + len(k))
            places = None if chosen is None else chosen - start
            outputs.append(attend_document(q, k, v, pattern.reach, pattern.scale, pattern.causal, is_global, places))
            start += len(k)
        return torch.cat(outputs)
