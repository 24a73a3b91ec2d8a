"""Where a model errs: kinds of errors by hand, and sums that agree with the scores."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.errors import KINDS, errors_of, item_of, matched, shown_errors
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.results import plain
from medlingua.recipes.evaluation.tasks.ner import strict_scores
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.compare import write_comparison
from medlingua.reports.error_page import write_error_page
from medlingua.reports.errors import errors_by_task, sign_flip_p
from medlingua.reports.read import read_errors

from .test_every_kind import a_task

TEXT = "Patient opéré du foie gauche, toux sèche et fièvre. " + "Le patient va bien. " * 30


def span(words: str, label: str = "DISO") -> Span:
    return Span.of(TEXT.index(words), TEXT.index(words) + len(words), label)


def document(*gold: Span, name: str = "d") -> Example:
    return Example(name, Document(name, TEXT, "s"), gold)


def test_each_kind_of_error_is_distinguished_from_the_others() -> None:
    gold = (
        span("opéré", "PROC"), span("foie gauche", "ANAT"), span("toux sèche"), span("fièvre"), span("Patient", "PER")
    )  # fmt: skip
    predicted = (
        span("opéré", "PROC"), span("foie", "ANAT"), span("toux", "ANAT"), span("fièvre", "ANAT"), span("va bien")
    )  # fmt: skip
    kinds = {(m.gold or m.predicted).surface(TEXT): m.kind for m in matched(document(*gold), map(plain, predicted))}
    assert kinds == {
        "opéré": "correct", "foie gauche": "boundary", "toux sèche": "both", "fièvre": "label", "Patient": "missed",
        "va bien": "spurious",
    }  # fmt: skip


def test_an_exact_match_is_not_taken_by_a_neighbour_and_the_closest_borders_win() -> None:
    gold = (span("toux sèche"), span("sèche"))
    whole = matched(document(*gold), [plain(span("sèche"))])
    assert [(m.gold, m.kind) for m in whole] == [(gold[0], "missed"), (gold[1], "correct")]
    close = matched(document(span("foie gauche")), [plain(span("du foie")), plain(span("foie gauche, toux"))])
    assert [m.kind for m in close] == ["boundary", "spurious"]
    assert close[0].predicted == span("foie gauche, toux")


spans = st.builds(
    lambda start, size, label: Span.of(start, start + size, label),
    st.integers(0, 30), st.integers(1, 8), st.sampled_from("AB"),
)  # fmt: skip


@given(gold=st.lists(spans, max_size=8, unique=True), predicted=st.lists(spans, max_size=8, unique=True))
def test_matches_use_every_item_once_and_agree_with_the_strict_score(gold: list[Span], predicted: list[Span]) -> None:
    example = document(*gold)
    matches = matched(example, map(plain, predicted))
    assert [m.gold for m in matches if m.gold is not None] == gold
    assert sorted(m.predicted for m in matches if m.predicted is not None) == sorted(predicted)
    right = sum(m.kind == "correct" for m in matches)
    precision, recall, _ = strict_scores([gold], [predicted])
    assert right == len({*gold} & {*predicted})
    assert recall == pytest.approx(right / len(gold) if gold else 0.0)
    assert precision == pytest.approx(right / len(predicted) if predicted else 0.0)


def test_counts_by_place_length_and_mention() -> None:
    learnt = document(span("fièvre"), name="train")
    tested = document(span("fièvre"), span("toux sèche"), name="test")
    late = TEXT.rindex("va bien")
    example = replace(tested, gold=(*tested.gold, Span.of(late, late + 7, "DISO")))  # type: ignore[misc]
    task = replace(a_task("ner"), train=(learnt,), test=(example,))
    row = errors_of("m", task, "ner-strict/1", 0, [[plain(span("fièvre")), plain(span("opéré"))]])
    assert row is not None
    groups = {name: {c.name: (c.right, c.predicted, c.gold) for c in of} for name, of in row.groups.items()}
    assert groups["place"] == {"first quarter": (1, 2, 2), "last quarter": (0, 0, 1)}
    assert groups["mention"] == {"not seen in train": (0, 1, 2), "seen in train": (1, 1, 1)}
    assert groups["length"] == {"101 to 400 words": (1, 2, 3)}
    assert row.recovered == ("100",)
    assert row.kinds == {"correct": 1, "label": 0, "boundary": 0, "both": 0, "missed": 2, "spurious": 1}


@pytest.mark.parametrize("kind", ["ner", "classification", "multilabel", "relations", "pairs"])
def test_an_evaluation_counts_its_errors_and_the_report_shows_them(kind: Any, base: Path, tmp_path: Path) -> None:
    task: Task = a_task(kind, **({"negative": "non"} if kind == "relations" else {}))
    settings = Eval(epochs=2, min_steps=0, lr=3e-3, seeds=2)
    models = {"one": str(base), "two": str(base)}
    score_models(models, (task,), Evaluation(settings, "fr", tmp_path, Precision("fp32", "")))
    rows = read_errors(tmp_path / "errors.jsonl")
    assert [(row.model, row.seed) for row in rows] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    gold = sum(len(e.gold) if kind in ("ner", "multilabel") else 1 for e in task.test)  # type: ignore[arg-type]
    for row in rows:
        assert sum(c.gold for c in row.labels) == gold == sum(map(len, row.recovered))
        (file,) = (tmp_path / "predictions").glob(f"*-{row.model}-{row.seed}.jsonl")
        predicted = [json.loads(line)["predicted"] for line in file.read_text(encoding="utf-8").splitlines()[1:]]
        assert sum(c.predicted for c in row.labels) == sum(map(len, predicted))
        assert all(item_of(entry) for of in predicted for entry in of)
    text = (tmp_path / "errors.jsonl").read_text(encoding="utf-8")
    assert "On examine" not in text, "counts alone"
    page = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert "Where the models err" in page
    assert ("same borders, another label" in page) == (kind == "ner")
    assert "one and two" in page
    assert "Where the models err" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_table_of_two_models_says_what_each_finds_alone() -> None:
    task = replace(
        a_task("ner"), test=(document(span("fièvre"), span("toux sèche")), document(span("foie"), name="e"))
    )
    first = errors_of("a", task, "p", 0, [[plain(span("fièvre"))], [plain(span("foie"))]])
    second = errors_of("b", task, "p", 0, [[plain(span("toux sèche"))], [plain(span("foie"))]])
    assert first is not None
    assert second is not None
    ((_, pairs),) = errors_by_task([first, second]).values()
    assert pairs is not None
    (row,) = pairs.to_dict("records")
    assert (row["Both"], row["First alone"], row["Second alone"], row["Neither"]) == ("1", "1", "1", "0")
    assert row["p"] == "1.000"


def test_the_page_of_errors_shows_each_in_its_context_with_filters(tmp_path: Path) -> None:
    gold, predicted = (span("foie gauche", "ANAT"), span("toux sèche")), (span("foie", "ANAT"), span("fièvre", "<b>"))
    task = replace(a_task("ner"), test=(document(*gold),))
    (tmp_path / "predictions").mkdir()
    lines = [{"task": "t"}, {"id": "d", "predicted": [plain(s) for s in predicted]}]
    for name in ("t-mini-1", "t-mini-0", "t-mini-2-0"):
        text = "".join(json.dumps(line) + "\n" for line in lines[: 1 + (name == "t-mini-0")])
        (tmp_path / "predictions" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    shown = list(shown_errors(tmp_path, "mini", task))
    assert [(e.kind, e.gold, e.predicted, e.words) for e in shown] == [
        ("boundary", "ANAT", "ANAT", "foie gauche"),
        ("missed", "DISO", "", "toux sèche"),
        ("spurious", "", "<b>", "fièvre"),
    ]
    assert all(e.before + e.words + e.after in TEXT for e in shown)
    page = write_error_page(tmp_path, shown).read_text(encoding="utf-8")
    assert "<mark>foie gauche</mark>" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert page.count('type="radio"') == (1 + 3) + (1 + 3), "kinds and labels; there is one model"


def test_the_permutation_test_is_exact_where_all_signs_can_be_tried() -> None:
    differences = np.array([3, 1, 2, -1, 0, 2])
    changed = differences[differences != 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(changed))).reshape(len(changed), -1)
    exact = float((np.abs(changed @ signs) >= abs(differences.sum())).mean())
    assert sign_flip_p(differences) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p(np.zeros(5, dtype=int)) == 1.0
    assert sign_flip_p(np.full(30, 2)) < 0.001
    assert set(KINDS) == {"correct", "label", "boundary", "both", "missed", "spurious"}
