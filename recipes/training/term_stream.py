"""Terms of a terminology as a stream: two names of one thing side by side, in an order that the seed decides."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.terms import Term
from medlingua.recipes.training.batches import Chunk, Place

Relations = Sequence[Mapping[int, int]]

_HELD_OUT = 0.1  # of the concepts, by their English name: for retrieval, never trained on


@dataclass(frozen=True, slots=True)
class Concept:
    """english: the name that identifies it. names: all its names, the English one first."""

    english: str
    names: tuple[str, ...]


def concepts_of(terms: Iterable[Term]) -> tuple[list[Concept], list[Concept]]:
    """(to learn, held out): things with an English name and at least one in the language. InputError for too few."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for term in terms:
        if term.english:
            names[term.english].setdefault(term.english)
            names[term.english].setdefault(term.text)
    learn, held = list[Concept](), list[Concept]()
    for english, listed in names.items():
        if len(listed) < 2:
            continue
        digest = hashlib.blake2b(english.lower().encode(), digest_size=8).digest()
        part = held if int.from_bytes(digest, "big") < _HELD_OUT * 2**64 else learn
        part.append(Concept(english, tuple(listed)))
    if len(learn) < 2 or not held:
        raise InputError(f"objective.kind terms: {len(learn)} things with two names, too few to learn from")
    return learn, held


def relations_of(concepts: Sequence[Concept], hierarchy: Hierarchy, steps: int) -> Relations:
    """Of each concept the others up to so many steps away, by number, with their distance. InputError where none is
    in the hierarchy."""
    place = {concept.english.lower(): number for number, concept in enumerate(concepts)}
    relations = []
    for number, concept in enumerate(concepts):
        near = hierarchy.within(concept.english.lower(), steps)
        relations.append({place[n]: d for n, d in near.items() if n in place and place[n] != number})
    if not any(relations):
        raise InputError("objective.hierarchy_steps: no two of the terms are related in the hierarchy; leave it at 0")
    return relations


def encoded(tokenizer: Any, names: Sequence[str], context: int) -> list[np.ndarray]:
    """Ids of each name with special tokens, int64. InputError for one that the model cannot hold."""
    ids_of = [np.array(e.ids, dtype=np.int64) for e in tokenizer.backend_tokenizer.encode_batch_fast(list(names))]
    for name, ids in zip(names, ids_of, strict=True):
        if len(ids) > context:
            raise InputError(f"the term {name[:60]!r} has {len(ids):,} tokens, the model reads {context:,}")
    return ids_of


class TermStream:
    """Chunks of one phase, as `batches.Stream` gives them: each a name, its target the number of its concept.

    Two names of a concept side by side, and one of a related concept, where `relations` has one.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        tokenizer: Any,
        context: int,
        number: int,
        seed: int,
        relations: Relations = (),
    ) -> None:
        self._number, self._seed, self._relations = number, seed, relations
        self._names = [encoded(tokenizer, concept.names, context) for concept in concepts]

    def chunks(self, place: Place, read: int = 0) -> Iterator[Chunk]:
        first = np.zeros(1, dtype=np.int64)
        while True:
            draw = np.random.default_rng([self._seed, self._number, place.passed])
            order = draw.permutation(len(self._names))
            pairs = draw.random((len(order), max(map(len, self._names)))).argsort(axis=1)
            relatives, forms = draw.random(len(order)), draw.random(len(order))
            for at in range(place.document, len(order)):
                concept = int(order[at])
                names = self._names[concept]
                drawn = [(concept, names[i]) for i in pairs[at].tolist() if i < len(names)][:2]
                if self._relations and self._relations[concept]:
                    related = sorted(self._relations[concept])
                    other = related[int(relatives[at] * len(related))]
                    drawn.append((other, self._names[other][int(forms[at] * len(self._names[other]))]))
                for number, (label, ids) in enumerate(drawn):
                    if at == place.document and number < place.chunk:
                        continue
                    last = number == len(drawn) - 1
                    after = Place(place.passed, at + 1) if last else Place(place.passed, at, number + 1)
                    if last and at == len(order) - 1:
                        after = Place(place.passed + 1)
                    yield Chunk(ids, first, np.array([label], dtype=np.int64), after)
            place = Place(place.passed + 1)
