"""Sets without a division: every document is tested once."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec, load_pack
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task
from medlingua.recipes.evaluation import cached_states, evaluate
from medlingua.recipes.evaluation.baselines import BASELINE, UPPER_BOUND
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.reading import EncodedDocument, token_states
from medlingua.recipes.evaluation.tasks.labels import Labels
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.protocols import protocol_of
from medlingua.reports.read import read_scores

from ...languages.conftest import ROOT, needs_data


def read(folder: Path, rows: list[tuple[str, str, str, str]], **changes: Any) -> Task:
    body = "".join(f"{i},{group},{text},{label}\n" for i, group, text, label in rows)
    (folder / "t.csv").write_text("id,patient,text,label\n" + body, encoding="utf-8")
    given = {"name": "t", "kind": "relations", "negative": "none", "path": ".", "reader": "table", "file": "t.csv",
             "options": {"id": "id", "labels": "label"}, "folds": 4}  # fmt: skip
    return read_task(TaskSpec.model_validate(given | changes), folder, "fr")


def rows(count: int) -> list[tuple[str, str, str, str]]:
    words = ("le foie est malade", "le rein va bien")
    return [(f"d{i}", f"p{i // 3}", f"{words[i % 2]} {i}", ("treats", "none")[i % 2]) for i in range(count)]


def test_every_document_is_tested_once_and_never_learnt_from_in_its_fold(tmp_path: Path) -> None:
    task = read(tmp_path, rows(60), group="patient")
    assert len(task.folds) == 4
    assert Counter(e.id for fold in task.folds for e in fold.test) == Counter(f"d{i}" for i in range(60))
    assert [e.id for e in task.test] == [e.id for fold in task.folds for e in fold.test]
    assert not task.train
    for fold in task.folds:
        patients = [{e.document.meta["patient"] for e in part} for part in (fold.train, fold.dev, fold.test)]
        assert not patients[0] & patients[1]
        assert not patients[2] & (patients[0] | patients[1])
        assert len(fold.train) + len(fold.dev) + len(fold.test) == 60
    # Balanced, and the same whatever the order of the file.
    assert {len({e.document.meta["patient"] for e in fold.test}) for fold in task.folds} == {5}
    again = read(tmp_path, rows(60)[::-1], group="patient")
    assert [{e.id for e in fold.test} for fold in again.folds] == [{e.id for e in fold.test} for fold in task.folds]


def test_documents_with_one_text_are_in_one_fold(tmp_path: Path) -> None:
    same = [(i, group, text if int(i[1:]) > 9 else "le même texte", label) for i, group, text, label in rows(60)]
    task = read(tmp_path, same)
    (holding,) = [fold for fold in task.folds if any(e.document.text == "le même texte" for e in fold.test)]
    assert sum(e.document.text == "le même texte" for e in holding.test) == 10


def test_the_folds_are_scored_at_once_under_their_protocol(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = read(tmp_path, rows(40))
    trained: list[set[str]] = []
    fit = evaluate.fit

    def watched(encoder: Any, model: Any, *given: Any, **named: Any) -> Any:
        trained.append({e.id for e in model.task.train})
        assert not trained[-1] & {e.id for e in model.task.test}
        return fit(encoder, model, *given, **named)

    monkeypatch.setattr(evaluate, "fit", watched)
    settings = Eval(epochs=1, min_steps=0, seeds=1)
    options: Any = {"precision": Precision("fp32", ""), "cache": tmp_path / "cells"}
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", tmp_path, **options))
    assert len(trained) == 4
    scored = [row for row in read_scores(tmp_path / "results.jsonl") if row.seed == 0]
    assert {(row.protocol, row.examples) for row in scored} == {("relations/1, 4 folds", 40)}
    record = protocol_of("relations/1, 4 folds")
    assert record is not None
    assert "4 folds" in record.splits
    _, *lines = map(json.loads, (tmp_path / "predictions" / "t-m-0.jsonl").read_text().splitlines())
    assert Counter(line["id"] for line in lines) == Counter(e.id for e in task.test)
    predicted = [frozenset(line["predicted"]) for line in lines]
    (value,) = [row.value for row in scored if row.metric == "micro-F1 of relations"]
    whole = Labels(task, encoders.load(str(base)))
    assert whole.score("test", predicted)["micro-F1 of relations"] == pytest.approx(value)
    assert any(
        row.model == BASELINE and "mean over folds" in row.note for row in read_scores(tmp_path / "results.jsonl")
    )
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", tmp_path, **options))
    assert len(trained) == 4  # from the cells


def test_a_frozen_body_reads_each_document_once_for_all_folds_and_seeds(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = read(tmp_path, rows(40))
    read_documents: list[EncodedDocument] = []

    def counted(encoder: Encoder, documents: Sequence[EncodedDocument]) -> torch.Tensor:
        read_documents.extend(documents)
        return token_states(encoder, documents)

    monkeypatch.setattr(cached_states, "token_states", counted)
    settings = Eval(epochs=1, min_steps=0, seeds=2, body="frozen")
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", tmp_path, Precision("fp32", "")))
    assert {row.seed for row in read_scores(tmp_path / "results.jsonl")} >= {0, 1}
    assert len(read_documents) == len(task.test) == 40


def test_entities_in_folds_are_scored_at_once_and_bounded_as_a_whole(base: Path, tmp_path: Path) -> None:
    """A set without a division: every document is tested in one fold, by a model that did not learn from it."""
    for i in range(16):
        text = f"Cas {i} : fièvre jaune et toux."
        start, end = text.index("fièvre"), text.index(" et")
        nested = f"T1\tDIS {start} {end}\tfièvre jaune\nT2\tDIS {start} {start + 6}\tfièvre\n"
        (tmp_path / f"c{i}.txt").write_text(text, encoding="utf-8")
        (tmp_path / f"c{i}.ann").write_text(nested if i % 2 else nested.splitlines()[0] + "\n", encoding="utf-8")
    spec = TaskSpec(name="t", kind="ner", path=".", reader="brat", folds=4)
    task = read_task(spec, tmp_path, "fr")
    settings = Eval(epochs=1, min_steps=0, seeds=1)
    (tmp_path / "out").mkdir()
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", tmp_path / "out", Precision("fp32", "")))
    scores = read_scores(tmp_path / "out" / "results.jsonl")
    (score,) = [row for row in scores if row.seed == 0 and row.metric == "strict entity micro-F1"]
    assert (score.protocol, score.examples, score.gold) == ("ner-strict/1, 4 folds", 16, 24)
    (bound,) = [row for row in scores if row.model == UPPER_BOUND]
    assert bound.value == pytest.approx(2 * 16 / (16 + 24))
    _, *lines = map(json.loads, (tmp_path / "out" / "predictions" / "t-m-0.jsonl").read_text().splitlines())
    assert Counter(line["id"] for line in lines) == Counter(e.id for e in task.test)


def test_what_the_reader_tells_is_told_of_folds_too(tmp_path: Path) -> None:
    given = [(i, group, text, "nan" if label == "treats" else label) for i, group, text, label in rows(60)]
    task = read(tmp_path, given)
    assert task.notes == ("documents whose label is 'nan', which may stand for an empty cell: 30",)


@pytest.mark.parametrize(
    ("count", "changes", "message"),
    [
        (6, {"group": "patient"}, "2 documents or groups make no 4 folds"),
        (60, {"folds": 2}, "greater than or equal to 3"),
        (60, {"splits": {"train": "t.csv", "test": "t.csv"}}, "folds are for sets without a division"),
        (60, {"kind": "choice"}, "folds are for sets without a division"),
    ],
)
def test_impossible_folds_are_refused(count: int, changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        read(tmp_path, rows(count), **changes)


@needs_data
def test_e3c_makes_folds_of_whole_documents() -> None:
    spec = next(task for task in load_pack("fr").tasks if task.name == "e3c_results_fr")
    task = read_task(spec.model_copy(update={"folds": 6}), ROOT, "fr")
    documents = [{e.document.meta["document"] for e in fold.test} for fold in task.folds]
    assert len(documents) == 6
    assert sum(map(len, documents)) == len(set().union(*documents))
    assert max(map(len, documents)) - min(map(len, documents)) <= 1
    assert {e.gold for e in task.test} == {"pertains-to", "none"}
