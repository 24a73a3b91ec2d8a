"""Text labelled as a language model labelled a part of it: prompts, answers, and what an encoder makes of them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.recipes.text.annotation import BIOMED_ENRICHED, prompts, read_answers, read_schema, sampled

from ..conftest import call, cases, write_jsonl

COMMON = ["--set", "eval.epochs=40", "--set", "eval.lr=1e-3", "--set", "eval.head_lr=1e-2"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Cases, and articles of law, which are about something else."""
    law = [f"Article {i} : la loi fixe les conditions de la vente numéro {i}. " * 6 for i in range(26)]
    return write_jsonl(tmp_path / "notes.jsonl", [*cases(26, seed=5, words=(40, 90)), *law])


def answers_to(file: Path, out: Path) -> Path:
    """What a language model would say: cases teach, the law does not."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        law = "la loi fixe" in record["prompt"]
        answer = {
            "document_type": "Other" if law else "Clinical case",
            "domain": "other" if law else "Clinical",
            "educational_score": 1 if law else 4,
        }
        lines.append({"id": record["id"], "answer": f"```json\n{json.dumps(answer)}\n```"})
    lines[0]["answer"] = "I cannot judge it."
    out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return out


def test_prompts_are_written_and_their_answers_are_learnt_and_spread(
    notes: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt_file = tmp_path / "prompts.jsonl"
    line = ["select", "--lang", "fr", "--corpus", str(notes)]
    assert call(monkeypatch, [*line, "--prompts", str(prompt_file), "--sample", "40"]) == 0
    assert call(monkeypatch, [*line, "--prompts", str(prompt_file)]) == 2, "answers belong to what was asked"
    assert "prompts.jsonl exists; give the name of another file" in capsys.readouterr().err
    assert len(prompt_file.read_text(encoding="utf-8").splitlines()) == 40
    answers = answers_to(prompt_file, tmp_path / "answers.jsonl")
    out = tmp_path / "scored"
    assert call(monkeypatch, [*line, "--answers", str(answers), "--base", str(base), "--out", str(out), *COMMON]) == 0
    output = capsys.readouterr().err
    assert "1 hold no answer and are left out: 1 no JSON object" in output
    assert "educational_score: learnt from" in output
    assert "Cohen's kappa" in output
    table = pd.read_parquet(out / "notes_scored.parquet")
    law = table["text"].str.contains("la loi fixe")
    assert table["educational_score"].dtype == float  # so that a filter compares it
    assert (table["educational_score"].ge(3) == ~law).mean() > 0.9
    assert set(table["document_type"]) == {"Other", "Clinical case"}
    assert table["domain_confidence"].between(0, 1).all()
    mixture = 'data.mixture=[{corpus="notes_scored", filter="educational_score >= 3"}]'
    run = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--out", str(tmp_path / "run")]
    run += ["--corpus", str(out / "notes_scored.parquet"), "--set", mixture, "--set", "train.tokens=600"]
    assert call(monkeypatch, [*run, "--set", "train.precision='fp32'", "--set", "train.collapse=warn"]) == 0
    corpora = json.loads((tmp_path / "run" / "corpora.json").read_text(encoding="utf-8"))["corpora"]
    assert corpora[0]["filtered"] >= 20


def test_a_setting_that_select_would_not_read_is_refused(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["select", "--lang", "fr", "--corpus", str(notes), "--prompts", str(tmp_path / "prompts.jsonl")]
    assert call(monkeypatch, [*line, "--set", "data.synthetic_documents=40"]) == 2
    assert "only eval.* settings apply here" in capsys.readouterr().err
    assert not (tmp_path / "prompts.jsonl").exists()


def test_a_sample_is_the_same_each_time_and_no_prefix_of_the_corpus() -> None:
    documents = [Document(f"d{i}", "text", "notes") for i in range(100)]
    chosen = [d.id for d in sampled(documents, 20)]
    assert chosen == [d.id for d in sampled(reversed(documents), 20)]
    assert chosen != [f"d{i}" for i in range(20)]


def test_a_prompt_has_the_text_the_questions_and_the_values() -> None:
    (record,) = prompts([Document("a", "Toux sèche.", "notes")], BIOMED_ENRICHED)
    assert record["id"] == "a"
    for part in ("Toux sèche.", "educational_score", "Clinical case", "JSON object"):
        assert part in record["prompt"]


def test_a_schema_of_ones_own_is_in_the_prompt(tmp_path: Path) -> None:
    file = tmp_path / "schema.toml"
    file.write_text('[[columns]]\nname = "tone"\nvalues = ["calm", "angry"]\nquestion = "How does it sound?"\n')
    (record,) = prompts([Document("a", "Toux.", "notes")], read_schema(file))
    assert "How does it sound?" in record["prompt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[columns]]\nname = "tone"\nvalues = ["calm"]\nquestion = "?"\n', "columns.0.values: expected"),
        ('[[columns]]\nname = "a b"\nvalues = ["x", "y"]\nquestion = "?"\n', "columns.0.name"),
        ("columns = []\n", "a schema has [[columns]]"),
    ],
)
def test_what_is_no_schema_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_schema(tmp_path / "schema.toml")
    assert message in str(error.value)


def test_answers_are_repaired_or_counted(tmp_path: Path) -> None:
    whole = {"document_type": "STUDY", "domain": "biomedical", "educational_score": "3"}
    wordy = f"Sure! ```json\n{json.dumps(whole)}\n``` I hope this helps."
    lines: list[tuple[str, object]] = [
        ("a", whole), ("b", wordy), ("c", [1]), ("d", {**whole, "domain": "law"}),
        ("e", {"domain": "Other"}),
    ]  # fmt: skip
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"id": i, "answer": a}) + "\n" for i, a in lines), encoding="utf-8")
    answers = read_answers(file, BIOMED_ENRICHED)
    assert set(answers.labels) == {"a", "b"}
    assert answers.labels["a"] == {"document_type": "Study", "domain": "Biomedical", "educational_score": "3"}
    assert answers.wrong == {"no JSON object": 1, "another value of domain": 1, "without document_type": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "x", "answer": {}}', '{"id": "x", "answer": {}}'], "line 2: id 'x' is answered twice"),
        (['{"answer": {}}'], "line 1: not"),
        (["patient Dupont"], "line 1: not"),
    ],
)
def test_a_line_that_is_no_answer_is_named_without_its_words(lines: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_answers(file, BIOMED_ENRICHED)
    assert message in str(error.value)
    assert "Dupont" not in str(error.value)


@pytest.mark.parametrize(
    ("answered", "message"),
    [(3, "3 answers; at least 20 are needed"), (0, "are on texts that the corpora do not have")],
)
def test_answers_that_cannot_be_learnt_from_are_refused(
    answered: int, message: str, notes: Path, base: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    prompt_file = tmp_path / "prompts.jsonl"
    line = ["select", "--lang", "fr", "--corpus", str(notes)]
    assert call(monkeypatch, [*line, "--prompts", str(prompt_file), "--sample", str(answered + 1)]) == 0
    answers = answers_to(prompt_file, tmp_path / "answers.jsonl")
    if not answered:
        whole = {"document_type": "Study", "domain": "Other", "educational_score": 1}
        answers.write_text(json.dumps({"id": "elsewhere", "answer": whole}) + "\n", encoding="utf-8")
    out = tmp_path / "scored"
    assert call(monkeypatch, [*line, "--answers", str(answers), "--base", str(base), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
