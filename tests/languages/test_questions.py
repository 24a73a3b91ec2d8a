"""Pairs and questions with options, made small and real."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.questions import read_nli4ct, read_options, read_pubmedqa
from medlingua.languages.tasks import read_task

from .conftest import ROOT, needs_data

TRIAL = {
    "Clinical Trial ID": "NCT1",
    "Results": ["Outcome Measurement: ", "  Response 13%"],
    "Eligibility": ["Adults"],
}
STATEMENT = {"Type": "Single", "Section_id": "Results", "Primary_id": "NCT1"} | {"Statement": "13 % responded"}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def trials(folder: Path) -> None:
    with zipfile.ZipFile(folder / "CT_json.zip", "w") as archive:
        archive.writestr("CT_json/NCT1.json", json.dumps(TRIAL))
        archive.writestr("CT_json/NCT2.json", json.dumps(TRIAL | {"Clinical Trial ID": "NCT2", "Results": ["None"]}))


def test_a_statement_comes_with_the_sections_of_its_trials(tmp_path: Path) -> None:
    trials(tmp_path)
    both = STATEMENT | {"Type": "Comparison", "Secondary_id": "NCT2", "Label": "Contradiction"}
    path = written(tmp_path / "dev.json", {"a": STATEMENT | {"Label": "Entailment"}, "b": both})
    one, two = read_nli4ct(path, source="s")
    assert (one.question, one.gold) == ("13 % responded", "Entailment")
    assert one.document.text == "Primary trial, Results\nOutcome Measurement:\nResponse 13%"
    assert two.document.text.endswith("\n\nSecondary trial, Results\nNone")


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (STATEMENT, ["no Label", "Gold_dev.json"]),
        (STATEMENT | {"Label": "x", "Primary_id": "NCT9"}, ["NCT9", "CT_json"]),
    ],
)
def test_a_split_without_gold_or_trials_is_refused(row: Any, parts: list[str], tmp_path: Path) -> None:
    trials(tmp_path)
    with pytest.raises(InputError) as caught:
        list(read_nli4ct(written(tmp_path / "dev.json", {"a": row}), source="s"))
    assert all(part in str(caught.value) for part in parts)


def test_the_test_questions_are_those_of_the_authors(tmp_path: Path) -> None:
    rows = {str(i): {"QUESTION": f"q{i}", "CONTEXTS": ["a", "b"], "final_decision": "yes"} for i in range(4)}
    (tmp_path / "ori_pqal.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    gold = written(tmp_path / "test_ground_truth.json", {"1": "yes", "3": "yes"})
    train = [e.id for e in read_pubmedqa(tmp_path / "ori_pqal.json.gz", source="s")]
    tested = list(read_pubmedqa(gold, source="s"))
    assert train == ["0", "2"]
    assert [(e.id, e.question, e.document.text) for e in tested] == [("1", "q1", "a\nb"), ("3", "q3", "a\nb")]
    written(gold, {"9": "no"})
    with pytest.raises(InputError, match="question 9 of the test set"):
        list(read_pubmedqa(gold, source="s"))


def test_options_keep_their_names_and_an_id_that_comes_again_is_numbered(tmp_path: Path) -> None:
    row = {"id": "x", "question": "Lequel ?", "answers": {"a": "oui", "b": "non"}, "correct_answers": ["b"]}
    first, second = read_options(written(tmp_path / "q.json", [row, row]), source="s")
    assert first.gold == frozenset({"b"})
    assert first.options == (("a", "oui"), ("b", "non"))
    assert (first.id, second.id) == ("x", "x#2")
    for wrong in (["c"], []):
        with pytest.raises(InputError, match=r"entry 1: 'correct_answers' does not name some of the 2 options"):
            list(read_options(written(tmp_path / "w.json", [row | {"correct_answers": wrong}]), source="s"))


@needs_data
@pytest.mark.parametrize(
    ("language", "name", "sizes"),
    [
        ("en", "nli4ct", (1_700, 200, 500)),
        ("en", "pubmedqa", (437, 63, 500)),
        ("fr", "frenchmedmcqa", (2_171, 312, 622)),
        ("de", "covid_questions_de", None),
        ("en", "covid_questions_en", None),
        ("de", "healthfc_de", None),
        ("en", "healthfc_en", None),
    ],
)
def test_the_real_tasks_read_whole(language: str, name: str, sizes: Any) -> None:
    spec = next(task for task in load_pack(language).tasks if task.name == name)
    task = read_task(spec, ROOT, language)
    parts = (task.train, task.dev, task.test)
    if sizes and name != "pubmedqa":
        assert tuple(map(len, parts)) == sizes
    elif sizes:
        assert len(task.test) == 500
        assert len(task.train) + len(task.dev) == 500
    assert all(e.document.text.strip() for part in parts for e in part)
    assert all(bool(e.question) != bool(e.options) for part in parts for e in part)
