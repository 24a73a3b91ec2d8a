"""What other systems found, and gold that is not there: other ids, other offsets, other labels."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.questions import read_squad
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.predictions import read_predictions
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import read_tallies
from medlingua.reports.read import read_scores

from ..conftest import call

TEXT = "Une toux 🤧 et une fièvre."


def example(name: str, text: str, *marked: tuple[str, str]) -> Example:
    spans = [Span.of(text.index(surface), text.index(surface) + len(surface), label) for surface, label in marked]
    return Example(name, Document(name, text, "s"), tuple(spans))


def toy() -> Task:
    one = example("t0", TEXT, ("toux", "DISO"), ("fièvre", "DISO"))
    two = example("t1", "Le foie est normal.", ("foie", "ANAT"))
    return Task(TaskSpec(name="toy", kind="ner"), "fr", (one, two), (one,), (one, two))


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def prediction(name: str, *spans: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "predicted": list(spans)}


FEVER = {"fragments": [[TEXT.index("fièvre"), TEXT.index("fièvre") + 6]], "label": "DISO", "text": "fièvre"}


def test_predictions_are_read_in_any_order_with_fragments(tmp_path: Path) -> None:
    broken = {"fragments": [[4, 8], [18, 24]], "label": "DISO"}
    path = written(tmp_path / "p.jsonl", prediction("t1"), prediction("t0", FEVER, broken))
    first, second = read_predictions(path, toy())
    assert {span.surface(TEXT) for span in first} == {"fièvre", f"toux {TEXT[18:24]}"}
    assert second == ()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [prediction("t0"), prediction("x9")],
            "line 2: id 'x9' is no test document of task toy, whose ids are like 't0'",
        ),
        ([prediction("t0")], "1 of 2 test documents lack a line, the first is 't1'"),
        ([prediction("t0"), prediction("t0")], "line 2: id 't0' comes twice"),
        ([{"protocol": "ner-strict/1", "task": "other"}, prediction("t0")], "predictions of task other, not of toy"),
        ([{"id": "t0"}], 'no list "predicted"'),
        (["t0"], 'not {"id"'),
        ([prediction("t0", {"label": "DISO"})], 'not {"fragments"'),
        (
            [prediction("t0", FEVER | {"fragments": [[20, 99]]})],
            f"not in order inside a text of {len(TEXT)} characters",
        ),
        ([prediction("t0", FEVER | {"fragments": [[8, 4]]})], "not in order inside"),
        # Offsets of bytes: the emoji has four.
        (
            [prediction("t0", FEVER | {"fragments": [[22, 25]]})],
            "give other words than the prediction says; they count bytes",
        ),
    ],
)
def test_a_prediction_file_with_other_ids_or_offsets_is_refused(records: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read_predictions(written(tmp_path / "p.jsonl", *records), toy())
    assert "p.jsonl" in str(raised.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"id": "t0", "predicted": "\xff"}', "p.jsonl: not UTF-8 at byte 27"),
        (b"[" * 100_000, "p.jsonl, line 1: JSON nested too deeply"),
        (b'{"id": "t0", "predicted": [{"fragments": [[0, Infinity]], "label": "DISO"}]}', 'not {"fragments"'),
    ],
    ids=["bytes", "nested", "infinite"],
)
def test_a_prediction_file_of_anything_is_one_line(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(message)):
        read_predictions(tmp_path / "p.jsonl", toy())


def test_a_label_that_the_task_lacks_is_counted_reported_and_preserved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "p.jsonl", prediction("t0", FEVER | {"label": "SYMPTOM"}), prediction("t1"))
    (spans, _) = read_predictions(path, toy())
    assert [span.label for span in spans] == ["SYMPTOM"]
    assert "labels that the task lacks, all wrong: SYMPTOM (1)" in capsys.readouterr().err


def test_predictions_of_a_model_score_again_as_they_did(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    least = ["--tasks", "synthetic_ner", "--lang", "fr", "--seeds", "1", "--out", str(tmp_path)]
    for item in ("eval.epochs=1", "eval.min_steps=0", "eval.lr=3e-3"):
        least += ["--set", item]
    assert call(monkeypatch, ["evaluate", str(base), *least]) == 0
    file = next((tmp_path / "predictions").glob("*.jsonl"))
    line = ["score", str(file), "--lang", "fr", "--task", "synthetic_ner", "--name", "again", "--out", str(tmp_path)]
    assert call(monkeypatch, line) == 0
    rows = read_scores(tmp_path / "results.jsonl")
    first = {row.metric: row.value for row in rows if row.model == base.name}
    assert first == {row.metric: row.value for row in rows if row.model == "again"}
    capsys.readouterr()
    assert call(monkeypatch, line) == 2
    assert "has scores of 'again' on synthetic_ner already" in capsys.readouterr().err


def test_two_models_on_other_test_documents_are_not_paired(tmp_path: Path) -> None:
    head = {"task": "t", "language": "fr", "seed": 0, "protocol": "p/1", "metric": "m", "tally": "mean"}
    (tmp_path / "predictions").mkdir()
    for model, names in (("a", ["d1", "d2"]), ("b", ["d1", "d3"]), ("c", ["d2", "d1"])):
        rows = [{"id": name, "words": 3, "predicted": [], "tally": [1.0]} for name in names]
        written(tmp_path / "predictions" / f"t-{model}-0.jsonl", head | {"model": model}, *rows)
    with pytest.raises(
        InputError, match=r"t-b-0.jsonl: not the test documents of .*t-a-0.jsonl: it has 'd3' in addition"
    ):
        read_tallies(tmp_path)
    (tmp_path / "predictions" / "t-b-0.jsonl").unlink()
    with pytest.raises(InputError, match=r"t-c-0.jsonl: .* in another order"):
        read_tallies(tmp_path)


def test_a_label_that_only_test_has_is_reported_counted_and_preserved(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = toy()
    rare = example("t2", "Une sonde et une sonde.", ("sonde", "DEVI"))
    task = replace(task, test=(*task.test, rare))
    once = Eval(epochs=1, min_steps=0, seeds=1)
    score_models({"m": str(base)}, [task], Evaluation(once, "fr", tmp_path, precision=Precision("fp32", "")))
    assert "task toy: labels that only test has, all missed: DEVI (1)" in capsys.readouterr().err
    many = tuple(example(f"c{n}", "Une sonde.", ("sonde", f"C{n:03}")) for n in range(120))
    (tmp_path / "many").mkdir()
    where = Evaluation(once, "fr", tmp_path / "many", precision=Precision("fp32", ""))
    score_models({"m": str(base)}, [replace(task, test=(*toy().test, *many))], where)
    line = next(line for line in capsys.readouterr().err.split("\n") if "only test has" in line)
    assert line.endswith("C019 (1), and 100 more")
    assert {row.gold for row in read_scores(tmp_path / "results.jsonl")} == {4}


def test_a_test_split_without_gold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("Le O\nfoie B-X\n\nUn O\nrein B-X\n")
    (tmp_path / "test.txt").write_text("Le O\ncoeur O\n\nUn O\nos O\n")
    splits = {"train": "train.txt", "dev": "train.txt", "test": "test.txt"}
    spec = TaskSpec.model_validate({"name": "t", "kind": "ner", "path": ".", "reader": "conll", "splits": splits})
    with pytest.raises(InputError, match=r"task t .*no document of test has any gold; .*held back"):
        read_task(spec, tmp_path, "fr")
    held = {"data": [{"paragraphs": [{"context": "Il tousse.", "qas": [{"id": "q", "question": "Qui ?"}]}]}]}
    path = written(tmp_path / "squad.json", held)
    with pytest.raises(InputError, match="question q: no 'answers'; this split has no gold"):
        list(read_squad(path, source="s"))
