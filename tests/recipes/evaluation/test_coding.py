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
from medlingua.recipes.evaluation.tasks.labels import Coded, Labels, level_scores, mean_average_precision
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores
from sklearn.metrics import f1_score, label_ranking_average_precision_score
from sklearn.preprocessing import MultiLabelBinarizer

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


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_scores_by_first_characters_are_those_of_shortened_codes(seed: int, documents: int) -> None:
    draw = np.random.default_rng(seed)
    codes = [f"{letter}{i:02}.{j}" for letter in "AB" for i in range(3) for j in range(3)]
    gold = [frozenset(draw.choice(codes, 3).tolist()) for _ in range(documents)]
    decided = [
        Coded(draw.choice(codes, 3).tolist(), tuple(draw.permutation(codes).tolist())) for _ in range(documents)
    ]
    results = level_scores(gold, decided, 3)
    binarizer = MultiLabelBinarizer().fit([[code[:3] for code in codes]])
    true, predicted = (binarizer.transform([{c[:3] for c in of} for of in side]) for side in (gold, decided))
    there = true.any(axis=0)
    assert results["micro-F1, 3-character codes"] == pytest.approx(f1_score(true, predicted, average="micro"))
    macro = f1_score(true[:, there], predicted[:, there], average="macro", zero_division=0)
    assert results["macro-F1, 3-character codes"] == pytest.approx(macro)
    # The score of a category is that of its best code.
    scores = np.array(
        [[max(-of.ranking.index(c) for c in codes if c[:3] == k) for k in binarizer.classes_] for of in decided]
    )
    assert results["MAP, 3-character codes"] == pytest.approx(label_ranking_average_precision_score(true, scores))


def test_a_gold_code_that_is_never_ranked_counts_as_missed() -> None:
    # precision 1/1 at the first rank and 2/3 at the third, over three gold codes
    assert mean_average_precision([frozenset("abz")], ["axb"]) == pytest.approx((1 + 2 / 3) / 3)


def task_of_codes() -> Task:
    draw = np.random.default_rng(0)

    def part(name: str, count: int) -> tuple[Example, ...]:
        examples = []
        for number in range(count):
            codes = frozenset(draw.choice(CODES[:4], draw.integers(1, 3), replace=False).tolist())
            text = " ".join(f"Le patient a {code}." for code in sorted(codes))
            examples.append(Example(f"{name}{number}", Document(f"{name}{number}", text, "s"), codes))
        return tuple(examples)

    return Task(
        TaskSpec(name="codes", kind="multilabel", levels=(1,)), "fr", part("a", 24), part("b", 8), part("c", 12), True
    )


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
    assert rows["m", "micro-F1, 1-character codes"] == 1.0  # all codes are C
    model = Labels(task, encoder)
    # Ranked right but all below the threshold: MAP does not depend on it.
    scores = [np.array([0.3 if code in example.gold else 0.1 for code in model.labels]) for example in task.test]  # type: ignore[operator]
    results = model.score("test", [model.decide(s, {"threshold": 0.5}) for s in scores])
    assert (results["MAP"], results["micro-F1"]) == (1.0, 0.0)
