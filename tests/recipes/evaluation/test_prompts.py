"""Prompts for a language model, and its answers: nothing guessed, nothing dropped without a count."""

import json
from pathlib import Path
from typing import Any

import pytest
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Span
from medlingua.languages.errors import InputError
from medlingua.languages.terms import Term
from medlingua.recipes.evaluation.prompts import prompts, read_answers
from medlingua.reports.read import read_scores

from ..conftest import call
from .test_nearest import TEXTS, toy

TEST = ("Une toux, puis une toux grasse. Le foie va bien.", "Pas de migraine.")
GOLD = "Une toux, puis une toux grasse. "


def ids() -> list[str]:
    first = len(GOLD)
    return [f"t0:0-{first}", f"t0:{first}-{len(TEST[0])}", f"t1:0-{len(TEST[1])}"]


def written(path: Path, *answers: Any) -> Path:
    lines = [json.dumps({"id": id, "answer": answer}) for id, answer in zip(ids(), answers, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def entity(text: str, label: str = "DISO") -> dict[str, str]:
    return {"text": text, "label": label}


def test_a_prompt_shows_what_is_alike_and_no_gold_of_test(encoder: Encoder) -> None:
    task = toy((TEXTS[1], *TEST))
    records = list(
        prompts(encoder, task, "fr", [Term("Toux", "Cough", "x", "R"), Term("foie gras", "y", "x", "")], 2)
    )
    assert [record["text"] for record in records[:2]] == ["La toux est sèche. ", "Le foie est normal."]
    first = records[0]
    assert first["examples"][-1] == {"text": "La toux est sèche. ", "entities": [entity("toux")]}
    assert len(first["examples"]) == 2
    assert first["terms"] == [{"text": "toux", "english": "Cough"}]
    assert records[1]["terms"] == []
    assert all(label in first["instruction"] for label in task.labels)
    assert first.keys() == {"id", "task", "language", "instruction", "labels", "examples", "terms", "text"}
    assert len({record["id"] for record in records}) == len(records) == 5


def test_answers_are_read_parsed_repaired_and_wrong(tmp_path: Path) -> None:
    fenced = "```json\n" + json.dumps([entity("migraine", "diso")]) + "\n```"
    path = written(tmp_path / "a.jsonl", [entity("toux"), entity("toux")], [entity("rate")], fenced)
    answers = read_answers(path, toy(TEST), "fr")
    first = TEST[0].index("toux")
    second = TEST[0].index("toux", first + 1)
    assert answers.spans == [
        (Span.of(first, first + 4, "DISO"), Span.of(second, second + 4, "DISO")),
        (Span.of(7, 15, "DISO"),),
    ]
    assert (answers.parsed, answers.repaired, answers.wrong) == (1, 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        "There are no entities.",
        {"text": "toux", "label": "DISO"},
        ["toux"],
        [{"text": "toux"}],
        [entity("toux", "SYMPTOM")],
        [entity("toux")] * 3,
        [entity("")],
        [{"text": "toux", "label": 3}],
        None,
    ],
)
def test_what_is_no_answer_counts_as_wrong_and_empty(answer: Any, tmp_path: Path) -> None:
    answers = read_answers(written(tmp_path / "a.jsonl", answer, [], []), toy(TEST), "fr")
    assert answers.spans == [(), ()]
    assert (answers.parsed, answers.repaired, answers.wrong) == (2, 0, 1)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (['{"id": "t0:0-5", "answer": []}'], ("line 1", "t0:0-5", "no sentence of task toy")),
        ([json.dumps({"id": ids()[0], "answer": []})] * 2, ("line 2", "twice")),
        ([json.dumps({"id": ids()[2], "answer": []})], ("2 of 3 sentences have no line", ids()[0])),
        (['{"id": "t0:0-5"}'], ("line 1", '"answer"')),
        (["[]"], ("line 1", '{"id"')),
        (["oh no"], ("line 1", '"answer"')),
    ],
)
def test_a_file_with_other_ids_is_refused(lines: list[str], named: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read_answers(path, toy(TEST), "fr")
    for part in ("a.jsonl", *named):
        assert part in str(raised.value)


def test_perfect_answers_to_the_prompts_score_one_and_no_answers_score_nothing(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over the command line, on the synthetic task: what is exported comes back by its ids."""
    from medlingua.recipes.evaluation.prompts import _ner_task

    encoders.save(encoder, tmp_path / "model")
    common = ["--lang", "fr", "--task", "synthetic_ner"]
    file, out = tmp_path / "prompts.jsonl", tmp_path / "scores"
    assert (
        call(monkeypatch, ["prompts", str(tmp_path / "model"), *common, "--examples", "1", "--out", str(file)]) == 0
    )
    _, task = _ner_task("fr", "synthetic_ner", None, ())
    examples = {example.id: example for example in task.test}
    for name, perfect in (("perfect", True), ("silent", False)):
        lines = []
        for record in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            id, _, place = record["id"].rpartition(":")
            start, end = map(int, place.split("-"))
            text = examples[id].document.text
            assert record["text"] == text[start:end]
            inside = [s for s in examples[id].gold if start <= s.start < end]
            entities = [entity(s.surface(text), s.label) for s in inside] if perfect else []
            lines.append(json.dumps({"id": record["id"], "answer": entities}, ensure_ascii=False))
        answers = tmp_path / f"{name}.jsonl"
        answers.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert call(monkeypatch, ["answers", str(answers), *common, "--name", name, "--out", str(out)]) == 0
        assert "0 repaired, 0 wrong" in capsys.readouterr().err
    values = {(r.model, r.metric): r.value for r in read_scores(out / "results.jsonl")}
    assert values["perfect", "strict entity recall"] > 0.9  # the first place is not always the right one
    assert values["silent", "strict entity micro-F1"] == 0
    assert call(monkeypatch, ["answers", str(answers), *common, "--name", name, "--out", str(out)]) == 2
    assert "has scores of 'silent'" in capsys.readouterr().err
    assert call(monkeypatch, ["answers", str(answers), "--lang", "fr", "--task", "synthetic_outcome"]) == 2
    assert "of kind" in capsys.readouterr().err
