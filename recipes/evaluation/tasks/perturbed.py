"""Inference whose test items are changed on purpose (NLI4CT-P, SemEval-2024 Task 2; arXiv 2404.04963).

Protocol pairs-perturbed/1: F1 of the positive label on the items that nobody changed (the control set). Faithfulness,
over the items whose change alters the label, in both readings: the share whose prediction is not the gold label of
their source; and, of those whose source was predicted right, the share whose prediction is not that of the source.
Consistency, over the items whose change keeps the label: the share whose prediction is that of the source.
"""

from collections.abc import Sequence

import numpy as np
from medlingua.languages.annotations import Example
from medlingua.recipes.evaluation.tasks.labels import labels_of
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.reports.bootstrap import Tally


class Perturbed(Pairs):
    """A task of text pairs with perturbed test items on one encoder."""

    protocol = "pairs-perturbed/1"
    main_metric = "control F1"
    tally: Tally = "micro-F1"

    def score(self, part: str, decided: Sequence[frozenset[str]]) -> dict[str, float]:
        return perturbed_scores(getattr(self.task, part), decided, self._positive)

    def tallies(self, part: str, decided: Sequence[frozenset[str]]) -> np.ndarray:
        return control_tallies(getattr(self.task, part), decided, self._positive)

    @property
    def _positive(self) -> str:
        assert self.task.spec.positive is not None
        return self.task.spec.positive


def control_tallies(examples: Sequence[Example], decided: Sequence[frozenset[str]], positive: str) -> np.ndarray:
    """(documents, 3): right, said and gold positives of the control set; zeros of changed items."""
    rows = []
    for example, predicted in zip(examples, decided, strict=True):
        control = "change" not in example.document.meta
        positives, gold_count = control and positive in predicted, control and positive in labels_of(example)
        rows.append((positives and gold_count, positives, gold_count))
    return np.array(rows, dtype=np.int64)


def perturbed_scores(
    examples: Sequence[Example], decided: Sequence[frozenset[str]], positive: str
) -> dict[str, float]:
    """All metrics of the protocol; those of kinds of changes that the examples lack are left out."""
    right, predicted_count, gold_count = control_tallies(examples, decided, positive).sum(axis=0).tolist()
    scores = {
        "control F1": 2 * right / (predicted_count + gold_count) if predicted_count + gold_count else 0.0,
        "control precision": right / predicted_count if predicted_count else 0.0,
        "control recall": right / gold_count if gold_count else 0.0,
    }
    gold = {example.id: labels_of(example) for example in examples}
    predicted = dict(zip(gold, decided, strict=True))
    # (kind of change, source's gold, source's prediction, own prediction)
    altering: list[tuple[str, frozenset[str], frozenset[str], frozenset[str]]] = []
    preserving: list[tuple[str, frozenset[str], frozenset[str], frozenset[str]]] = []
    for example in examples:
        meta = example.document.meta
        if "change" in meta:
            source = str(meta["changed_from"])
            row = (str(meta["change"]), gold[source], predicted[source], predicted[example.id])
            (altering if meta["effect"] == "Altering" else preserving).append(row)
    if altering:
        known = [row for row in altering if row[1] == row[2]]
        scores["faithfulness"] = _share([prediction != true for _, true, _, prediction in altering])
        scores["faithfulness, source right"] = _share([prediction != before for _, _, before, prediction in known])
    if preserving:
        scores["consistency"] = _share([prediction == before for _, _, before, prediction in preserving])
    for change in sorted({row[0] for row in preserving}):
        unchanged = [prediction == before for of, _, before, prediction in preserving if of == change]
        scores[f"consistency, {change}"] = _share(unchanged)
    for change in sorted({row[0] for row in altering}):
        scores[f"faithfulness, {change}"] = _share(
            [prediction != true for of, true, _, prediction in altering if of == change]
        )
    return scores


def _share(count: Sequence[bool]) -> float:
    return float(np.mean(count)) if count else 0.0
