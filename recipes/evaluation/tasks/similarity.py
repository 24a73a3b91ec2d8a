"""Graded likeness of two texts (CLISTER, DEFT-2020): a number on the task's scale.

Protocol similarity/1: Spearman's correlation, Pearson's, and EDRM, DEFT's "exactitude en distance relative à la
solution moyenne" (Cardon et al. 2020) as DrBenchmark counts it: 1 less the distance to gold over the largest distance
that the predicted value could have, the mean over pairs. A prediction beyond the scale is set to its end. The first
text opens every window of the second. Without training, likeness is the cosine of the two texts' mean hidden states.
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
from medlingua.recipes.evaluation.finetune import Prediction, longest_first
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, mean_of, token_states
from medlingua.reports.bootstrap import Tally
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

_BATCH = 32  # texts read at once for their cosines


@dataclass(frozen=True, slots=True)
class Graded:
    """share: the gold on the scale, from 0 to 1."""

    document: EncodedDocument
    share: float


class Similarity:
    """A task of graded pairs on one encoder."""

    protocol = "similarity/1"
    main_metric = "Spearman"
    tally: Tally = "correlation"

    def __init__(self, task: Task, encoder: Encoder) -> None:
        assert task.spec.scale is not None
        self.task, self._encoder, self.scale = task, encoder, task.spec.scale
        # Of the two means: their distance and their product, piece by piece, as Tai et al. 2015.
        self.head = nn.Linear(2 * encoder.model.config.hidden_size, 1)
        self._parts: dict[str, list[Graded]] = {}

    def read(self, part: str) -> list[Graded]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Graded:
        low, high = self.scale
        document = encode_document(self._encoder, example.document.text, example.question)
        return Graded(document, (value_of(example) - low) / (high - low))

    def _shares(self, states: Tensor, examples: Sequence[Graded]) -> Tensor:
        owner = np.concatenate(
            [
                2 * number + (np.arange(e.document.tokens) >= e.document.question_tokens)
                for number, e in enumerate(examples)
            ]
        )
        first, second = mean_of(states, owner, 2 * len(examples)).reshape(len(examples), 2, -1).unbind(1)
        return self.head(torch.cat([(first - second).abs(), first * second], dim=1))[:, 0].float()  # type: ignore[no-any-return]

    def loss(self, states: Tensor, examples: Sequence[Graded]) -> tuple[Tensor, int]:
        gold = on_device(torch.tensor([e.share for e in examples]), states.device)
        return nn.functional.mse_loss(self._shares(states, examples), gold, reduction="sum"), len(examples)

    def predict(self, states: Tensor, examples: Sequence[Graded]) -> list[float]:
        low, high = self.scale
        return (low + (high - low) * self._shares(states, examples).clamp(0, 1)).tolist()

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        return {}

    def decide(self, predicted: float, chosen: dict[str, float]) -> list[float]:
        return [predicted]

    def evidence(self, states: Tensor, examples: Sequence[Graded]) -> None:
        return None

    def confident(
        self, states: Tensor, examples: Sequence[Graded], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        return [Prediction([value], ((value, None),)) for value in self.predict(states, examples)]

    def score(self, part: str, decided: Sequence[Sequence[float]]) -> dict[str, float]:
        gold = np.array([value_of(e) for e in getattr(self.task, part)])
        return similarity_scores(gold, np.array(decided)[:, 0], self.scale)

    def tallies(self, part: str, decided: Sequence[Sequence[float]]) -> np.ndarray:
        """Ranks of gold and of predictions, and their products: Pearson's correlation of these is Spearman's."""
        gold = rankdata([value_of(e) for e in getattr(self.task, part)])
        ranks = rankdata(np.array(decided)[:, 0])
        return np.stack([gold, ranks, gold**2, ranks**2, gold * ranks], axis=1)

    def constant(self, part: str) -> dict[str, float]:
        """The scores of always saying the mean of train."""
        mean = float(np.mean([value_of(example) for example in self.task.train]))
        return self.score(part, [[mean]] * len(getattr(self.task, part)))


def value_of(example: Example) -> float:
    assert isinstance(example.gold, float)
    return example.gold


def similarity_scores(gold: np.ndarray, predicted: np.ndarray, scale: tuple[float, float]) -> dict[str, float]:
    """gold, predicted: (n,) values on the scale."""
    low, high = scale
    farthest = np.maximum(predicted - low, high - predicted)
    edrm = float(np.mean(1 - np.abs(gold - predicted) / farthest))
    return correlations(gold, predicted) | {"EDRM": edrm}


def correlations(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """gold, predicted: (n,). Both correlations are 0 where one side is the same for all."""
    if len({*gold.tolist()}) < 2 or len({*predicted.tolist()}) < 2:
        return {"Spearman": 0.0, "Pearson": 0.0}
    return {
        "Spearman": float(spearmanr(gold, predicted).statistic),
        "Pearson": float(np.corrcoef(gold, predicted)[0, 1]),
    }


@torch.no_grad()
def cosines(encoder: Encoder, examples: Sequence[Example]) -> np.ndarray:
    """(n,) float64: for each pair the cosine of the mean hidden states of its texts, each read alone."""
    encoder.model.eval()
    unique = sorted({text for example in examples for text in (example.question, example.document.text)})
    texts = [unique[i] for i in longest_first([len(text) for text in unique])]
    vectors: dict[str, Tensor] = {}
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        documents = [encode_document(encoder, text) for text in batch]
        owner = np.repeat(np.arange(len(documents)), [document.tokens for document in documents])
        vectors |= zip(batch, mean_of(token_states(encoder, documents), owner, len(documents)), strict=True)
    pairs = [(vectors[example.question], vectors[example.document.text]) for example in examples]
    first, second = (torch.stack(side).double() for side in zip(*pairs, strict=True))
    return nn.functional.cosine_similarity(first, second).cpu().numpy()
