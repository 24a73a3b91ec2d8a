"""Multiple choice with any number of right options (FrenchMedMCQA, HEAD-QA).

Protocol choice/1: every option is read after its question, and is right or not by one threshold that dev chose; the
best one where none passes it. Exact match: the set of right options and no other. Hamming: right options said, over
all that are right or said (Labrak et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.pooling import Pooling, pooled_tokens, text_head
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, joined, mean_of
from medlingua.recipes.evaluation.tasks.labels import labels_of, majority, ranked
from medlingua.reports.bootstrap import Tally
from torch import Tensor, nn

_THRESHOLDS = np.arange(0.05, 0.96, 0.05)


@dataclass(frozen=True, slots=True)
class Question:
    """document: the windows of all options, one after the other. option: (N,) which option each token is read for.

    right: (options,) float32 of 0 and 1.
    """

    document: EncodedDocument
    option: np.ndarray
    right: np.ndarray
    names: tuple[str, ...]


class Choice:
    """A task of questions with options on one encoder."""

    protocol = "choice/1"
    main_metric = "exact match"
    tally: Tally = "mean"

    def __init__(self, task: Task, encoder: Encoder, pooling: Pooling = "mean") -> None:
        self.task, self._encoder, self._pooling = task, encoder, pooling
        self.head = text_head(encoder, 1, pooling)
        self._parts: dict[str, list[Question]] = {}

    def read(self, part: str) -> list[Question]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Question:
        question = example.document.text
        whole = (encode_document(self._encoder, text, question) for _, text in example.options)
        reads = [pooled_tokens(document, self._pooling) for document in whole]
        names = tuple(name for name, _ in example.options)
        right = np.array([name in labels_of(example) for name in names], dtype=np.float32)
        return Question(joined(reads), np.repeat(np.arange(len(reads)), [r.tokens for r in reads]), right, names)

    def logits(self, states: Tensor, examples: Sequence[Question]) -> Tensor:
        """Of all options of all questions, one after the other."""
        firsts = np.cumsum([0, *(len(e.names) for e in examples)])
        owner = np.concatenate([first + e.option for first, e in zip(firsts, examples, strict=False)])
        return self.head(mean_of(states, owner, int(firsts[-1])))[:, 0].float()  # type: ignore[no-any-return]

    def targets(self, examples: Sequence[Question]) -> Tensor:
        """fp32: 1 for the right ones among the options of all questions."""
        return torch.from_numpy(np.concatenate([e.right for e in examples]))

    def loss(self, states: Tensor, examples: Sequence[Question]) -> tuple[Tensor, int]:
        logits, right = self.logits(states, examples), on_device(self.targets(examples), states.device)
        return nn.functional.binary_cross_entropy_with_logits(logits, right, reduction="sum"), len(right)

    def predict(self, states: Tensor, examples: Sequence[Question]) -> list[dict[str, float]]:
        shares = self.logits(states, examples).sigmoid().cpu().numpy()
        ends = np.cumsum([len(e.names) for e in examples])
        return [
            dict(zip(e.names, part.tolist(), strict=True))
            for e, part in zip(examples, np.split(shares, ends[:-1]), strict=True)
        ]

    def evidence(self, states: Tensor, examples: Sequence[Question]) -> tuple[Tensor, Tensor]:
        return self.logits(states, examples), on_device(self.targets(examples), states.device)

    def confident(
        self, states: Tensor, examples: Sequence[Question], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        decided = (self.decide(predicted, chosen) for predicted in self.predict(states, examples))
        shares = (self.logits(states, examples) / temperature).sigmoid().cpu().numpy()
        ends = np.cumsum([len(e.names) for e in examples])
        of_question = zip(decided, examples, np.split(shares, ends[:-1]), strict=True)
        return [Prediction(d, ranked(e.names, of)) for d, e, of in of_question]

    def choose(self, predicted: Sequence[dict[str, float]]) -> dict[str, float]:
        values = [
            self.score("dev", [self.decide(p, {"threshold": t}) for p in predicted])[self.main_metric]
            for t in _THRESHOLDS.tolist()
        ]
        return {"threshold": float(_THRESHOLDS[int(np.argmax(values))])}

    def decide(self, predicted: dict[str, float], chosen: dict[str, float]) -> frozenset[str]:
        passed = frozenset(name for name, share in predicted.items() if share >= chosen["threshold"])
        return passed or frozenset({max(predicted, key=predicted.__getitem__)})

    def score(self, part: str, decided: Sequence[frozenset[str]]) -> dict[str, float]:
        return choice_scores([labels_of(e) for e in getattr(self.task, part)], decided)

    def tallies(self, part: str, decided: Sequence[frozenset[str]]) -> np.ndarray:
        gold = [labels_of(e) for e in getattr(self.task, part)]
        return np.array([[float(g == d)] for g, d in zip(gold, decided, strict=True)])

    def majority(self, part: str) -> dict[str, float]:
        """The scores of always saying the option that is right most often in train."""
        return self.score(part, [majority(self.task)] * len(getattr(self.task, part)))


def choice_scores(gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]]) -> dict[str, float]:
    pairs = list(zip(gold, decided, strict=True))
    single = [(g, d) for g, d in pairs if len(g) == 1]
    scores = {
        "exact match": float(np.mean([g == d for g, d in pairs])),
        "Hamming": float(np.mean([len(g & d) / len(g | d) for g, d in pairs])),
    }
    if single:
        scores["exact match, one right option"] = float(np.mean([g == d for g, d in single]))
    return scores
