"""Document classification: one label (classification) or any number of them (multilabel).

Protocols labels-single/1 and labels-multi/1; relations/1 for one label a marked pair of mentions, scored without the
label of no relation. The document's tokens are averaged over all its windows, so the last word counts as the first.
Multi-label decides by one threshold, chosen on dev before test is read. It also ranks all labels of a document by
their scores: MAP, CodiEsp's measure (Miranda-Escalada et al. 2020), is the average precision of that ranking, the
mean over documents with gold.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.pooling import Pooling, pooled_tokens, text_head
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, mean_of
from medlingua.reports.bootstrap import Tally
from sklearn.metrics import f1_score
from torch import Tensor, nn

_THRESHOLDS = np.arange(0.05, 0.96, 0.05)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One document and its labels: (L,) float32 of 0 and 1, over the labels of train and dev."""

    document: EncodedDocument
    target: np.ndarray


class Coded(frozenset[str]):
    """The labels said of a document. ranking: all labels that can be said, the best first."""

    ranking: tuple[str, ...]

    def __new__(cls, labels: Iterable[str], ranking: tuple[str, ...]) -> "Coded":
        coded = super().__new__(cls, labels)
        coded.ranking = ranking
        return coded


class Labels:
    """A labelling task on one encoder."""

    def __init__(self, task: Task, encoder: Encoder, pooling: Pooling = "mean") -> None:
        self.task, self._encoder, self._pooling = task, encoder, pooling
        self.multi = task.spec.kind == "multilabel"
        self.negative = task.spec.negative if task.spec.kind == "relations" else None
        self.protocol = protocol_of_labels(task.spec)
        self.main_metric = "micro-F1" if self.multi else "macro-F1"
        if self.negative is not None:
            self.main_metric = "micro-F1 of relations"
        self.tally: Tally = "macro-F1" if self.main_metric == "macro-F1" else "micro-F1"
        self.labels = task.labels
        self.head = text_head(encoder, len(self.labels), pooling)
        self._parts: dict[str, list[Labelled]] = {}

    def read(self, part: str) -> list[Labelled]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> Labelled:
        gold = labels_of(example)
        target = np.array([label in gold for label in self.labels], dtype=np.float32)
        return Labelled(pooled_tokens(encode_document(self._encoder, example.document.text), self._pooling), target)

    def logits(self, states: Tensor, examples: Sequence[Labelled]) -> Tensor:
        """(examples, labels) fp32."""
        owner = np.repeat(np.arange(len(examples)), [e.document.tokens for e in examples])
        return self.head(mean_of(states, owner, len(examples))).float()  # type: ignore[no-any-return]

    def targets(self, examples: Sequence[Labelled]) -> Tensor:
        """(examples,) int64 gold labels, or (examples, labels) fp32 of several labels each."""
        target = torch.from_numpy(np.stack([e.target for e in examples]))
        return target if self.multi else target.argmax(dim=1)

    def loss(self, states: Tensor, examples: Sequence[Labelled]) -> tuple[Tensor, int]:
        target, logits = on_device(self.targets(examples), states.device), self.logits(states, examples)
        if self.multi:
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
            return loss.mean(dim=1).sum() * 10, len(examples)  # else the loss is tiny with many labels
        return nn.functional.cross_entropy(logits, target, reduction="sum"), len(examples)

    def predict(self, states: Tensor, examples: Sequence[Labelled]) -> list[np.ndarray]:
        logits = self.logits(states, examples)
        scores = logits.sigmoid() if self.multi else logits.softmax(dim=1)
        return list(scores.cpu().numpy())

    def evidence(self, states: Tensor, examples: Sequence[Labelled]) -> tuple[Tensor, Tensor]:
        return self.logits(states, examples), on_device(self.targets(examples), states.device)

    def confident(
        self, states: Tensor, examples: Sequence[Labelled], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        logits = self.logits(states, examples) / temperature
        shares = (logits.sigmoid() if self.multi else logits.softmax(dim=1)).cpu().numpy()
        decided = (self.decide(predicted, chosen) for predicted in self.predict(states, examples))
        return [Prediction(d, ranked(self.labels, of)) for d, of in zip(decided, shares, strict=True)]

    def choose(self, predicted: Sequence[np.ndarray]) -> dict[str, float]:
        if not self.multi:
            return {}
        shares, right = np.stack(predicted), np.stack([e.target > 0 for e in self.read("dev")])
        there = sum(len(labels_of(example)) for example in self.task.dev)
        values = []
        for threshold in _THRESHOLDS.tolist():
            above = shares >= threshold
            values.append(2 * (above & right).sum() / max(1, above.sum() + there))
        return {"threshold": float(_THRESHOLDS[int(np.argmax(values))])}

    def decide(self, predicted: np.ndarray, chosen: dict[str, float]) -> frozenset[str]:
        if not self.multi:
            return frozenset({self.labels[int(predicted.argmax())]})
        ranking = tuple(self.labels[i] for i in np.argsort(-predicted, kind="stable"))
        return Coded(self._above(predicted, chosen["threshold"]), ranking)

    def _above(self, predicted: np.ndarray, threshold: float) -> frozenset[str]:
        return frozenset(self.labels[i] for i in np.flatnonzero(predicted >= threshold))

    def score(self, part: str, decided: Sequence[frozenset[str]]) -> dict[str, float]:
        gold = [labels_of(e) for e in getattr(self.task, part)]
        if self.negative is not None:
            return relation_scores(gold, decided, self.negative)
        scores = label_scores(gold, decided, self.multi)
        rankings = [document.ranking for document in decided if isinstance(document, Coded)]
        if self.multi and len(rankings) == len(gold):
            scores["MAP"] = mean_average_precision(gold, rankings)
        for length in self.task.spec.levels:
            scores |= level_scores(gold, decided, length)
        return scores

    def tallies(self, part: str, decided: Sequence[frozenset[str]]) -> np.ndarray:
        gold = [labels_of(e) for e in getattr(self.task, part)]
        if self.tally == "macro-F1":
            return tallies_by_label(gold, decided)
        none = frozenset() if self.negative is None else frozenset({self.negative})
        pairs = ((g - none, d - none) for g, d in zip(gold, decided, strict=True))
        return np.array([(len(g & d), len(d), len(g)) for g, d in pairs])

    def majority(self, part: str) -> dict[str, float]:
        """The scores of always saying what train says most: its most frequent label."""
        label = majority(self.task)
        return self.score(part, [Coded(label, tuple(label))] * len(getattr(self.task, part)))

    def prior(self, part: str) -> dict[str, float]:
        """The scores of a model that reads nothing: train's label shares for every document, by dev's threshold.

        With several labels a document this is far above the majority answer, and what an untaught model converges to.
        """
        shares = _shares(self.task, self.labels)
        chosen = self.choose([shares] * len(self.task.dev))
        return self.score(part, [self.decide(shares, chosen)] * len(getattr(self.task, part)))


def ranked(labels: Sequence[str], shares: np.ndarray) -> tuple[tuple[str, float], ...]:
    """The labels with their probabilities, the most probable first."""
    return tuple((labels[i], float(shares[i])) for i in np.argsort(-shares, kind="stable"))


def protocol_of_labels(spec: TaskSpec) -> str:
    if spec.kind == "relations":
        return "relations/1"
    return "labels-multi/1" if spec.kind == "multilabel" else "labels-single/1"


def majority(task: Task) -> frozenset[str]:
    """Train's most frequent label, the first of the alphabet among equals."""
    counts = Counter(label for e in task.train for label in labels_of(e))
    return frozenset({max(sorted(counts), key=counts.__getitem__)})


def _shares(task: Task, labels: Sequence[str]) -> np.ndarray:
    counts = Counter(label for e in task.train for label in labels_of(e))
    return np.array([counts[label] / max(1, len(task.train)) for label in labels])


def labels_of(example: Example) -> frozenset[str]:
    gold: Any = example.gold
    return frozenset({gold}) if isinstance(gold, str) else gold


def micro_f1(gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]]) -> float:
    right = sum(len(g & d) for g, d in zip(gold, decided, strict=True))
    size = sum(len(g) + len(d) for g, d in zip(gold, decided, strict=True))
    return 2 * right / size if size else 0.0


def mean_average_precision(gold: Sequence[frozenset[str]], rankings: Sequence[Sequence[str]]) -> float:
    """Over documents with gold: precision at the rank of each gold label, summed, over their number; a gold label
    that is not ranked adds nothing."""
    precisions = []
    for labels, ranking in zip(gold, rankings, strict=True):
        if labels:
            ranks = [rank for rank, label in enumerate(ranking, 1) if label in labels]
            precisions.append(sum(right / rank for right, rank in enumerate(ranks, 1)) / len(labels))
    return float(np.mean(precisions)) if precisions else 0.0


def level_scores(gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]], length: int) -> dict[str, float]:
    """Micro-F1, macro-F1 and, of rankings, MAP of what the first `length` characters of codes name: a category of
    ICD-10 by three, a kind of cell of ICD-O by four."""
    true, predicted = ([frozenset(code[:length] for code in codes) for codes in side] for side in (gold, decided))
    scores = label_scores(true, predicted, multi=True)
    names = ["micro-F1", "macro-F1"]
    if rankings := [document.ranking for document in decided if isinstance(document, Coded)]:
        names.append("MAP")
        shorter = [tuple(dict.fromkeys(code[:length] for code in ranking)) for ranking in rankings]
        scores["MAP"] = mean_average_precision(true, shorter)
    return {f"{name}, {length}-character codes": scores[name] for name in names}


def tallies_by_label(gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]]) -> np.ndarray:
    """(documents, 3 * labels): right, said and gold of each label of gold, one after the other."""
    names = sorted(set().union(*gold))
    return np.array(
        [[(n in g and n in d, n in d, n in g) for n in names] for g, d in zip(gold, decided, strict=True)]
    ).reshape(len(gold), -1)


def relation_scores(
    gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]], negative: str
) -> dict[str, float]:
    """Micro precision, recall and F1 over all labels but the one of no relation."""
    true, predicted = ([labels - {negative} for labels in side] for side in (gold, decided))
    right = sum(len(g & d) for g, d in zip(true, predicted, strict=True))
    positives, there = sum(map(len, predicted)), sum(map(len, true))
    return {
        "micro-F1 of relations": micro_f1(true, predicted),
        "precision of relations": right / positives if positives else 0.0,
        "recall of relations": right / there if there else 0.0,
    }


def label_scores(gold: Sequence[frozenset[str]], decided: Sequence[frozenset[str]], multi: bool) -> dict[str, float]:
    """Scores over all labels of gold, those that train lacks included."""
    names = sorted(set().union(*gold))
    true, predicted = (np.array([[n in x for n in names] for x in side], dtype=int) for side in (gold, decided))
    macro = float(f1_score(true, predicted, average="macro", zero_division=0))
    weighted = float(f1_score(true, predicted, average="weighted", zero_division=0))
    if multi:
        return {"micro-F1": micro_f1(gold, decided), "macro-F1": macro, "weighted F1": weighted}
    accuracy = sum(g == d for g, d in zip(gold, decided, strict=True)) / max(1, len(gold))
    return {"macro-F1": macro, "weighted F1": weighted, "accuracy": accuracy}
