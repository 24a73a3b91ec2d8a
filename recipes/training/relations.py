"""Relations of a terminology beside masked words: how is the first of two things related to the second?

The second phase of OntoBook's models: masked-LM and the classification of relations on the same text, weighing the
same. Each text names two things with what defines them, and does not say how they are related.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states
from medlingua.languages.errors import InputError
from medlingua.languages.terminologies.concept import Concept
from medlingua.recipes.training.batches import Chunk, Place
from medlingua.recipes.training.objectives import Masker, summed_loss
from torch import Tensor, nn
from torch.nn import functional

_T = TypeVar("_T")

KINDS = ("parent", "child", "sibling", "unrelated")
_TRIES = 20  # to draw a thing that is not related


class RelationStream:
    """Chunks of one phase, as `batches.Stream` gives them: [CLS] one thing [SEP] another [SEP], with masked tokens.

    The first target of each is the relation, at the place of [CLS]; the others are the masked tokens. A thing is one
    of its terms and its definition. Relations are drawn evenly among those that a thing has.
    """

    def __init__(
        self, concepts: Sequence[Concept], encoder: Encoder, context: int, number: int, seed: int, targets: Masker
    ) -> None:
        self._concepts = concepts
        self._related = _related(concepts)
        self._number, self._seed, self._targets = number, seed, targets
        tokenizer = encoder.tokenizer
        self._first, self._between = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._room = (context - 3) // 2
        texts = [[f"{term}. {c.definition}".strip(". ") for term in (c.name, *c.synonyms)] for c in concepts]
        flat = [text for of in texts for text in of]
        ids = [
            np.array(e.ids, dtype=np.int64)
            for e in tokenizer.backend_tokenizer.encode_batch_fast(flat, add_special_tokens=False)
        ]
        ends = np.cumsum([len(of) for of in texts])
        self._texts = [ids[end - len(of) : end] for of, end in zip(texts, ends, strict=True)]

    def chunks(self, place: Place, read: int = 0) -> Iterator[Chunk]:
        passed = place.passed
        while True:
            order = np.random.default_rng([self._seed, self._number, passed]).permutation(len(self._concepts))
            for at in range(place.document if passed == place.passed else 0, len(order)):
                last = at == len(order) - 1
                after = Place(passed + 1) if last else Place(passed, at + 1)
                yield self._chunk(int(order[at]), passed, at, after)
            passed += 1

    def _chunk(self, concept: int, passed: int, at: int, after: Place) -> Chunk:
        rng = np.random.default_rng([self._seed, self._number, passed, at])
        known = [kind for kind in KINDS[:-1] if self._related[kind].get(concept)]
        kind = [*known, KINDS[-1]][int(rng.integers(len(known) + 1))]
        other = self._unrelated(concept, rng) if kind == KINDS[-1] else _drawn(self._related[kind][concept], rng)
        sides = [_drawn(self._texts[thing], rng)[: self._room] for thing in (concept, other)]
        inner = np.concatenate([sides[0], [self._between], sides[1]])
        shown, masked = self._targets(inner, None, rng)
        ids = np.concatenate([[self._first], shown, [self._between]])
        return Chunk(
            ids, np.concatenate([[0], masked + 1]), np.concatenate([[KINDS.index(kind)], inner[masked]]), after
        )

    def _unrelated(self, concept: int, rng: np.random.Generator) -> int:
        near = {other for kind in KINDS[:-1] for other in self._related[kind].get(concept, ())} | {concept}
        for _ in range(_TRIES):
            other = int(rng.integers(len(self._concepts)))
            if other not in near:
                return other
        raise InputError(
            f"objective.terminology: '{self._concepts[concept].code}' is related to nearly all others; relations are "
            "learnt from a terminology of more than one family"
        )


def _drawn(listed: Sequence[_T], rng: np.random.Generator) -> _T:
    return listed[int(rng.integers(len(listed)))]


def _related(concepts: Sequence[Concept]) -> dict[str, dict[int, list[int]]]:
    """Of each kind of relation and each thing the others, by number. InputError for a terminology without any."""
    place = {c.code: number for number, c in enumerate(concepts)}
    parents = {n: [place[p] for p in c.parents if p in place] for n, c in enumerate(concepts)}
    children: dict[int, list[int]] = defaultdict(list)
    for number, above in parents.items():
        for parent in above:
            children[parent].append(number)
    siblings = {
        number: sorted({other for parent in above for other in children[parent]} - {number})
        for number, above in parents.items()
    }
    if not children:
        raise InputError(
            "objective.terminology says of nothing what it is a kind of, so there is no relation to learn"
        )
    return {"parent": parents, "child": dict(children), "sibling": siblings}


def relation_head(encoder: Encoder, seed: int) -> nn.Linear:
    """The classifier, which is thrown away after training."""
    torch.manual_seed(seed)
    head = nn.Linear(encoder.model.config.hidden_size, len(KINDS))
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head.to(encoder.device)


class RelationLoss(nn.Module):
    """Forward of a packed batch of a RelationStream: masked-LM's summed loss, and as heavy that of relations."""

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.model = encoder.model
        self.head = head
        self._encoder = encoder

    def forward(self, packed: Packed) -> Tensor:
        states = hidden_states(self._encoder, packed, packed.label_positions)
        first = torch.isin(packed.label_positions, packed.cu_seqlens[:-1].to(packed.label_positions))
        transform, decoder = self._encoder.architecture.head(self.model)
        words = summed_loss(transform(states[~first]), decoder, packed.labels[~first])
        relations = functional.cross_entropy(self.head(states[first]).float(), packed.labels[first])
        return words + relations * (len(packed.labels) - packed.documents)
