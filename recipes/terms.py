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
from medlingua.languages.hierarchy import Hierarchy
from medlingua.recipes.console import progress
from medlingua.recipes.term_stream import Concept, Kin, encoded
from scipy.stats import spearmanr
from torch import Tensor, nn

PROTOCOL = "terms-retrieval/1"
HIERARCHY_PROTOCOL = "terms-hierarchy/1"
_ALPHA, _BETA, _BASE, _MARGIN = 1.0, 60.0, 0.5, 0.2  # SapBERT's
_STEP = 0.1  # of the base, a step in the hierarchy
_FAR = 99
_RELATED_STEPS, _STRANGERS = 3, 10  # pairs whose likeness is compared: all related ones so near, and so many others
_ROW_TOKENS = 8_192


class Terms(nn.Module):
    """Forward of a packed batch of names: the multi-similarity loss over all its pairs, times the names.

    kin: of each concept the related ones with their distance, 1 to `steps`. With them the loss is the mean over the
    distances of that which counts all pairs up to there as alike, less so the further (HiPrBERT, arXiv 2307.00266).
    """

    def __init__(self, encoder: Encoder, kin: Kin = (), steps: int = 0) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder, self._kin, self._steps = encoder, kin, steps

    def forward(self, packed: Packed) -> Tensor:
        vectors, apart = embedded(self._encoder, packed), distances(packed.labels, self._kin)
        levels = [multi_similarity(vectors, apart <= n, _BASE - _STEP * n) for n in range(self._steps + 1)]
        return torch.stack(levels).mean() * len(packed.labels)


def distances(labels: Tensor, kin: Kin) -> Tensor:
    """(N, N) steps between the concepts of N names: 0 for one concept, 99 for what is not related."""
    apart = torch.where(labels[:, None] == labels, 0, _FAR)
    if kin:
        numbers = labels.tolist()
        near = [[of.get(other, _FAR) for other in numbers] for of in (kin[number] for number in numbers)]
        apart = torch.minimum(apart, torch.tensor(near, device=labels.device))
    return apart


def embedded(encoder: Encoder, packed: Packed) -> Tensor:
    """Unit vectors (documents, width) fp32: the mean of all tokens of each document."""
    states = hidden_states(encoder, packed).float()
    sizes = packed.cu_seqlens.diff()
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=states.device), sizes)
    means = torch.zeros(len(sizes), states.shape[1], device=states.device).index_add(0, owner, states)
    return nn.functional.normalize(means, dim=-1)


def multi_similarity(vectors: Tensor, same: Tensor, base: float = _BASE) -> Tensor:
    """Mean loss a name: vectors (N, width) of length one, same (N, N) bool, which pairs belong together. base: the
    likeness that those are drawn above, and the others below.

    Easy pairs count nothing: those on the good side of the hardest of the other kind, by a margin and more.
    """
    likeness = vectors @ vectors.T
    positive = same & ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    far = likeness.detach().masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    near = likeness.detach().masked_fill(same, -torch.inf).amax(dim=1, keepdim=True)
    pull = positive & (likeness.detach() - _MARGIN < near)
    push = ~same & (likeness.detach() + _MARGIN > far)
    pulled = (-_ALPHA * (likeness - base)).exp().masked_fill(~pull, 0).sum(dim=1).log1p() / _ALPHA
    pushed = (_BETA * (likeness - base)).exp().masked_fill(~push, 0).sum(dim=1).log1p() / _BETA
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


@torch.no_grad()
def hierarchy_scores(
    encoder: Encoder, learnt: Sequence[Concept], held_out: Sequence[Concept], hierarchy: Hierarchy, name: str
) -> tuple[dict[str, float], int]:
    """What English names say of the hierarchy (protocol terms-hierarchy/1), and how many things were asked for.

    Of each held-out thing that has a parent among all things: "parent MRR", where the nearest of its parents
    stands among all others; "relatedness Spearman", the correlation of cosines with Wu and Palmer's likeness over
    pairs of it with everything up to three steps away and ten others, drawn once.
    """
    known = [c for c in (*held_out, *learnt) if c.english.lower() in hierarchy.parents]
    names = [c.english.lower() for c in known]
    place = {text: number for number, text in enumerate(names)}
    asked = [c.english.lower() for c in held_out if c.english.lower() in place]
    parents = {text: [place[p] for p in hierarchy.parents[text] if p in place] for text in asked}
    asked = [text for text in asked if parents[text]]
    if not asked:
        return {}, 0
    vectors = _vectors(encoder, [c.english for c in known], f"hierarchy, {name}").cpu()
    draw = np.random.default_rng(0)
    ranks, cosines, likeness = [], [], []
    for text in asked:
        found = vectors @ vectors[place[text]]
        found[place[text]] = -torch.inf
        best = found[parents[text]].max()
        ranks.append(int((found >= best).sum()))
        near = [place[n] for n in hierarchy.within(text, _RELATED_STEPS) if n in place and n != text]
        for other in dict.fromkeys([*near, *draw.integers(0, len(names), _STRANGERS).tolist()]):
            if other != place[text]:
                cosines.append(float(found[other]))
                likeness.append(hierarchy.likeness(text, names[other]))
    correlation = float(spearmanr(cosines, likeness).statistic)
    return {"parent MRR": float(np.mean([1 / r for r in ranks])), "relatedness Spearman": correlation}, len(asked)


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
