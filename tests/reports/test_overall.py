"""All tasks at once: ranks, win probability and scores by length, against what is counted by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medlingua.reports.bootstrap import Tallies
from medlingua.reports.compare import write_comparison
from medlingua.reports.overall import by_length, overall
from medlingua.reports.read import append_row
from medlingua.reports.rows import ArmRow, ArmsRow, Score
from medlingua.reports.scores import compare

SHORT, LONG = [20] * 30, [300, 500, 900] * 10


def score(model: str, task: str, value: float, seed: int | None = 0, protocol: str = "ner-strict/1") -> Score:
    return Score(
        model=model, task=task, language="fr", split="test", metric="f1", protocol=protocol, value=value,
        seed=seed, examples=30, gold=10, synthetic=False, note="",
    )  # fmt: skip


def keyed(scores: list[Score], words: dict[str, list[int]]) -> Any:
    comparisons = {
        (c.measure.protocol, c.measure.task, c.measure.language, c.measure.metric): c for c in compare(scores)
    }
    return comparisons, {key: Tallies("mean", {}, np.array(words[key[1]])) for key in comparisons}


def test_ranks_wins_and_means_are_those_of_a_count() -> None:
    values = {
        "a": {"x": [0.5, 0.7], "y": [0.9, 0.9]},
        "b": {"x": [0.6, 0.6], "y": [0.8, 0.8]},
        "c": {"x": [0.1, 0.2], "y": [0.8, 0.8]},
    }
    scores = [score(m, t, v, s) for m, of in values.items() for t, seeds in of.items() for s, v in enumerate(seeds)]
    scores += [score("majority", "x", 0.99, None), score("d", "x", 1.0)]
    a, b, c = overall(*keyed(scores, {"x": SHORT, "y": LONG}))
    assert [row.model for row in (a, b, c)] == ["a", "b", "c"], "d was not scored on y, the majority is no model"
    assert (a.rank, b.rank, c.rank) == (1.25, 2.0, 2.75)  # ties share
    assert a.short == pytest.approx(0.6)
    assert a.long == pytest.approx(0.9)
    assert b.wins == pytest.approx(((0 + 1 + 0 + 1) / 4 + 1 + 0 + 0.5) / 4)


@pytest.mark.parametrize(("longer", "is_it"), [(5, False), (6, True)])
def test_a_task_is_long_where_a_fifth_of_its_documents_are(longer: int, is_it: bool) -> None:
    """Clinical cases of 330 words in the median are cut by a short model where it matters: a third of them."""
    words = [350] * (30 - longer) + [400] * longer
    scores = [score(m, t, v) for m, v in (("a", 0.5), ("b", 0.6)) for t in ("x", "y")]
    best, _ = overall(*keyed(scores, {"x": SHORT, "y": words}))
    assert (best.long is not None) == is_it


def test_a_task_under_two_protocols_makes_no_ranking() -> None:
    scores = [score(m, t, 0.5, protocol=p) for m in "ab" for t, p in (("x", "one/1"), ("x", "two/1"), ("y", "one/1"))]
    assert overall(*keyed(scores, {"x": SHORT, "y": LONG})) == []


def test_one_model_or_one_task_makes_no_ranking() -> None:
    assert overall(*keyed([score("a", "x", 0.5), score("b", "x", 0.6)], {"x": SHORT})) == []
    assert overall(*keyed([score("a", "x", 0.5), score("a", "y", 0.6)], {"x": SHORT, "y": LONG})) == []


def test_scores_by_length_are_the_metric_of_each_third() -> None:
    words = np.arange(30)[::-1] + 10
    right = (words < 20).astype(float)  # the shortest third, all right
    by_third = by_length(Tallies("mean", {"m": {0: right[:, None], 1: np.zeros((30, 1))}}, words))
    assert by_third == {"m": [(14.5, 0.5), (24.5, 0.0), (34.5, 0.0)]}


@pytest.mark.parametrize("words", [None, np.arange(1, 20), np.full(40, 7)])
def test_lengths_that_say_nothing_are_not_drawn(words: Any) -> None:
    assert by_length(Tallies("mean", {"m": {0: np.ones((40, 1))}}, words)) == {}


def test_the_page_shows_them(tmp_path: Path) -> None:
    for task, words in (("x", SHORT), ("y", LONG)):
        for model, level in (("alpha", 1.0), ("beta", 0.5), ("of an earlier study", 0.25)):
            if model != "of an earlier study":
                append_row(tmp_path / "results.jsonl", score(model, task, level))
            head = {"task": task, "language": "fr", "model": model, "seed": 0, "protocol": "ner-strict/1"}
            lines = [json.dumps({**head, "metric": "f1", "tally": "mean"})]
            lines += [
                json.dumps({"id": str(i), "words": n, "predicted": [], "tally": [level]}) for i, n in enumerate(words)
            ]
            (tmp_path / "predictions").mkdir(exist_ok=True)
            (tmp_path / "predictions" / f"{task}-{model}-0.jsonl").write_text("\n".join(lines) + "\n")
    arms = ArmsRow(arms=tuple(ArmRow(name=m, strategy="convert", base="b", seconds=60.0) for m in ("alpha", "beta")))
    (tmp_path / "arms.json").write_text(arms.model_dump_json())
    page = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert "Over all tasks" in page
    assert "Win probability" in page
    assert "training time (minutes)" in page
    assert "document length (median words of each third)" in page
    assert "y, f1" in page
    assert "of an earlier study" not in page
    assert "x, f1" not in page.split("By document length")[1].split("</svg>")[0]
