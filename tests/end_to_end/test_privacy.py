"""What a document says stays in the data: not in what a run tells, writes about itself, or fails with."""

import random
from pathlib import Path

import pytest

from ..recipes.conftest import call, cases, write_jsonl

_DATA = ("shards", "start", "vocabulary", "head")  # prepared text, and models


def names(count: int) -> list[str]:
    draw = random.Random(0)
    return [
        "".join(draw.choice("bdfglmnprt") + draw.choice("aeiou") for _ in range(5)).capitalize() for _ in range(count)
    ]


def holding(files: list[Path], words: list[str]) -> list[str]:
    return [
        str(f) for f in files if any(w.lower() in f.read_bytes().decode("utf-8", "ignore").lower() for w in words)
    ]


@pytest.mark.parametrize("strategy", ["continue", "convert"])
def test_no_word_of_a_document_is_in_what_a_run_says_or_reports(
    strategy: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = names(60)
    texts = [
        f"Mme {name} consulte. {text} Lettre à Mme {name}." for name, text in zip(patients, cases(60), strict=True)
    ]
    corpus, out = write_jsonl(tmp_path / "notes.jsonl", texts), tmp_path / "run"
    settings = ["train.tokens=2_000", "train.batch_tokens=256", "train.micro_tokens=256", "train.precision='fp32'"]
    settings += ["data.held_out=0.2", "eval.tasks=['synthetic_outcome']", "eval.seeds=1", "eval.epochs=1"]
    settings += [
        "eval.min_steps=0",
        "adapt.vocabulary=extend",
        "adapt.new_pieces=40",
    ]
    if strategy == "convert":
        settings += ["adapt.length=300", "adapt.window=32"]
    line = ["--strategy", strategy, "--lang", "fr", "--base", str(base), "--corpus", str(corpus), "--out", str(out)]
    assert call(monkeypatch, [*line, *(word for item in settings for word in ("--set", item))]) == 0
    files = [f for f in out.rglob("*") if f.is_file()]
    assert holding(files, patients), "the text is nowhere at all"
    about = [f for f in files if f.relative_to(out).parts[0] not in _DATA]
    assert {"report.html", "report.md", "metrics.jsonl", "README.md"} <= {f.name for f in about}
    assert holding(about, patients) == []
    output = "".join(capsys.readouterr()).lower()
    assert not [name for name in patients if name.lower() in output]


def test_an_error_shows_a_documents_words_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text('["Mme Dubelara tousse"]\n', encoding="utf-8")
    line = ["score", str(file), "--lang", "fr", "--task", "synthetic_ner", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, line) == 2
    stderr = capsys.readouterr().err
    assert "said.jsonl, line 1" in stderr
    assert "--show-text shows the text" in stderr
    assert "Dubelara" not in stderr
    assert call(monkeypatch, [*line, "--show-text"]) == 2
    assert "Mme Dubelara tousse" in capsys.readouterr().err
