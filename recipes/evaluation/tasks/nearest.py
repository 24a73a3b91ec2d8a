"""NER by neighbours, without training: sentences of train that the encoder finds alike, and the tags of their words.

The encoder's half of what retrieval-augmented NER with language models does (as kNN-NER, arXiv 2203.17103, but over
the words of the retrieved sentences alone, and without a trained tagger).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.words import sentences
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.reading import States, token_states
from medlingua.recipes.evaluation.tasks.ner import Tagged, decode_tags, encode_tags

NEIGHBOURS = 8  # sentences that the words are looked up in


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an example, its words, and unit vectors: mean (width,), states (words with a piece, width).

    words: their numbers in the document. tags: BIO, of the gold.
    """

    example: int
    start: int
    end: int
    mean: np.ndarray
    words: np.ndarray
    states: np.ndarray
    tags: tuple[str, ...]


@torch.no_grad()
def read(
    encoder: Encoder,
    examples: Sequence[Example],
    tagged: Sequence[Tagged],
    spacy: str,
    label: str,
    states_of: States | None = None,
) -> list[Sentence]:
    """The sentences of labelled documents as the encoder sees them; those without a word that has a piece are none.

    Documents are read whole, as for every other score; a word's state is that of its first piece. label: of the
    progress. states_of: gives states that are kept.
    """
    encoder.model.eval()
    states_of = states_of or partial(token_states, encoder)
    results = []
    for number, (example, of) in enumerate(_shown(examples, tagged, label)):
        assert isinstance(example.gold, tuple)
        tags = encode_tags(example.gold, of.words)
        states = _unit(states_of([of.document])[torch.from_numpy(of.firsts)].float().cpu().numpy())
        starts = np.array([of.words[i][0] for i in of.tagged], dtype=np.int64)
        for start, end in sentences(example.document.text, spacy):
            inside = np.flatnonzero((starts >= start) & (starts < end))
            if len(inside):
                numbers = of.tagged[inside]
                mean = _unit(states[inside].mean(axis=0, keepdims=True))[0]
                results.append(
                    Sentence(number, start, end, mean, numbers, states[inside], tuple(tags[i] for i in numbers))
                )
    return results


def _shown(examples: Sequence[Example], tagged: Sequence[Tagged], label: str) -> Iterator[tuple[Example, Tagged]]:
    with progress(label, len(examples)) as bar:
        for done, pair in enumerate(zip(examples, tagged, strict=True), 1):
            yield pair
            bar.update(done, f"{done:,} of {len(examples):,} documents")


def nearest_sentences(queries: Sequence[Sentence], known: Sequence[Sentence], count: int) -> Iterator[list[int]]:
    """For each query sentence the numbers of the `count` known ones with the nearest means, nearest first."""
    means = np.stack([sentence.mean for sentence in known])
    for sentence in queries:
        yield np.argsort(-(means @ sentence.mean), kind="stable")[:count].tolist()


def tag(queries: Sequence[Sentence], known: Sequence[Sentence], tagged: Sequence[Tagged]) -> list[tuple[Span, ...]]:
    """Spans an example: each word takes the tag of the nearest word in the sentences that are alike.

    tagged: the examples of the queries, in the order that `Sentence.example` counts.
    """
    tags = [["O"] * len(of.words) for of in tagged]
    for sentence, near in zip(queries, nearest_sentences(queries, known, NEIGHBOURS), strict=True):
        states = np.concatenate([known[i].states for i in near])
        names = [name for i in near for name in known[i].tags]
        for word, best in zip(sentence.words, (sentence.states @ states.T).argmax(axis=1), strict=True):
            tags[sentence.example][word] = names[best]
    return [decode_tags(names, of.words) for names, of in zip(tags, tagged, strict=True)]


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return unit
