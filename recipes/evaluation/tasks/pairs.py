"""Two texts and what holds between them: inference over a premise, answers on an abstract, like questions.

Protocol pairs-single/1: one label; the first text (the question) opens every window of the second, so nothing of a
long premise is cut away. The label is read from the mean of the question's tokens and the mean of the document's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.pooling import Pooling, pooled_tokens, text_head
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, mean_of
from medlingua.recipes.evaluation.tasks.labels import label_scores, labels_of, majority, ranked, tallies_by_label
from medlingua.reports.bootstrap import Tally
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Pair:
    document: EncodedDocument
    label: int


class Pairs:
    """A task of text pairs on one encoder."""

    protocol = "pairs-single/1"
    main_metric = "macro-F1"
    tally: Tally = "macro-F1"

    def __init__(self, task: Task, encoder: Encoder, pooling: Pooling = "mean") -> None:
        self.task, self._encoder, self._pooling = task, encoder, pooling
        self.labels = task.labels
        self.head = text_head(encoder, len(self.labels), pooling, texts=2)
        self._parts: dict[str, list[Pair]] = {}

    def read(self, part: str) -> list[Pair]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Pair:
        document = encode_document(self._encoder, example.document.text, example.question)
        (label,) = labels_of(example)
        return Pair(pooled_tokens(document, self._pooling), self.labels.index(label) if label in self.labels else -1)

    def logits(self, states: Tensor, examples: Sequence[Pair]) -> Tensor:
        """(examples, labels) fp32."""
        if self._pooling == "first":
            owner = np.repeat(np.arange(len(examples)), [e.document.tokens for e in examples])
            return self.head(mean_of(states, owner, len(examples))).float()  # type: ignore[no-any-return]
        owner = np.concatenate(
            [
                2 * number + (np.arange(e.document.tokens) >= e.document.question_tokens)
                for number, e in enumerate(examples)
            ]
        )
        means = mean_of(states, owner, 2 * len(examples))
        return self.head(means.reshape(len(examples), -1)).float()  # type: ignore[no-any-return]

    def targets(self, examples: Sequence[Pair]) -> Tensor:
        """(examples,) int64 gold labels."""
        return torch.tensor([e.label for e in examples])

    def loss(self, states: Tensor, examples: Sequence[Pair]) -> tuple[Tensor, int]:
        target = on_device(self.targets(examples), states.device)
        return nn.functional.cross_entropy(self.logits(states, examples), target, reduction="sum"), len(examples)

    def predict(self, states: Tensor, examples: Sequence[Pair]) -> list[int]:
        return self.logits(states, examples).argmax(dim=1).tolist()

    def evidence(self, states: Tensor, examples: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        return self.logits(states, examples), on_device(self.targets(examples), states.device)

    def confident(
        self, states: Tensor, examples: Sequence[Pair], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        shares = (self.logits(states, examples) / temperature).softmax(dim=1).cpu().numpy()
        decided = (self.decide(predicted, chosen) for predicted in self.predict(states, examples))
        return [Prediction(d, ranked(self.labels, of)) for d, of in zip(decided, shares, strict=True)]

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        return {}

    def decide(self, predicted: int, chosen: dict[str, float]) -> frozenset[str]:
        return frozenset({self.labels[predicted]})

    def score(self, part: str, decided: Sequence[frozenset[str]]) -> dict[str, float]:
        return label_scores([labels_of(e) for e in getattr(self.task, part)], decided, multi=False)

    def tallies(self, part: str, decided: Sequence[frozenset[str]]) -> np.ndarray:
        return tallies_by_label([labels_of(e) for e in getattr(self.task, part)], decided)

    def majority(self, part: str) -> dict[str, float]:
        """The scores of always saying what train says most."""
        return self.score(part, [majority(self.task)] * len(getattr(self.task, part)))
