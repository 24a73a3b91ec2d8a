"""Token labels: each word of a document has one tag (parts of speech; cues and scopes of negation).

Protocol tagging/1: accuracy over words, and F1 of each tag, whose mean over the tags of the test set is macro-F1. The
words are those of the data set, the same for every model; a word is tagged at its first piece. A word that the
tokenizer gives no piece gets train's most frequent tag.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document
from medlingua.reports.bootstrap import Tally
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TaggedDocument:
    """One document. words: with their gold. has_piece: (words,) bool. firsts: (W,) the first token of each of the W
    words with a piece; tags: (W,) their gold, as numbers."""

    document: EncodedDocument
    words: tuple[Span, ...]
    has_piece: np.ndarray
    firsts: np.ndarray
    tags: np.ndarray


class Tagging:
    """A tagging task on one encoder."""

    protocol = "tagging/1"
    main_metric = "macro-F1"
    tally: Tally = "macro-F1"

    def __init__(self, task: Task, encoder: Encoder) -> None:
        self.task, self._encoder = task, encoder
        self.tags = task.labels
        self._ids = {tag: i for i, tag in enumerate(self.tags)}
        self.head = nn.Linear(encoder.model.config.hidden_size, len(self.tags))
        self._parts: dict[str, list[TaggedDocument]] = {}

    def read(self, part: str) -> list[TaggedDocument]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> TaggedDocument:
        document, words = encode_document(self._encoder, example.document.text), words_of(example)
        ends = document.offsets[:, 1]  # a piece may begin before its word, with the space
        firsts = np.array([np.searchsorted(ends, word.start, "right") for word in words], dtype=np.int64)
        has_piece = np.array(
            [f < len(ends) and document.offsets[f, 0] < word.end for f, word in zip(firsts, words, strict=True)],
            dtype=np.bool_,
        )
        tags = np.array([self._ids.get(word.label, 0) for word in words], dtype=np.int64)
        return TaggedDocument(document, words, has_piece, firsts[has_piece], tags[has_piece])

    def loss(self, states: Tensor, examples: Sequence[TaggedDocument]) -> tuple[Tensor, int]:
        logits, gold = self.evidence(states, examples)
        return nn.functional.cross_entropy(logits, gold, reduction="sum"), len(gold)

    def predict(self, states: Tensor, examples: Sequence[TaggedDocument]) -> list[list[str]]:
        """The tags of the words of each example, "" for a word without a piece."""
        best = self.logits(states, examples).argmax(dim=-1).cpu().numpy()
        predictions = []
        for numbers, example in zip(_by_document(best, examples), examples, strict=True):
            tags = iter(numbers)
            predictions.append([self.tags[next(tags)] if has else "" for has in example.has_piece])
        return predictions

    def evidence(self, states: Tensor, examples: Sequence[TaggedDocument]) -> tuple[Tensor, Tensor]:
        gold = torch.from_numpy(np.concatenate([e.tags for e in examples]))
        return self.logits(states, examples), on_device(gold, states.device)

    def confident(
        self, states: Tensor, examples: Sequence[TaggedDocument], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        """Each word with its tag and the probability of that, if it has a piece."""
        shares = (self.logits(states, examples) / temperature).softmax(dim=-1).amax(dim=-1).cpu().numpy()
        predictions = []
        for tags, of, example in zip(
            self.predict(states, examples), _by_document(shares, examples), examples, strict=True
        ):
            share = iter(of)
            tagged = [replace(w, label=tag) for w, tag in zip(example.words, self.decide(tags, chosen), strict=True)]
            items = [
                (word, float(next(share)) if h else None) for word, h in zip(tagged, example.has_piece, strict=True)
            ]
            predictions.append(Prediction(tuple(tagged), tuple(items)))
        return predictions

    def logits(self, states: Tensor, examples: Sequence[TaggedDocument]) -> Tensor:
        """(words with a piece, of all examples, tags) fp32."""
        starts = np.cumsum([0, *(e.document.tokens for e in examples)])
        firsts = np.concatenate([start + e.firsts for start, e in zip(starts, examples, strict=False)])
        return self.head(states[on_device(torch.from_numpy(firsts), states.device)]).float()  # type: ignore[no-any-return]

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        """The number of train's most frequent tag, for words without a piece."""
        return {"unread": float(self._ids[self._frequent()])}

    def decide(self, predicted: list[str], chosen: dict[str, float]) -> list[str]:
        return [tag or self.tags[int(chosen["unread"])] for tag in predicted]

    def _frequent(self) -> str:
        return _most_frequent(Counter(word.label for e in self.task.train for word in words_of(e)))

    def score(self, part: str, decided: Sequence[Sequence[str]]) -> dict[str, float]:
        return tag_scores([tags_of(example) for example in getattr(self.task, part)], decided)

    def tallies(self, part: str, decided: Sequence[Sequence[str]]) -> np.ndarray:
        """(documents, 3 * tags): correct, predicted and gold words of each tag of gold, one after the other."""
        gold = [tags_of(example) for example in getattr(self.task, part)]
        return np.stack([counts.ravel() for counts in _counts(gold, decided)])

    def by_word_form(self, part: str) -> dict[str, float]:
        """All metrics of each word form's most frequent tag in train; for a new form, of the most frequent tag."""
        tags: dict[str, Counter[str]] = defaultdict(Counter)
        for example in self.task.train:
            for word in words_of(example):
                tags[word.surface(example.document.text)][word.label] += 1
        frequent = self._frequent()
        known = {form: _most_frequent(counts) for form, counts in tags.items()}
        return self.score(
            part,
            [
                [known.get(word.surface(e.document.text), frequent) for word in words_of(e)]
                for e in getattr(self.task, part)
            ],
        )


def words_of(example: Example) -> tuple[Span, ...]:
    assert isinstance(example.gold, tuple)
    return example.gold


def tags_of(example: Example) -> list[str]:
    return [word.label for word in words_of(example)]


def tag_scores(gold: Sequence[Sequence[str]], decided: Sequence[Sequence[str]]) -> dict[str, float]:
    """gold, decided: the tags of the words of each document."""
    names = _names(gold)
    correct, predicted, true = np.sum(_counts(gold, decided), axis=0).T
    f1 = 2 * correct / (predicted + true)  # each name has gold
    return {
        "macro-F1": float(f1.mean()),
        "accuracy": float(correct.sum() / true.sum()),
        **{f"F1 of {name}": float(value) for name, value in zip(names, f1, strict=True)},
    }


def _names(gold: Sequence[Sequence[str]]) -> list[str]:
    return sorted(set().union(*gold))


def _counts(gold: Sequence[Sequence[str]], decided: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """(tags of gold, 3) of each document: correct, predicted and gold words."""
    names = _names(gold)
    counts = []
    for true, predicted in zip(gold, decided, strict=True):
        correct = Counter(tag for tag, other in zip(true, predicted, strict=True) if tag == other)
        sides = (correct, Counter(predicted), Counter(true))
        counts.append(np.array([[side[name] for side in sides] for name in names]))
    return counts


def _by_document(values: np.ndarray, examples: Sequence[TaggedDocument]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(e.firsts) for e in examples])[:-1])


def _most_frequent(counts: Counter[str]) -> str:
    """The first of the alphabet among equals."""
    return min(counts, key=lambda tag: (-counts[tag], tag))
