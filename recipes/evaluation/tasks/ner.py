"""NER by tags on words, scored on character offsets.

Protocol ner-strict/1: entity micro-F1; a prediction counts when its label and all its character borders are
those of a gold entity, each gold entity once. All gold counts: nested and discontinuous entities that flat
tags cannot hold are missed by every model alike, and `upper_bound` says what is lost (TRAPS V4).
Tags are BIO on the words of languages.words, the same words for every model; a word is tagged at its first
piece. Where entities are nested the longest is learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.languages.words import words
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document
from medlingua.recipes.evaluation.tasks import dictionary
from medlingua.reports.bootstrap import Tally
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import f1_score
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Tagged:
    """One document. Of its words, those that have a piece: firsts (W,) the index of their first token.

    words: all words as character ranges; tagged: (W,) indices of those with a piece; tags: (words,) gold ids.
    """

    document: EncodedDocument
    words: list[tuple[int, int]]
    tagged: np.ndarray
    firsts: np.ndarray
    tags: np.ndarray


class Ner:
    """A NER task on one encoder."""

    protocol = "ner-strict/1"
    main_metric = "strict entity micro-F1"
    tally: Tally = "micro-F1"

    def __init__(self, task: Task, encoder: Encoder, spacy: str) -> None:
        self.task, self.encoder, self.spacy = task, encoder, spacy
        self.tags = ("O", *(f"{prefix}-{label}" for label in task.labels for prefix in ("B", "I")))
        self._ids = {tag: i for i, tag in enumerate(self.tags)}
        self.head = nn.Linear(encoder.model.config.hidden_size, len(self.tags))
        self._parts: dict[str, list[Tagged]] = {}

    def read(self, part: str) -> list[Tagged]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Tagged:
        text = example.document.text
        document, places = encode_document(self.encoder, text), words(text, self.spacy)
        # A piece may begin before its word (with the space) and one piece may hold several signs.
        ends = document.offsets[:, 1]
        firsts = np.array([np.searchsorted(ends, start, "right") for start, _ in places], dtype=np.int64)
        has_piece = np.array(
            [f < len(ends) and document.offsets[f, 0] < end for f, (_, end) in zip(firsts, places, strict=True)],
            dtype=np.bool_,
        )
        tags = np.array([self._ids.get(tag, 0) for tag in encode_tags(spans_of(example), places)], dtype=np.int64)
        return Tagged(document, places, np.flatnonzero(has_piece), firsts[has_piece], tags)

    def logits(self, states: Tensor, examples: Sequence[Tagged]) -> Tensor:
        """(tagged words of all examples, tags) fp32."""
        return self.head(states[on_device(firsts_of(examples), states.device)]).float()  # type: ignore[no-any-return]

    def targets(self, examples: Sequence[Tagged]) -> Tensor:
        """(tagged words of all examples,) int64 gold tags."""
        return torch.from_numpy(np.concatenate([e.tags[e.tagged] for e in examples]))

    def loss(self, states: Tensor, examples: Sequence[Tagged]) -> tuple[Tensor, int]:
        gold = on_device(self.targets(examples), states.device)
        return nn.functional.cross_entropy(self.logits(states, examples), gold, reduction="sum"), len(gold)

    def predict(self, states: Tensor, examples: Sequence[Tagged]) -> list[tuple[Span, ...]]:
        best = self.head(states[on_device(firsts_of(examples), states.device)]).argmax(dim=-1).cpu().numpy()
        predictions, start = [], 0
        for example in examples:
            tags = np.zeros(len(example.words), dtype=np.int64)
            tags[example.tagged] = best[start : start + len(example.tagged)]
            start += len(example.tagged)
            predictions.append(decode_tags([self.tags[t] for t in tags], example.words))
        return predictions

    def evidence(self, states: Tensor, examples: Sequence[Tagged]) -> tuple[Tensor, Tensor]:
        """Of each predicted entity the logits of its least certain word, and whether it is right: most words are
        outside of any entity, and how sure a model is of these says little about its entities."""
        logits = self.logits(states, examples)
        of_word = logits.softmax(dim=-1).amax(dim=-1).cpu().numpy()
        least, right, first = [], [], 0
        for spans, example in zip(self.predict(states, examples), examples, strict=True):
            gold = {*decode_tags([self.tags[t] for t in example.tags], example.words)}
            starts = np.array([example.words[word][0] for word in example.tagged], dtype=np.int64)
            for span in spans:
                inside = first + np.flatnonzero((starts >= span.start) & (starts < span.end))
                least.append(int(inside[of_word[inside].argmin()]))
                right.append(float(span in gold))
            first += len(example.tagged)
        return logits[least], torch.tensor(right, device=logits.device)

    def confident(
        self, states: Tensor, examples: Sequence[Tagged], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        """An entity is as probable as its least probable tag."""
        decided = self.predict(states, examples)
        of_word = (self.logits(states, examples) / temperature).softmax(dim=-1).amax(dim=-1).cpu().numpy()
        borders = np.cumsum([0, *(len(e.tagged) for e in examples)])
        predictions = []
        for spans, example, first, end in zip(decided, examples, borders, borders[1:], strict=False):
            starts = np.array([example.words[word][0] for word in example.tagged], dtype=np.int64)
            lowest = [of_word[first:end][(starts >= s.start) & (starts < s.end)].min() for s in spans]
            predictions.append(Prediction(spans, tuple(zip(spans, map(float, lowest), strict=True))))
        return predictions

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        return {}

    def decide(self, predicted: Any, chosen: dict[str, float]) -> Any:
        return predicted

    def score(self, part: str, decided: Sequence[tuple[Span, ...]]) -> dict[str, float]:
        return all_scores(getattr(self.task, part), decided, [read.words for read in self.read(part)])

    def tallies(self, part: str, decided: Sequence[Sequence[Span]]) -> np.ndarray:
        return tallies_of(getattr(self.task, part), decided)

    def by_dictionary(self, part: str) -> dict[str, float]:
        """All metrics of the mentions of train, found again without a model."""
        learnt = dictionary.learn(self.task.train, self.spacy)
        examples: tuple[Example, ...] = getattr(self.task, part)
        return self.score(part, [dictionary.find(learnt, e.document.text, self.spacy) for e in examples])

    def upper_bound(self, part: str) -> float:
        """The highest strict micro-F1 that flat tags on words can reach: that of the most gold entities of one
        fragment, from the border of a word to that of a word, that do not overlap."""
        gold = [spans_of(example) for example in getattr(self.task, part)]
        reachable = [_most_apart(g, read.words) for g, read in zip(gold, self.read(part), strict=True)]
        return strict_scores(gold, reachable)[2]


def spans_of(example: Example) -> tuple[Span, ...]:
    assert isinstance(example.gold, tuple)
    return example.gold


def _most_apart(spans: Sequence[Span], places: Sequence[tuple[int, int]]) -> list[Span]:
    """As many spans as flat tags can hold at once: the one that ends first, then the next behind it (interval
    scheduling, Kleinberg and Tardos 2005, 4.1)."""
    starts, ends = ({place[side] for place in places} for side in (0, 1))
    chosen: list[Span] = []
    for span in sorted(set(spans), key=lambda s: (s.end, -s.start, s.label)):
        whole_words = not span.discontinuous and span.start in starts and span.end in ends
        if whole_words and (not chosen or chosen[-1].end <= span.start):
            chosen.append(span)
    return chosen


def encode_tags(spans: Sequence[Span], places: Sequence[tuple[int, int]]) -> list[str]:
    """BIO tags on words. Longest spans first; one that touches a tagged word, or is discontinuous, is left out."""
    tags = ["O"] * len(places)
    ends = np.array([end for _, end in places], dtype=np.int64)
    starts = np.array([start for start, _ in places], dtype=np.int64)
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.start, s.label)):
        first = int(np.searchsorted(ends, span.start, "right"))
        last = int(np.searchsorted(starts, span.end, "left"))
        if span.discontinuous or first >= last or any(tag != "O" for tag in tags[first:last]):
            continue
        tags[first:last] = [f"B-{span.label}", *[f"I-{span.label}"] * (last - first - 1)]
    return tags


def decode_tags(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """Spans of BIO tags. An I without its B begins an entity, as a trained tagger's slips are usually read."""
    spans: list[Span] = []
    open_label, begin, end = "", 0, 0
    for tag, (start, finish) in zip(tags, places, strict=True):
        prefix, _, label = tag.partition("-")
        if open_label and (prefix != "I" or label != open_label):
            spans.append(Span.of(begin, end, open_label))
            open_label = ""
        if prefix != "O":
            if not open_label:
                open_label, begin = label, start
            end = finish
    if open_label:
        spans.append(Span.of(begin, end, open_label))
    return tuple(spans)


def all_scores(
    examples: Sequence[Example], decided: Sequence[Sequence[Span]], places: Sequence[Sequence[tuple[int, int]]]
) -> dict[str, float]:
    """All metrics of the protocol. decided: spans an example. found: its words (`languages.words`)."""
    gold = [spans_of(example) for example in examples]
    precision, recall, f1 = strict_scores(gold, decided)
    tags = [(encode_tags(g, of), encode_tags(d, of)) for g, d, of in zip(gold, decided, places, strict=True)]
    true, predicted_tags = ([t for pair in tags for t in pair[side]] for side in (0, 1))
    entity = sorted(set(true) - {"O"})
    # What seqeval reads in the tags: gold that flat tags cannot hold is gone, flattering nested sets (V4).
    tag_spans = [[decode_tags(side, of) for side in pair] for pair, of in zip(tags, places, strict=True)]
    return {
        "strict entity micro-F1": f1,
        "strict entity precision": precision,
        "strict entity recall": recall,
        # As some papers count; under their own names, never ranked with the strict score.
        "overlapping entity micro-F1": overlapping_f1(gold, decided),
        "word tags entity micro-F1": strict_scores([g for g, _ in tag_spans], [d for _, d in tag_spans])[2],
        "token weighted F1 with O": _weighted(true, predicted_tags, None),
        "token weighted F1 without O": _weighted(true, predicted_tags, entity) if entity else 0.0,
    }


def tallies_of(examples: Sequence[Example], decided: Sequence[Sequence[Span]]) -> np.ndarray:
    """(documents, 3): right, said and true spans of each."""
    pairs = [({*spans_of(e)}, {*spans}) for e, spans in zip(examples, decided, strict=True)]
    return np.array([(len(g & d), len(d), len(g)) for g, d in pairs])


def strict_scores(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> tuple[float, float, float]:
    """Precision, recall and F1 over documents; equal spans in one document count once."""
    right = sum(len(set(g) & set(p)) for g, p in zip(gold, predicted, strict=True))
    predictions, true = (sum(len(set(x)) for x in side) for side in (predicted, gold))
    precision, recall = right / predictions if predictions else 0.0, right / true if true else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


def overlapping_f1(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> float:
    """Micro-F1 where one shared character is enough, as BRATeval's inexact match (Verspoor et al. 2013).

    One to one, and as many as can be: a prediction over two gold entities finds one of them.
    """
    right = 0
    for true, spans in zip(gold, predicted, strict=True):
        rows, columns = sorted(set(true)), sorted(set(spans))
        touching = np.array([[g.label == s.label and _touch(g, s) for s in columns] for g in rows], dtype=np.bool_)
        if touching.any():
            right += int((maximum_bipartite_matching(csr_matrix(touching)) >= 0).sum())
    total = sum(len(set(x)) for side in (gold, predicted) for x in side)
    return 2 * right / total if total else 0.0


def _touch(left: Span, right: Span) -> bool:
    return any(a < d and c < b for a, b in left.fragments for c, d in right.fragments)


def _weighted(true: list[str], spans: list[str], labels: list[str] | None) -> float:
    return float(f1_score(true, spans, labels=labels, average="weighted", zero_division=0))


def firsts_of(examples: Sequence[Tagged]) -> Tensor:
    starts = np.concatenate([[0], np.cumsum([len(e.document.offsets) for e in examples])])
    return torch.from_numpy(np.concatenate([s + e.firsts for s, e in zip(starts, examples, strict=False)]))
