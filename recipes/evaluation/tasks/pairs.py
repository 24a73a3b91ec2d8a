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
from medlingua.languages.annotations import Example
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import EncodedDocument, encode_document, mean_of
from medlingua.recipes.evaluation.tasks.labels import label_scores, labels_of, majority, tallies_by_label
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

    def __init__(self, task: Task, encoder: Encoder) -> None:
        self.task, self._encoder = task, encoder
        self.labels = task.labels
        self.head = nn.Linear(2 * encoder.model.config.hidden_size, len(self.labels))
        self._parts: dict[str, list[Pair]] = {}

    def read(self, part: str) -> list[Pair]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Pair:
        document = encode_document(self._encoder, example.document.text, example.question)
        (label,) = labels_of(example)
        return Pair(document, self.labels.index(label) if label in self.labels else -1)

    def _logits(self, states: Tensor, examples: Sequence[Pair]) -> Tensor:
        owner = np.concatenate(
            [
                2 * number + (np.arange(e.document.tokens) >= e.document.question_tokens)
                for number, e in enumerate(examples)
            ]
        )
        means = mean_of(states, owner, 2 * len(examples))
        return self.head(means.reshape(len(examples), -1)).float()  # type: ignore[no-any-return]

    def loss(self, states: Tensor, examples: Sequence[Pair]) -> tuple[Tensor, int]:
        target = torch.tensor([e.label for e in examples], device=states.device)
        return nn.functional.cross_entropy(self._logits(states, examples), target, reduction="sum"), len(examples)

    def predict(self, states: Tensor, examples: Sequence[Pair]) -> list[int]:
        return self._logits(states, examples).argmax(dim=1).tolist()

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
