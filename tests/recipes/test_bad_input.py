"""What cannot be used: one line that says what and what to do, exit code 2, no model."""

import errno
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zstandard
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from .conftest import call, cases, new_tokenizer, write_jsonl

LEAST = ["--set", "train.tokens=600", "--set", "train.precision='fp32'", "--set", "eval.tasks='none'"]
Broken = Callable[[Path, Path], list[str]]


def changed_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def text_file(name: str, content: bytes) -> Broken:
    def make(tmp: Path, base: Path) -> list[str]:
        (tmp / name).write_bytes(content)
        return ["--corpus", str(tmp / name)]

    return make


def truncated(name: str, pack: Callable[[bytes], bytes]) -> Broken:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in cases(40))
    return text_file(name, pack(lines.encode())[:-40])


def cut_parquet(tmp: Path, base: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": cases(5)}), tmp / "whole.parquet")
    (tmp / "notes.parquet").write_bytes((tmp / "whole.parquet").read_bytes()[:-30])
    return ["--corpus", str(tmp / "notes.parquet")]


def copied(change: Callable[[Path], None]) -> Broken:
    def make(tmp: Path, base: Path) -> list[str]:
        folder = tmp / "model"
        shutil.copytree(base, folder)
        change(folder)
        return ["--base", str(folder)]

    return make


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def other_weights(folder: Path) -> None:
    save_file({"transformer.h.0.w": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    no_weights(folder)


def remote_code(folder: Path) -> None:
    changed_config(folder, auto_map={"AutoModelForMaskedLM": "mine.Model"})


def decoder_only(folder: Path) -> None:
    shutil.rmtree(folder)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=1, n_positions=32))
    model.save_pretrained(folder)
    new_tokenizer(cases(5), 300).save_pretrained(folder)


def misfit(folder: Path) -> None:
    new_tokenizer(cases(80), 900).save_pretrained(folder)


def headless(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    body = {name: value for name, value in weights.items() if not name.startswith("cls.")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})


def filtered(expression: str) -> Broken:
    def make(tmp: Path, base: Path) -> list[str]:
        path = write_jsonl(tmp / "mine.jsonl", cases(6), education=lambda i: i)
        return ["--corpus", str(path), "--set", f"data.mixture=[{{corpus='mine', filter='{expression}'}}]"]

    return make


def folder_of_tables(tmp: Path, base: Path) -> list[str]:
    """The second of three tables has other columns."""
    (tmp / "notes").mkdir()
    for name, column in (("a", "text"), ("b", "body"), ("c", "text")):
        (tmp / "notes" / f"{name}.csv").write_text(f"id,{column}\n1,Le patient va bien.\n", encoding="utf-8")
    return ["--corpus", str(tmp / "notes")]


def flags(*given: str) -> Broken:
    return lambda tmp, base: list(given)


CASES: list[tuple[str, Broken, tuple[str, ...]]] = [
    ("language", flags("--lang", "frr"), ("frr", "did you mean 'fr'")),
    ("language too long", flags("--lang", "é" * 300), ("'ééé", "too long to be the name")),
    ("model too long", flags("--base", "é" * 300), ("'ééé", "too long to be the name of a file")),
    ("corpus too long", flags("--corpus", "é" * 300), ("'ééé", "too long to be the name of a file")),
    ("strategy", flags("--strategy", "continu"), ("continu", "did you mean 'continue'")),
    (
        "size from scratch",
        flags("--strategy", "scratch", "--set", "adapt.size=huge"),
        ("unknown adapt.size 'huge'", "tiny"),
    ),
    (
        "odd window from scratch",
        flags("--strategy", "scratch", "--set", "adapt.window=63"),
        ("adapt.window 63", "even"),
    ),
    (
        "windows from scratch",
        flags("--strategy", "scratch", "--set", "adapt.window=[64, 64]"),
        ("adapt.window", "one width"),
    ),
    (
        "setting of scratch",
        flags("--set", "adapt.size=tiny"),
        ("adapt.size says nothing to --strategy continue", "scratch"),
    ),
    ("setting of convert", flags("--set", "adapt.length=512"), ("adapt.length", "convert and scratch")),
    (
        "detection by a BERT",
        flags("--set", "objective.kind=rtd"),
        ("objective.kind rtd trains an ELECTRA", "adapt.architecture = 'electra'"),
    ),
    (
        "carried from nowhere",
        flags("--strategy", "scratch", "--set", "adapt.carry=weights", "--base", ""),
        ("adapt.carry weights", "--base"),
    ),
    (
        "head of nothing",
        flags("--strategy", "scratch", "--set", "adapt.head=fresh", "--base", ""),
        ("adapt.head", "give the --base"),
    ),
    (
        "setting of continue",
        flags("--strategy", "scratch", "--set", "adapt.rows=focus"),
        ("adapt.rows says nothing to --strategy scratch", "adapt.carry"),
    ),
    ("setting", flags("--set", "train.tokns=3"), ("train.tokns", "did you mean 'train.tokens'")),
    ("value", flags("--set", "train.lr=fast"), ("train.lr", "fast")),
    ("preset", flags("--preset", "demmo"), ("demmo", "did you mean 'demo'")),
    ("flag", flags("--bse", "x"), ("--bse",)),
    ("permission", flags("--allow", "pickles"), ("pickles", "pickle")),
    ("task", flags("--set", "eval.tasks=['morfit']"), ("morfit", "did you mean 'morfitt'")),
    ("task without its files", flags("--set", "eval.tasks=morfitt"), ("morfitt", "--data ROOT")),
    ("tracker not installed", flags("--set", "train.trackers=['wandb']"), ("wandb", "pip install wandb")),
    ("tracker unknown", flags("--set", "train.trackers=['wandbb']"), ("train.trackers", "wandb")),
    ("empty corpus", text_file("notes.txt", b""), ("notes.txt", "no documents")),
    ("blank corpus", text_file("notes.jsonl", b'{"text": " "}\n'), ("notes.jsonl", "empty")),
    ("missing corpus", flags("--corpus", "/nowhere/notes.txt"), ("/nowhere/notes.txt", "no such file")),
    ("not UTF-8", text_file("notes.txt", "fièvre".encode("latin-1")), ("notes.txt", "UTF-8", "iconv")),
    ("cut zstd", truncated("n.jsonl.zst", zstandard.ZstdCompressor().compress), ("n.jsonl.zst", "truncated")),
    ("cut gzip", truncated("n.jsonl.gz", gzip.compress), ("n.jsonl.gz", "truncated")),
    ("cut parquet", cut_parquet, ("notes.parquet",)),
    ("broken JSONL", text_file("n.jsonl", b'{"text": "Le patient."}\n{"text": "L'), ("n.jsonl, line 2", "JSON")),
    ("no column", text_file("n.jsonl", b'{"texte": "Le patient."}\n'), ("no column 'text'", "texte", "--text-field")),
    ("no column in a folder", folder_of_tables, ("b.csv", "no column 'text'", "--text-field")),
    ("no weights", copied(no_weights), ("has no weights", "model.safetensors")),
    ("other weights", copied(other_weights), ("does not fit", "missing", "transformer.h.0.w")),
    ("no head", copied(headless), ("no masked-LM head", "adapt.head=fresh")),
    ("remote code", copied(remote_code), ("Python code", "--allow remote-code")),
    ("pickle", copied(pickled), ("pickled", "pytorch_model.bin", "--allow pickle")),
    ("decoder", copied(decoder_only), ("GPT2LMHeadModel is a decoder",)),
    ("tokenizer misfit", copied(misfit), ("tokenizer does not fit",)),
    ("missing model", flags("--base", "/nowhere/model"), ("/nowhere/model", "does not exist")),
    (
        "hub without a network",
        flags("--base", "somebody/some-bert"),
        ("somebody/some-bert", "give a folder", "adapt fetch"),
    ),
    ("filter column", filtered("eduction >= 2"), ("no column 'eduction'", "did you mean 'education'")),
    ("filter syntax", filtered("education.real > 2"), ("not allowed", "education.real")),
    ("filter takes none", filtered("education > 99"), ("none of 6 documents",)),
    ("corpus of another language", flags("--preset", "biomed-enriched"), ("the pack of fr", "one of --lang en")),
    (
        "unknown corpus",
        flags("--set", "data.corpora=parhag"),
        ("data.corpora: ", "no corpus 'parhag'", "did you mean 'parhaf'"),
    ),
    (
        "optimizer of no run",
        flags("--set", "train.optimizer_from=/nowhere", "--set", "train.tokens=300"),
        ("/nowhere has no checkpoint", "train.keep_checkpoints"),
    ),
    (
        "mixture of what is not read",
        flags("--set", "data.mixture=[{corpus='nots'}]"),
        ("data.mixture: ", "no corpus 'nots'", "did you mean 'notes'?"),
    ),
    ("data root", flags("--data", "/nowhere/data"), ("/nowhere/data", "no such folder")),
]


def failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: Path, corpus: Path, given: list[str]
) -> str:
    """The message of a command that must fail; what `given` names replaces the usual flags."""
    usual = {"--strategy": "continue", "--lang": "fr", "--base": str(base), "--corpus": str(corpus)}
    if "--data" in given:
        del usual["--corpus"]
    line = [part for key, value in usual.items() if key not in given for part in (key, value)]
    assert call(monkeypatch, [*line, *LEAST, *given]) == 2
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize(("make", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_is_reported_in_one_line(
    make: Broken,
    parts: tuple[str, ...],
    base: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    message = failed(monkeypatch, capsys, base, corpus, [*make(tmp_path, base), "--out", str(out)])
    for part in parts:
        assert part in message
    assert not out.exists(), "the corrected command needs the folder"


def test_the_fields_of_a_corpus_are_checked_before_a_head_is_trained(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base, tmp_path / "model")
    headless(tmp_path / "model")
    line = ["--base", str(tmp_path / "model"), "--set", "adapt.head=fresh", "--text-field", "body"]
    capsys.readouterr()
    message = failed(monkeypatch, capsys, base, corpus, [*line, "--out", str(tmp_path / "out")])
    assert len(message.splitlines()) == 1
    assert "no column 'body'" in message


def test_a_folder_with_other_files_is_left_alone(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    message = failed(monkeypatch, capsys, base, corpus, ["--out", str(tmp_path)])
    assert "not empty" in message
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", ["evaluate", "finetune", "vocabulary", "select", "canaries"])
def test_a_file_in_the_place_of_the_folder_is_named(
    command: str,
    base: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.write_text("mine", encoding="utf-8")
    given = {
        "evaluate": [str(base), "--lang", "fr", "--tasks", "synthetic_ner"],
        "finetune": [str(base), "--lang", "fr", "--task", "synthetic_ner"],
        "vocabulary": [str(base), "--lang", "fr", "--corpus", str(corpus)],
        "canaries": ["--lang", "fr"],
        "select": ["--lang", "fr", "--corpus", str(corpus)],
    }
    assert call(monkeypatch, [command, *given[command], "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert str(out) in error.splitlines()[-1]
    assert "give another --out" in error.splitlines()[-1]
    assert out.read_text(encoding="utf-8") == "mine"


def test_the_folder_of_another_run_is_refused_with_the_difference(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medlingua.recipes.folder import claim
    from medlingua.recipes.resolve import resolve

    claim(tmp_path / "out", resolve({"strategy": "continue", "lang": "es", "base": "b"}))
    before = (tmp_path / "out" / "run.toml").read_text()
    message = failed(monkeypatch, capsys, base, corpus, ["--out", str(tmp_path / "out")])
    assert "another run" in message
    assert "lang" in message
    assert (tmp_path / "out" / "run.toml").read_text() == before


def data_root(tmp: Path, brat: str = "T1\tDISO 0 6\tFièvre\n") -> list[str]:
    """A language of its own with one restricted and one free corpus and a brat task."""
    root = tmp / "root"
    root.mkdir()
    write_jsonl(root / "free.jsonl", cases(30))
    write_jsonl(root / "closed.jsonl", cases(30, seed=1))
    for number in range(12):
        (root / "task").mkdir(exist_ok=True)
        (root / "task" / f"d{number}.txt").write_text(f"Fièvre au lit {number}.", encoding="utf-8")
        (root / "task" / f"d{number}.ann").write_text(brat, encoding="utf-8")
    pack = tmp / "pack.toml"
    pack.write_text(
        'code = "xx"\nname = "Xish"\nspacy = "fr"\n'
        '[[corpora]]\nname = "free"\npath = "free.jsonl"\nlicence = "MIT"\n'
        '[[corpora]]\nname = "closed"\npath = "closed.jsonl"\nlicence = "CC BY-NC"\nnon_commercial = true\n'
        '[[tasks]]\nname = "fever"\nkind = "ner"\npath = "task"\nreader = "brat"\n',
        encoding="utf-8",
    )
    return ["--lang", str(pack), "--data", str(root)]


def test_offsets_of_a_named_task_that_do_not_match_stop_before_anything(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_root(tmp_path, "T1\tDISO 1 7\tFièvre\n")
    given = [*root, "--out", str(tmp_path / "out"), "--set", "eval.tasks=fever"]
    message = failed(monkeypatch, capsys, base, corpus, given)
    for part in ("task", "d0.ann", "1 7", "other words than the annotation says"):
        assert part in message
    assert "Fièvre" not in message
    assert not (tmp_path / "out").exists()
    assert "Fièvre" in failed(monkeypatch, capsys, base, corpus, [*given, "--show-text"])


def test_a_restricted_corpus_is_left_out_and_reported(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--strategy", "continue", "--base", str(base), *data_root(tmp_path), *LEAST]
    assert call(monkeypatch, [*given, "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "corpus closed is left out (non-commercial use only)" in captured.err + captured.out
    assert "--allow non-commercial" in captured.err + captured.out
    assert call(monkeypatch, ["plan", *given]) == 0
    captured = capsys.readouterr()
    assert "corpus closed is left out (non-commercial use only)" in captured.err + captured.out
    read = json.loads((tmp_path / "out" / "corpora.json").read_text(encoding="utf-8"))["corpora"]
    assert [row["name"] for row in read] == ["free"]


def test_a_run_on_a_data_root_opens_no_connection(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    opened: list[object] = []

    def refuse(*arguments: object, **named: object) -> None:
        opened.append(arguments)
        raise OSError(errno.ENETUNREACH, "no network in this test")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    given = ["--strategy", "continue", "--base", str(base), *data_root(tmp_path), "--allow", "non-commercial"]
    settings = ["--set", "train.tokens=600", "--set", "train.precision='fp32'"]
    scored = ["--set", "eval.seeds=1", "--set", "eval.epochs=1", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, [*given, *settings, *scored]) == 0
    assert opened == []
    assert '"task":"fever"' in (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").replace(" ", "")


@pytest.mark.parametrize("full", ["tokens.bin", "metrics.jsonl"])
def test_a_full_disk_is_reported(
    full: str,
    base: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The device gives out under one file: /dev/full stands where it is written."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    out = tmp_path / "out"
    mkdir = Path.mkdir

    def with_full(self: Path, *given: object, **named: object) -> None:
        mkdir(self, *given, **named)  # type: ignore[arg-type]
        its_own = self == out if full == "metrics.jsonl" else out in self.parents
        if its_own and not (self / full).exists():
            (self / full).symlink_to("/dev/full")

    monkeypatch.setattr(Path, "mkdir", with_full)
    message = failed(monkeypatch, capsys, base, corpus, ["--out", str(out)])
    assert "no space left" in message
    assert not (out / "model").exists()


@pytest.mark.parametrize(
    "saves", ["medlingua.recipes.training.checkpoint.save_file", "transformers.modeling_utils.safe_save_file"]
)
def test_a_full_disk_is_reported_when_weights_are_saved(
    saves: str,
    base: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*given: object, **named: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(saves, full)
    message = failed(monkeypatch, capsys, base, corpus, ["--out", str(tmp_path / "out")])
    assert "no space left" in message
    assert not (tmp_path / "out" / "model").exists()
