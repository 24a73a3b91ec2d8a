"""Terms of a terminology as a stream: two names of one thing side by side, in an order that the seed decides."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from medlingua.languages.errors import InputError
from medlingua.languages.terms import Term
from medlingua.recipes.batches import Chunk, Place

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


def encoded(tokenizer: Any, names: Sequence[str], context: int) -> list[np.ndarray]:
    """Ids of each name with special tokens, int64. InputError for one that the model cannot hold."""
    found = [np.array(e.ids, dtype=np.int64) for e in tokenizer.backend_tokenizer.encode_batch_fast(list(names))]
    for name, ids in zip(names, found, strict=True):
        if len(ids) > context:
            raise InputError(f"the term {name[:60]!r} has {len(ids):,} tokens, the model reads {context:,}")
    return found


class TermStream:
    """Chunks of one phase, as `batches.Stream` gives them: each a name, its target the number of its concept."""

    def __init__(self, concepts: Sequence[Concept], tokenizer: Any, context: int, number: int, seed: int) -> None:
        self._number, self._seed = number, seed
        self._names = [encoded(tokenizer, concept.names, context) for concept in concepts]

    def chunks(self, place: Place) -> Iterator[Chunk]:
        first = np.zeros(1, dtype=np.int64)
        while True:
            draw = np.random.default_rng([self._seed, self._number, place.passed])
            order = draw.permutation(len(self._names))
            pairs = draw.random((len(order), max(map(len, self._names)))).argsort(axis=1)
            for at in range(place.document, len(order)):
                names = self._names[order[at]]
                two = [i for i in pairs[at].tolist() if i < len(names)][:2]
                for number, chosen in enumerate(two):
                    if at == place.document and number < place.chunk:
                        continue
                    after = Place(place.passed, at, 1) if number == 0 else Place(place.passed, at + 1)
                    if number == 1 and at == len(order) - 1:
                        after = Place(place.passed + 1)
                    yield Chunk(names[chosen], first, order[at : at + 1].astype(np.int64), after)
            place = Place(place.passed + 1)
