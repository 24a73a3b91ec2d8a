"""NER with entities inside entities: every run of words is a candidate of every label.

The span head of GlobalPointer (Su et al., arXiv 2208.03054): a query at the first word and a key at the last, turned
by their places in the text, and its loss, which sets the scores of a document's spans above zero and all others
below. Scored like the tags, under a protocol that names the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.tasks.ner import Ner, Tagged, firsts_of, spans_of, strict_scores
from torch import Tensor, nn

_WIDTH = 64  # of queries and keys
_MOST_WORDS = 40  # of an entity
_FAR = -5.0  # scores below are of no span that anybody would take for one


@dataclass(frozen=True, slots=True)
class Ranged(Tagged):
    """ranges: (first, last, label) of the gold in numbers of tagged words and labels; discontinuous gold, and gold
    that begins or ends inside a word, has none."""

    ranges: tuple[tuple[int, int, int], ...]


class SpanNer(Ner):
    """A NER task with a span head. Entities longer than the longest of train, 40 words at most, are not found."""

    protocol = "ner-strict/1, span head"

    def __init__(self, task: Task, encoder: Encoder, spacy: str) -> None:
        self.labels = task.labels
        super().__init__(task, encoder, spacy)
        self.head = nn.Linear(encoder.model.config.hidden_size, 2 * _WIDTH * len(self.labels))
        longest = max((b - a + 1 for read in self.read("train") for a, b, _ in _ranges(read)), default=1)
        self.most = min(_MOST_WORDS, longest)

    def encode(self, example: Example) -> Ranged:
        read = super().encode(example)
        starts = {read.words[word][0]: i for i, word in enumerate(read.tagged)}
        ends = {read.words[word][1]: i for i, word in enumerate(read.tagged)}
        ranges = []
        for span in spans_of(example):
            first, last = starts.get(span.start), ends.get(span.end)
            if first is not None and last is not None and not span.discontinuous and span.label in self.labels:
                ranges.append((first, last, self.labels.index(span.label)))
        return Ranged(read.document, read.words, read.tagged, read.firsts, read.tags, tuple(ranges))

    def loss(self, states: Tensor, examples: Sequence[Tagged]) -> tuple[Tensor, int]:
        total = torch.zeros((), device=states.device)
        for scores, example in zip(self._scores(states, examples), examples, strict=True):
            gold = self._gold(scores, example)
            inside = ~torch.isinf(scores)
            zero = torch.zeros(1, scores.shape[2], device=scores.device)
            others = scores.masked_fill(gold | ~inside, -torch.inf).flatten(0, 1)
            right = (-scores).masked_fill(~gold, -torch.inf).flatten(0, 1)
            total = total + torch.cat([others, zero]).logsumexp(dim=0).sum()
            total = total + torch.cat([right, zero]).logsumexp(dim=0).sum()
        return total, len(examples) * len(self.labels)

    def predict(self, states: Tensor, examples: Sequence[Tagged]) -> list[tuple[Span, ...]]:
        predictions = []
        for scores, example in zip(self._scores(states, examples), examples, strict=True):
            spans = {self._span(example, *place) for place in (scores > 0).nonzero().tolist()}
            predictions.append(tuple(sorted(spans)))
        return predictions

    def evidence(self, states: Tensor, examples: Sequence[Tagged]) -> tuple[Tensor, Tensor]:
        """(n,) scores, and 1 for gold, of the spans that are gold or not far below zero."""
        logits, targets = [], []
        for scores, example in zip(self._scores(states, examples), examples, strict=True):
            gold = self._gold(scores, example)
            near = ~torch.isinf(scores) & (gold | (scores > _FAR))
            logits.append(scores[near])
            targets.append(gold[near].float())
        return torch.cat(logits), torch.cat(targets)

    def confident(
        self, states: Tensor, examples: Sequence[Tagged], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        predictions = []
        for scores, example in zip(self._scores(states, examples), examples, strict=True):
            places = (scores > 0).nonzero()
            shares = (scores[places.unbind(1)] / temperature).sigmoid().tolist()
            spans = (self._span(example, *place) for place in places.tolist())
            items = tuple(sorted(zip(spans, shares, strict=True)))
            predictions.append(Prediction(tuple(span for span, _ in items), items))
        return predictions

    def _span(self, example: Tagged, first: int, extra: int, label: int) -> Span:
        begin, end = example.tagged[first], example.tagged[first + extra]
        return Span.of(example.words[begin][0], example.words[end][1], self.labels[label])

    def _gold(self, scores: Tensor, example: Tagged) -> Tensor:
        gold = torch.zeros_like(scores, dtype=torch.bool)
        for first, last, label in _ranges(example):
            if last - first < self.most:
                gold[first, last - first, label] = True
        return gold

    def upper_bound(self, part: str) -> float:
        """Strict micro-F1 of the gold that the head can say at all."""
        examples: tuple[Example, ...] = getattr(self.task, part)
        expressible = []
        for read in self.read(part):
            spans = [(read.tagged[a], read.tagged[b], k) for a, b, k in _ranges(read) if b - a < self.most]
            expressible.append([Span.of(read.words[a][0], read.words[b][1], self.labels[k]) for a, b, k in spans])
        return strict_scores([spans_of(example) for example in examples], expressible)[2]

    def _scores(self, states: Tensor, examples: Sequence[Tagged]) -> list[Tensor]:
        """(W, most, labels) fp32 a document of W tagged words: of the span from each word over so many more."""
        projected = self.head(states[on_device(firsts_of(examples), states.device)]).float()
        scores_per_document = []
        for rows in projected.split([len(example.tagged) for example in examples]):
            queries, keys = _turned(rows.unflatten(1, (2, len(self.labels), _WIDTH))).unbind(1)
            scores = queries.new_full((len(rows), self.most, len(self.labels)), -torch.inf)
            for more in range(min(self.most, len(rows))):
                to = len(rows) - more
                scores[:to, more] = (queries[:to] * keys[more:]).sum(dim=-1) / _WIDTH**0.5
            scores_per_document.append(scores)
        return scores_per_document


def _ranges(read: Tagged) -> tuple[tuple[int, int, int], ...]:
    assert isinstance(read, Ranged)
    return read.ranges


def _turned(vectors: Tensor) -> Tensor:
    """Rotary positions by word: (W, ..., width) turned so that products depend on the distance of two words."""
    half = vectors.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=vectors.device) / half)
    angles = torch.arange(len(vectors), device=vectors.device)[:, None] * rates
    cos, sin = (part.view(len(vectors), *[1] * (vectors.dim() - 2), half) for part in (angles.cos(), angles.sin()))
    left, right = vectors[..., :half], vectors[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)
