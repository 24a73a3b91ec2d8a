"""adapt prepare: text in parts, by processes that know nothing of each other, merged by listing them."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Run
from medlingua.recipes.text import parts
from medlingua.recipes.text.corpus import Prepared
from medlingua.recipes.text.shards import Shard

from ..conftest import call, cases, write_jsonl

MOST = ("--set", "data.held_out=0.3", "--set", "data.held_out_documents=900")
LEAST = ("train.tokens=600", "train.batch_tokens=256", "train.micro_tokens=256", "train.precision='fp32'")


@pytest.fixture
def texts() -> list[str]:
    """Sixty documents, ten of them twice."""
    distinct = cases(60, seed=5)
    return [*distinct, *distinct[20:30]]


@pytest.fixture
def prepare(base: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    files = [write_jsonl(tmp_path / f"{name}.jsonl", some) for name, some in (("a", texts[:40]), ("b", texts[40:]))]

    def one(part: str, out: Path, *more: str) -> int:
        line = ["prepare", "--base", str(base), "--lang", "fr", "--part", part, "--out", str(out), *MOST, *more]
        for file in files:
            line += ["--corpus", str(file)]
        return call(monkeypatch, line)

    return one


def read(out: Path, encoder: Encoder, make_run: Callable[..., Run], *settings: str) -> Prepared:
    held = ("data.held_out=0.3", "data.held_out_documents=900", f"data.prepared='{out}'")
    run = make_run(*held, *settings, data={})
    parts.check(run)
    return parts.merge_parts(run, encoder.tokenizer, {})


def documents(shard: Shard) -> Counter[tuple[int, bytes]]:
    """How often each document, by its key and tokens, is in a shard."""
    places = zip(shard.keys.tolist(), pairwise(shard.starts.tolist()), strict=True)
    return Counter((key, shard.tokens[start:end].tobytes()) for key, (start, end) in places)


@pytest.mark.parametrize("order", [("1/3", "2/3", "3/3"), ("3/3", "1/3", "2/3")])
def test_parts_hold_what_one_process_prepares_and_drop_duplicates_across_them(
    order: tuple[str, ...],
    prepare: Callable[..., int],
    encoder: Encoder,
    make_run: Callable[..., Run],
    tmp_path: Path,
) -> None:
    assert prepare("1/1", tmp_path / "whole") == 0
    for part in order:
        assert prepare(part, tmp_path / "three") == 0
    whole, three = (read(tmp_path / name, encoder, make_run) for name in ("whole", "three"))
    for ours, theirs in zip(three.shards, whole.shards, strict=True):
        assert ours.name == theirs.name
    pooled = [sum((documents(s) for s in result.shards), Counter()) for result in (three, whole)]
    assert pooled[0] == pooled[1]
    assert set(pooled[0].values()) == {1}
    assert {h.text for h in three.held_out} == {h.text for h in whole.held_out}
    assert sum(pooled[0].values()) + len(three.held_out) == 60
    assert min(len(list(path.glob("*/tokens.bin"))) for path in (tmp_path / "three").glob("part-*[0-9]")) == 2

    def counts(result: Prepared, name: str) -> int:
        return sum(getattr(row, name) for row in result.row.corpora)

    for name in ("documents_read", "duplicates", "documents", "tokens", "held_out"):
        assert counts(three, name) == counts(whole, name), name
    assert counts(three, "duplicates") == 10


def test_parts_omit_the_near_duplicates_that_one_process_omits(
    base: Path, encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of a document fall to other parts than the document itself."""
    originals = cases(30, seed=5, words=(120, 200))
    corpus = write_jsonl(tmp_path / "a.jsonl", [*originals, *(text.upper() for text in originals), *originals[:5]])
    line = ["prepare", "--base", str(base), "--lang", "fr", "--corpus", str(corpus), *MOST]
    for part, out in (("1/1", "whole"), ("3/3", "three"), ("1/3", "three"), ("2/3", "three")):
        assert call(monkeypatch, [*line, "--part", part, "--out", str(tmp_path / out)]) == 0
    whole, three = (read(tmp_path / name, encoder, make_run) for name in ("whole", "three"))
    assert documents(three.shards[0]) == documents(whole.shards[0])
    assert {h.text for h in three.held_out} == {h.text for h in whole.held_out}
    counts = [
        (row.documents_read, row.duplicates, row.near_duplicates)
        for result in (whole, three)
        for row in result.row.corpora
    ]
    assert counts == [(65, 5, 30)] * 2
    assert (
        call(
            monkeypatch, [*line, "--part", "1/3", "--out", str(tmp_path / "three"), "--set", "data.near_duplicates=0"]
        )
        == 2
    )


def test_a_part_is_prepared_once_and_what_a_stopped_one_left_is_written_again(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "two" / "part-0001-of-0002.partial" / "a"
    junk.mkdir(parents=True)
    (junk / "tokens.bin").write_bytes(b"half")
    assert prepare("1/2", tmp_path / "two") == 0
    folder = tmp_path / "two" / "part-0001-of-0002"
    assert capsys.readouterr().out.strip() == str(folder)
    assert not junk.exists()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert prepare("1/2", tmp_path / "two") == 0
    assert "this part is prepared" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert prepare("1/2", tmp_path / "two", "--set", "data.overlap_words=9") == 2
    assert "was prepared with other settings (overlap_words)" in capsys.readouterr().err


def test_a_run_reads_parts_and_is_taken_up_again(
    prepare: Callable[..., int], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for part in ("1/2", "2/2"):
        assert prepare(part, tmp_path / "two") == 0
    capsys.readouterr()
    line = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--out", str(tmp_path / "run"), *MOST]
    for item in (*LEAST, f"data.prepared='{tmp_path / 'two'}'", "eval.tasks='none'"):
        line += ["--set", item]
    assert call(monkeypatch, line) == 0
    row = json.loads((tmp_path / "run" / "corpora.json").read_text())
    assert sum(corpus["documents"] + corpus["held_out"] for corpus in row["corpora"]) == 60
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "shards").exists()
    (tmp_path / "run" / "cost.json").unlink()
    assert call(monkeypatch, line) == 0
    assert "resuming at step" in capsys.readouterr().err


def lack(out: Path) -> None:
    (out / "part-0002-of-0002").rename(out / "elsewhere")


def flip(out: Path) -> None:
    file = out / "part-0002-of-0002" / "b" / "tokens.bin"
    content = bytearray(file.read_bytes())
    content[7] ^= 4
    file.write_bytes(bytes(content))


def add_another_set(out: Path) -> None:
    (out / "part-0001-of-0003").mkdir()
    (out / "part-0001-of-0003" / "part.json").write_text("{}")


def cut_short(out: Path) -> None:
    file = out / "part-0001-of-0002" / "part.json"
    file.write_text(file.read_text()[:20])


@pytest.mark.parametrize(
    ("harm", "settings", "named"),
    [
        (lack, (), r"lacks part 2 of 2: adapt prepare --part 2/2"),
        (flip, (), r"part-0002-of-0002/b: tokens.bin does not match its digest"),
        (add_another_set, (), r"holds parts of 2 and of 3"),
        (cut_short, (), r"part.json is damaged"),
        (None, ("data.overlap_words=7",), r"prepared with other settings \(overlap_words\)"),
        (None, ("objective.unit=word",), r"prepared with other settings \(words\)"),
        (None, ("adapt.vocabulary=extend",), r"tokens of a model that exists"),
        (None, ("data.corpora=['e3c_pamj_fr']",), r"leave out --corpus and data.corpora"),
    ],
)
def test_parts_that_cannot_be_read_say_why(
    harm: Callable[[Path], None] | None, settings: tuple[str, ...], named: str, prepare: Callable[..., int],
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path,
) -> None:  # fmt: skip
    for part in ("1/2", "2/2"):
        assert prepare(part, tmp_path / "two") == 0
    if harm:
        harm(tmp_path / "two")
    with pytest.raises(InputError, match=named):
        read(tmp_path / "two", encoder, make_run, *settings)


def test_parts_know_the_tasks_that_they_were_checked_against(
    prepare: Callable[..., int], encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    assert prepare("1/1", tmp_path / "one") == 0
    run = make_run(*(MOST[1], MOST[3]), f"data.prepared='{tmp_path / 'one'}'", data={})
    with pytest.raises(InputError, match=r"was not checked against morfitt"):
        parts.merge_parts(run, encoder.tokenizer, {"morfitt": ["Un test."]})


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_what_is_no_part_is_refused(part: str, prepare: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    assert prepare(part, tmp_path / "out") == 2
    assert "from 1/8 to 8/8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
