"""Term embeddings: names of one thing close, names of others far, in one language and across languages.

SapBERT (Liu et al., NAACL 2021) with the multi-similarity loss and its mining of hard pairs (Wang et al., arXiv
1904.06627). Scored by retrieval across languages (protocol terms-retrieval/1): for each held-out thing, its name in
the language asks for its English name among those of all things, learnt ones included.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states, pack
from medlingua.recipes.console import progress
from medlingua.recipes.term_stream import Concept, encoded
from torch import Tensor, nn

PROTOCOL = "terms-retrieval/1"
_ALPHA, _BETA, _BASE, _MARGIN = 1.0, 60.0, 0.5, 0.2  # SapBERT's
_ROW_TOKENS = 8_192


class Terms(nn.Module):
    """Forward of a packed batch of names: the multi-similarity loss over all its pairs, times the names."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder = encoder

    def forward(self, packed: Packed) -> Tensor:
        return multi_similarity(embedded(self._encoder, packed), packed.labels) * len(packed.labels)


def embedded(encoder: Encoder, packed: Packed) -> Tensor:
    """Unit vectors (documents, width) fp32: the mean of all tokens of each document."""
    states = hidden_states(encoder, packed).float()
    sizes = packed.cu_seqlens.diff()
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=states.device), sizes)
    means = torch.zeros(len(sizes), states.shape[1], device=states.device).index_add(0, owner, states)
    return nn.functional.normalize(means, dim=-1)


def multi_similarity(vectors: Tensor, labels: Tensor) -> Tensor:
    """Mean loss a name: vectors (N, width) of length one, labels (N,) int64.

    Easy pairs count nothing: those on the good side of the hardest of the other kind, by a margin and more.
    """
    likeness = vectors @ vectors.T
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    far = likeness.detach().masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    near = likeness.detach().masked_fill(same, -torch.inf).amax(dim=1, keepdim=True)
    pull = positive & (likeness.detach() - _MARGIN < near)
    push = ~same & (likeness.detach() + _MARGIN > far)
    pulled = (-_ALPHA * (likeness - _BASE)).exp().masked_fill(~pull, 0).sum(dim=1).log1p() / _ALPHA
    pushed = (_BETA * (likeness - _BASE)).exp().masked_fill(~push, 0).sum(dim=1).log1p() / _BETA
    return (pulled + pushed).mean()


@torch.no_grad()
def retrieval(
    encoder: Encoder, learnt: Sequence[Concept], held_out: Sequence[Concept], name: str
) -> dict[str, float]:
    """accuracy@1, accuracy@5 and MRR of the right English name, a name in the language at a time."""
    english = _vectors(encoder, [c.english for c in (*held_out, *learnt)], f"English names, {name}")
    asked = [(text, number) for number, concept in enumerate(held_out) for text in concept.names[1:]]
    queries = _vectors(encoder, [text for text, _ in asked], f"names, {name}")
    right = torch.tensor([number for _, number in asked], device=queries.device)
    likeness = queries @ english.T
    # Names that are just as like count before the right one: a model that gives all the same finds nothing.
    ranks = (likeness >= likeness.gather(1, right[:, None])).sum(dim=1).double()
    return {
        "accuracy@1": float((ranks <= 1).double().mean()),
        "accuracy@5": float((ranks <= 5).double().mean()),
        "MRR": float((1 / ranks).mean()),
    }


def _vectors(encoder: Encoder, texts: Sequence[str], what: str) -> Tensor:
    ids = encoded(encoder.tokenizer, texts, encoder.length)
    order = np.argsort([len(i) for i in ids], kind="stable")
    found = []
    with progress(what, len(ids)) as bar:
        for group in _groups(ids, order):
            packed = pack([ids[i] for i in group], encoder.first_position, encoder.global_ids)
            found.append(embedded(encoder, packed.to(encoder.device)))
            bar.update(sum(map(len, found)))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(encoder.device)
    return torch.cat(found)[back]


def _groups(ids: Sequence[np.ndarray], order: np.ndarray) -> Iterator[list[int]]:
    group: list[int] = []
    tokens = 0
    for place in order.tolist():
        if group and tokens + len(ids[place]) > _ROW_TOKENS:
            yield group
            group, tokens = [], 0
        group.append(place)
        tokens += len(ids[place])
    if group:
        yield group
