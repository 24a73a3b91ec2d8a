"""Term embeddings: names of one thing close, names of others far, in one language and across languages.

SapBERT (Liu et al., NAACL 2021) with the multi-similarity loss and its mining of hard pairs (Wang et al., arXiv
1904.06627).
"""

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states
from medlingua.recipes.training.term_stream import Relations
from torch import Tensor, nn

_ALPHA, _BETA, _BASE, _MARGIN = 1.0, 60.0, 0.5, 0.2  # SapBERT's
_STEP = 0.1  # of the base, a step in the hierarchy
_UNRELATED = 99


class Terms(nn.Module):
    """Forward of a packed batch of names: the multi-similarity loss over all its pairs, times the names.

    relations: of each concept the related ones with their distance, 1 to `steps`. With them the loss is the mean over
    the distances of that which counts all pairs up to there as alike, less so the further (HiPrBERT, arXiv
    2307.00266).
    """

    def __init__(self, encoder: Encoder, relations: Relations = (), steps: int = 0) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder, self._relations, self._steps = encoder, relations, steps

    def forward(self, packed: Packed) -> Tensor:
        vectors, steps = embedded(self._encoder, packed), distances(packed.labels, self._relations)
        levels = [multi_similarity(vectors, steps <= n, _BASE - _STEP * n) for n in range(self._steps + 1)]
        return torch.stack(levels).mean() * len(packed.labels)


def distances(labels: Tensor, relations: Relations) -> Tensor:
    """(N, N) steps between the concepts of N names: 0 for one concept, 99 for what is not related."""
    steps = torch.where(labels[:, None] == labels, 0, _UNRELATED)
    if relations:
        numbers = labels.tolist()
        near = [[of.get(other, _UNRELATED) for other in numbers] for of in (relations[number] for number in numbers)]
        steps = torch.minimum(steps, torch.tensor(near, device=labels.device))
    return steps


def embedded(encoder: Encoder, packed: Packed) -> Tensor:
    """Unit vectors (documents, width) fp32: the mean of all tokens of each document."""
    states = hidden_states(encoder, packed).float()
    sizes = packed.cu_seqlens.diff()
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=states.device), sizes)
    means = torch.zeros(len(sizes), states.shape[1], device=states.device).index_add(0, owner, states)
    return nn.functional.normalize(means, dim=-1)


def multi_similarity(vectors: Tensor, same_concept: Tensor, base: float = _BASE) -> Tensor:
    """Mean loss a name: vectors (N, width) of length one, same (N, N) bool, which pairs belong together. base: the
    likeness that those are drawn above, and the others below.

    Easy pairs count nothing: those on the good side of the hardest of the other kind, by a margin and more.
    """
    likeness = vectors @ vectors.T
    positive = same_concept & ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    far = likeness.detach().masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    near = likeness.detach().masked_fill(same_concept, -torch.inf).amax(dim=1, keepdim=True)
    pull = positive & (likeness.detach() - _MARGIN < near)
    push = ~same_concept & (likeness.detach() + _MARGIN > far)
    pulled = (-_ALPHA * (likeness - base)).exp().masked_fill(~pull, 0).sum(dim=1).log1p() / _ALPHA
    pushed = (_BETA * (likeness - base)).exp().masked_fill(~push, 0).sum(dim=1).log1p() / _BETA
    return (pulled + pushed).mean()
