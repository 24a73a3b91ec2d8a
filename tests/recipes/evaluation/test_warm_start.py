"""A task that is learnt after another one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.languages.pack import Overlap, TaskSpec, load_pack
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.baselines import BASELINE
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import Passes
from medlingua.recipes.evaluation.tasks.labels import Labels
from medlingua.recipes.evaluation.warm_start import overlap_lines, warm, without_tested
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.protocols import protocol_of
from medlingua.reports.read import read_scores

from ..conftest import call

ONCE = Eval(epochs=1, min_steps=0, seeds=1)
LONG = " ".join(f"mot{i}" for i in range(20))


def labelled(name: str, train: int, labels: tuple[str, str] = ("foie", "rein")) -> Task:
    def part(of: str, count: int) -> tuple[Example, ...]:
        texts = [f"{of} {i} : le {('foie', 'rein')[i % 2]} est malade" for i in range(count)]
        return tuple(
            Example(f"{of}{i}", Document(f"{of}{i}", text, "s"), labels[i % 2]) for i, text in enumerate(texts)
        )

    spec = TaskSpec(name=name, kind="classification")
    return Task(spec, "fr", part(f"{name} train", train), part(f"{name} dev", 12), part(f"{name} test", 24))


def scores(folder: Path, base: Path, task: Task, first: Task | None, **options: Any) -> dict[str, float]:
    folder.mkdir(exist_ok=True)
    settings = options.pop("settings", ONCE)
    fp32 = Precision("fp32", "")
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", folder, fp32, warm_start=first, **options))
    return {row.protocol: row.value for row in read_scores(folder / "results.jsonl") if row.seed == 0}


def test_what_was_learnt_before_is_there_and_the_encoder_is_put_back(encoder: Encoder) -> None:
    first, model = Labels(labelled("first", 60), encoder), Labels(labelled("second", 4), encoder)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    settings = Eval(epochs=12, min_steps=0, lr=3e-3, batch_documents=8)
    with warm(encoder, model, first, settings, 0, Passes(), "t") as fresh:
        assert not fresh  # one kind, the same labels: the head goes along
        assert any(not torch.equal(before[n], v) for n, v in encoder.model.state_dict().items())
        assert torch.equal(model.head.weight, first.head.weight)
    assert all(torch.equal(before[n], v) for n, v in encoder.model.state_dict().items())
    other = Labels(labelled("third", 4, ("a", "b")), encoder)
    with warm(encoder, other, first, ONCE, 0, Passes(), "t") as fresh:
        assert fresh


def test_a_warm_start_is_scored_under_its_own_protocol_and_cell(base: Path, tmp_path: Path) -> None:
    task, first = labelled("second", 4), labelled("first", 60)
    settings = Eval(epochs=10, min_steps=0, seeds=1, lr=3e-3, batch_documents=8)
    options = {"settings": settings, "cache": tmp_path / "cells"}
    (plain,) = set(scores(tmp_path / "plain", base, task, None, **options))
    (after,) = set(scores(tmp_path / "after", base, task, first, **options))
    assert (plain, after) == ("labels-single/1", "labels-single/1, after first")
    record = protocol_of(after)
    assert record is not None
    assert "first trained on the train set of first" in record.training
    assert len(list((tmp_path / "cells").iterdir())) == 2
    other = replace(first, train=first.train[:-2])
    scores(tmp_path / "other", base, task, other, **options)
    assert len(list((tmp_path / "cells").iterdir())) == 3
    # The task itself is not learnt twice.
    assert set(scores(tmp_path / "itself", base, first, first)) == {"labels-single/1"}


def test_another_protocol_in_the_same_folder_is_scored_too_and_nothing_twice(base: Path, tmp_path: Path) -> None:
    task, first = labelled("second", 4), labelled("first", 8)
    for settings in (ONCE, ONCE, Eval(epochs=1, min_steps=0, seeds=1, body="frozen")):
        scores(tmp_path, base, task, None, settings=settings)
    scores(tmp_path, base, task, first)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    counts = Counter((row["protocol"], row["model"], row["metric"]) for row in map(json.loads, lines))
    assert {protocol for protocol, model, _ in counts if model == "m"} == {
        "labels-single/1", "labels-single/1, frozen body/2", "labels-single/1, after first"
    }  # fmt: skip
    assert {protocol for protocol, model, _ in counts if model == BASELINE} == {protocol for protocol, _, _ in counts}
    assert set(counts.values()) == {1}


def test_what_is_tested_is_not_learnt_before_and_that_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    task, first = labelled("second", 4), labelled("first", 6)
    tested = replace(task.test[0], document=replace(task.test[0].document, text=f"Cas : {LONG}."))
    shared = replace(first.train[1], document=replace(first.train[1].document, text=f"{LONG.upper()} !"))
    task, first = replace(task, test=(tested,)), replace(first, train=(first.train[0], shared))
    assert without_tested(first, task).train == first.train[:1]
    assert "1 documents of first are left out, test has them" in capsys.readouterr().err
    with pytest.raises(InputError, match="second tests its documents, so nothing is left to learn"):
        without_tested(replace(first, train=(shared,)), task)


def test_a_translation_of_what_is_tested_is_not_learnt_before(capsys: pytest.CaptureFixture[str]) -> None:
    """It shares no words; the pack says that the two hold the same cases, and ids tell them."""
    task, first = labelled("fracco", 4), labelled("cantemist", 6)
    test = tuple(replace(example, id=f"brat_rest/cc{i}") for i, example in enumerate(task.test))
    train = tuple(replace(example, id=f"cc{i + 21}") for i, example in enumerate(first.train))
    task, first = replace(task, test=test), replace(first, train=train)
    known = Overlap(names=("fracco", "cantemist"), reason="One is the other in French.")
    assert without_tested(first, task).train == train
    assert capsys.readouterr().err == ""
    assert without_tested(first, task, [known]).train == train[3:]  # cc21 to cc23 of test's 24
    assert "the same documents: One is the other in French. 3 documents of cantemist" in capsys.readouterr().err


def test_the_other_text_of_a_tested_pair_is_left_out_too() -> None:
    claim = "Le vaccin protège de la grippe."

    def pairs(name: str, questions: list[str]) -> Task:
        examples = tuple(
            Example(f"{name}{n}", Document(f"{name}{n}", f"{name} réponse {n}", "s"), "oui", question=question)
            for n, question in enumerate(questions)
        )
        return Task(TaskSpec(name=name, kind="pairs"), "fr", examples, examples[-1:], examples)

    first, task = pairs("first", [f"On dit : {claim}", "Et le rhume ?", "Et la toux ?"]), pairs("task", [claim])
    assert without_tested(first, task).train == first.train[1:]


def test_what_a_model_was_trained_on_is_reported_where_it_has_documents_of_a_task() -> None:
    step = LineageStep(
        strategy="continue", language="es", base="b", settings_digest="", corpora=("cantemist", "notas"),
        licences=("", ""), tokens=1, synthetic=False, date="2026-11-27", version="0",
    )  # fmt: skip
    lineage = Lineage(base="b", base_licence="", steps=(step,))
    (line,) = overlap_lines("m", lineage, labelled("fracco", 4), load_pack("fr").overlaps)
    assert line.startswith("m was trained on es/cantemist, which has documents of fracco: ")
    assert not overlap_lines("m", lineage, labelled("morfitt", 4), load_pack("fr").overlaps)


@pytest.mark.parametrize(
    ("first", "second"),
    [("pharmaconer", "codiesp_letter"), ("distemist", "symptemist"), ("medprocner", "codiesp_category")],
)
def test_tasks_on_the_same_cases_are_known(first: str, second: str) -> None:
    assert any(overlap.holds(first, second) for overlap in load_pack("es").overlaps)


def test_an_impossible_warm_start_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"eval.warm_start trains the body"):
        scores(tmp_path / "a", base, labelled("t", 4), labelled("first", 4), settings=Eval(body="frozen"))
    line = [
        "evaluate",
        str(base),
        "--lang",
        "fr",
        "--out",
        str(tmp_path / "b"),
        "--set",
        "eval.warm_start=synthetic_nr",
    ]
    assert call(monkeypatch, line) == 2
    assert "did you mean 'synthetic_ner'" in capsys.readouterr().err
