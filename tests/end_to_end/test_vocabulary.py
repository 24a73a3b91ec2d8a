"""Runs that change the vocabulary, and `adapt vocabulary`."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from medlingua.adapters.encoder import load
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ..recipes.conftest import call, cases, write_base, write_jsonl
from .test_command import metrics_of

FP32 = "train.precision='fp32'"  # one a process: accelerate keeps the first
SHORT = ["--set", "train.tokens=3_000", "--set", "train.eval_tokens=3_000"]


@pytest.mark.parametrize("settings", [("extend", "adapt.new_pieces=60", "adapt.piece_documents=3"), ("prune",)])
def test_a_run_changes_the_vocabulary_and_says_how(
    settings: tuple[str, ...], command: list[str], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*command[1:], *SHORT, "--set", f"adapt.vocabulary={settings[0]}"]
    for setting in settings[1:]:
        line += ["--set", setting]
    out = tmp_path / "run"
    assert call(monkeypatch, [*line, "--out", str(out)]) == 0
    before, after = load(str(base)), load(str(out / "model"))
    row = json.loads((out / "vocabulary.json").read_text(encoding="utf-8"))
    assert row["new_size"] == len(after.tokenizer) == after.model.config.vocab_size
    text = cases(1, seed=77)[0]
    old, new = (len(e.tokenizer(text)["input_ids"]) for e in (before, after))
    if settings[0] == "extend":
        assert len(after.tokenizer) == len(before.tokenizer) + 60
        assert new < old
        assert row["shared"] == len(before.tokenizer)
    else:
        assert len(after.tokenizer) < len(before.tokenizer)
        assert new >= old
    bits = {r["model"]: r["bits_per_byte"] for r in metrics_of(out) if "bits_per_byte" in r}
    assert set(bits) == {"base", "start", "trained"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "repeat the run with adapt.vocabulary" in page
    assert settings[0] in page
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    assert tokenizer(text)["input_ids"] == after.tokenizer(text)["input_ids"]
    assert AutoModelForMaskedLM.from_pretrained(out / "model").config.vocab_size == len(tokenizer)


def test_a_first_phase_trains_the_new_rows_alone(
    command: list[str], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    line = [*command[1:], *SHORT, "--set", "adapt.vocabulary=extend", "--set", "adapt.new_pieces=60"]
    line += ["--set", "adapt.piece_documents=3", "--set", "train.parameters=rows", "--out", str(out)]
    assert call(monkeypatch, line) == 0
    before, after = (load_file(out / part / "model.safetensors") for part in ("start", "model"))
    old = len(load(str(base)).tokenizer)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"bert.embeddings.word_embeddings.weight", "cls.predictions.bias"}
    for name in moved:
        assert torch.equal(before[name][:old], after[name][:old])
        assert not torch.equal(before[name][old:], after[name][old:])


def test_rows_are_trained_first_or_not_at_all(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "phases.toml"
    config.write_text("[[phases]]\ntokens = 10\n[[phases]]\ntokens = 10\nparameters = 'rows'\n", encoding="utf-8")
    assert call(monkeypatch, [*command[1:], "--config", str(config), "--out", str(tmp_path / "run")]) == 2
    assert "come first" in capsys.readouterr().err
    line = [*command[1:], *SHORT, "--set", "train.parameters=rows", "--out", str(tmp_path / "other")]
    assert call(monkeypatch, line) == 2
    assert "the vocabulary has none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "phrase"),
    [("mean", "their embeddings were copied"), ("focus", "their embeddings were initialized from other")],
)
def test_T19_false_friends_are_listed_with_how_they_start(
    rows: str, phrase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pain` and `main` are pieces of both vocabularies: a copied row starts with the English meaning; it is said."""
    texts = [f"{text} Le pain et la main du patient vont bien." for text in cases(40, seed=3)]
    base = write_base(tmp_path / "base", size=700, texts=texts)
    corpus = write_jsonl(tmp_path / "notes.jsonl", texts)
    out = tmp_path / "run"
    line = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--corpus", str(corpus)]
    line += ["--out", str(out)]
    settings = [f"adapt.rows={rows}", "adapt.vocabulary=replace", "adapt.new_pieces=700"]
    for setting in [*settings, "train.tokens=0", "eval.tasks='none'", FP32]:
        line += ["--set", setting]
    assert call(monkeypatch, line) == 0
    row = json.loads((out / "vocabulary.json").read_text(encoding="utf-8"))
    assert {"pain", "main"} <= set(row["false_friends"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert phrase in page
    shared = row["new_size"] - row["averaged"] - row["fallback"]
    assert row["shared"] == shared


def test_too_few_candidates_leave_no_run_behind(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*command[1:], "--set", "adapt.vocabulary=extend", "--set", "adapt.new_pieces=90_000"]
    assert call(monkeypatch, [*line, "--out", str(tmp_path / "run")]) == 2
    stderr = capsys.readouterr().err
    assert "the 90,000 requested" in stderr
    assert "in too few documents" in stderr
    assert not (tmp_path / "run" / "model").exists()


def test_the_command_counts_on_synthetic_cases_and_writes_tables(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_base(tmp_path / "other", size=900)
    out = tmp_path / "tables"
    line = ["vocabulary", str(base), str(other), "--lang", "fr", "--out", str(out)]
    assert call(monkeypatch, line) == 0
    captured = capsys.readouterr()
    assert "synthetic cases" in captured.out
    assert "synthetic cases" in captured.err
    assert "overlap" in captured.out
    table = (out / "pieces_per_word.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 3
    assert table[0].startswith("tokenizer,corpus,words,pieces,pieces_per_word")


def test_a_model_whose_vocabulary_is_in_older_files_is_counted_alike(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vocab.txt, as BERT has it; a folder without either file says what is missing."""
    older, empty = tmp_path / "older", tmp_path / "empty"
    shutil.copytree(base, older)
    pieces = AutoTokenizer.from_pretrained(base).get_vocab()
    (older / "tokenizer.json").unlink()
    (older / "tokenizer_config.json").unlink()
    (older / "vocab.txt").write_text("\n".join(sorted(pieces, key=pieces.__getitem__)) + "\n", encoding="utf-8")
    out = tmp_path / "tables"
    assert call(monkeypatch, ["vocabulary", str(base), str(older), "--lang", "fr", "--out", str(out)]) == 0
    _, new, old = (out / "pieces_per_word.csv").read_text(encoding="utf-8").splitlines()
    assert new.split(",")[1:] == old.split(",")[1:]
    empty.mkdir()
    capsys.readouterr()
    assert call(monkeypatch, ["vocabulary", str(empty), "--lang", "fr"]) == 2
    assert "no config.json and no tokenizer.json; give a folder that save_pretrained wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["vocabulary", "nowhere", "--lang", "fr"], "nowhere: no such file or folder; give a model's folder"),
        (["vocabulary", "nowhere"], "--lang is needed"),
    ],
)
def test_what_the_command_refuses(
    line: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, line) == 2
    assert message in capsys.readouterr().err


PAIRS = (
    "patient patient, pain douleur, fever fièvre, of de, and et, with avec, the le, in dans, on sur, no "
    "pas, day jour, days jours, was était, for pour, is est, right droit, left gauche, blood sang, "
    "treatment traitement, normal normal, examination examen, history antécédents, cough toux, years ans, "
    "weeks semaines, without sans, after après, by par"
)


def test_rows_are_mapped_between_languages_by_a_dictionary(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["\t".join((pair.split()[0], "fr", pair.split()[1])) for pair in PAIRS.split(", ")]
    dictionary = tmp_path / "words.tsv"
    dictionary.write_text("\n".join(["en\tlang\ttranslation", *lines]) + "\n", encoding="utf-8")
    line = [*command[1:], *SHORT, "--set", "adapt.vocabulary=replace", "--set", "adapt.new_pieces=500"]
    line += ["--set", "data.synthetic_documents=100", "--set", "adapt.rows=wechsel"]
    assert call(monkeypatch, [*line, "--out", str(tmp_path / "none")]) == 2
    assert "adapt.dictionary" in capsys.readouterr().err
    line += ["--set", f"adapt.dictionary={dictionary}", "--out", str(tmp_path / "run")]
    assert call(monkeypatch, line) == 2
    assert "English text too: give --data ROOT" in capsys.readouterr().err
    line[line.index("--corpus") + 1] = "synthetic"
    assert call(monkeypatch, line) == 0
    row = json.loads((tmp_path / "run" / "vocabulary.json").read_text(encoding="utf-8"))
    assert row["shared"] == 5  # the special ones alone
    assert row["averaged"] > 300
    assert "English text: synthetic" in capsys.readouterr().err
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("english\tfrench\npain\tdouleur\n", encoding="utf-8")
    line[line.index(f"adapt.dictionary={dictionary}")] = f"adapt.dictionary={wrong}"
    assert call(monkeypatch, [*line[:-1], str(tmp_path / "other")]) == 2
    stderr = capsys.readouterr().err
    assert "line 2" in stderr
    assert "en, lang and translation" in stderr
