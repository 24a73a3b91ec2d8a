"""Document coding: the ranking of codes beside the set that is said."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.baselines import BASELINE, PRIOR
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.tasks.labels import Labels, mean_average_precision
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores
from sklearn.metrics import label_ranking_average_precision_score

CODES = [f"C{i:02}" for i in range(12)]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_map_is_scikit_learns_on_documents_with_gold(seed: int, documents: int) -> None:
    draw = np.random.default_rng(seed)
    gold = draw.random((documents, len(CODES))) < 0.3
    scores = draw.permuted(np.tile(np.arange(len(CODES)), (documents, 1)), axis=1)
    sets = [frozenset(np.array(CODES)[row].tolist()) for row in gold]
    rankings = [[CODES[i] for i in np.argsort(-row)] for row in scores]
    coded = gold.any(axis=1)
    expected = label_ranking_average_precision_score(gold[coded], scores[coded]) if coded.any() else 0.0
    assert mean_average_precision(sets, rankings) == pytest.approx(expected)


def test_a_gold_code_that_is_never_ranked_counts_as_missed() -> None:
    # precision 1/1 at the first rank and 2/3 at the third, over three gold codes
    assert mean_average_precision([frozenset("abz")], ["axb"]) == pytest.approx((1 + 2 / 3) / 3)


def task_of_codes() -> Task:
    draw = np.random.default_rng(0)

    def part(name: str, count: int) -> tuple[Example, ...]:
        made = []
        for number in range(count):
            codes = frozenset(draw.choice(CODES[:4], draw.integers(1, 3), replace=False).tolist())
            text = " ".join(f"Le patient a {code}." for code in sorted(codes))
            made.append(Example(f"{name}{number}", Document(f"{name}{number}", text, "s"), codes))
        return tuple(made)

    return Task(TaskSpec(name="codes", kind="multilabel"), "fr", part("a", 24), part("b", 8), part("c", 12), True)


def test_every_model_and_baseline_of_a_coding_task_has_its_map(base: Path, encoder: Encoder, tmp_path: Path) -> None:
    task = task_of_codes()
    score_models(
        {"m": str(base)},
        [task],
        Evaluation(Eval(epochs=1, min_steps=0, seeds=1), "fr", tmp_path, Precision("fp32", "")),
    )
    rows = {(row.model, row.metric): row.value for row in read_scores(tmp_path / "results.jsonl")}
    assert {model for model, metric in rows if metric == "MAP"} == {"m", BASELINE, PRIOR}
    assert rows[PRIOR, "MAP"] > rows[BASELINE, "MAP"]
    model = Labels(task, encoder)
    # Ranked right but all below the threshold: MAP does not depend on it.
    scores = [np.array([0.3 if code in example.gold else 0.1 for code in model.labels]) for example in task.test]  # type: ignore[operator]
    found = model.score("test", [model.decide(s, {"threshold": 0.5}) for s in scores])
    assert (found["MAP"], found["micro-F1"]) == (1.0, 0.0)
