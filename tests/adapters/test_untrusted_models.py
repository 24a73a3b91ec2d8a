"""Model folders from anybody: a header or a config that lies is one InputError, and nothing is allocated for it."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from medlingua.adapters.encoder import load
from medlingua.languages.errors import InputError
from medlingua.languages.expressions import KNOWN
from medlingua.languages.vocabulary import read_tokenizer

from ..recipes.conftest import write_base


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "good")


def lying(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """The safetensors header with one tensor told otherwise."""

    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        raw = file.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + size])
        change(next(about for name, about in header.items() if name != "__metadata__"))
        encoded = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + raw[8 + size :])

    return write


def endless(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def configured(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return write


def split_by(expression: str) -> Callable[[Path], None]:
    """The tokenizer cuts text by an expression before anything else."""

    def write(folder: Path) -> None:
        file = folder / "tokenizer.json"
        contents = json.loads(file.read_text(encoding="utf-8"))
        split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
        contents["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, contents["pre_tokenizer"]]}
        file.write_text(json.dumps(contents, ensure_ascii=False), encoding="utf-8")

    return write


def replaced_by(expression: str, part: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "tokenizer.json"
        contents = json.loads(file.read_text(encoding="utf-8"))
        contents[part] = {"type": "Replace", "pattern": {"Regex": expression}, "content": " "}
        file.write_text(json.dumps(contents, ensure_ascii=False), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    "harm",
    [split_by(r"(a+)+$"), replaced_by(r"(a|aa)+$", "normalizer"), replaced_by(r"(a*)*b", "decoder")],
    ids=["pre-tokenizer", "normalizer", "decoder"],
)
def test_an_expression_that_may_never_end_is_refused_unless_it_is_trusted(
    harm: Callable[[Path], None], good: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    harm(folder)
    for read in (load, read_tokenizer):
        with pytest.raises(InputError, match=r"model.*may never end on some texts: '\(a.*--allow regex"):
            read(str(folder))
    assert load(str(folder), allow=("regex",)).length
    assert read_tokenizer(folder, ("regex",)).get_vocab_size()


@pytest.mark.parametrize("expression", sorted(KNOWN))
def test_the_expressions_of_known_families_are_taken_and_end(expression: str, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    split_by(expression)(folder)
    read = read_tokenizer(folder)
    for text in (
        "a" * 20_000,
        " " * 20_000,
        "1" * 20_000,
        "\r\n" * 10_000,
        "'s" * 10_000,
        "a1 " * 7_000,
        "!" * 20_000,
    ):
        assert read.encode(text + "é")


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b'{"base": "\xff"}', b"[" * 100_000], ids=["cut", "list", "bytes", "nested"]
)
def test_a_lineage_of_anything_is_one_line(raw: bytes, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    (folder / "lineage.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"lineage\.json: not what a run wrote"):
        load(str(folder))


@pytest.mark.parametrize(
    "harm",
    [
        lying(lambda about: about["data_offsets"].__setitem__(1, about["data_offsets"][1] + 10**12)),
        lying(lambda about: about.update(shape=[10**9, 10**9])),
        lying(lambda about: about.update(dtype="F128")),
        endless,
        configured(vocab_size=10**12),
        configured(hidden_size=2 * 10**7),
        configured(max_position_embeddings=10**11),
        configured(num_hidden_layers=500),
        configured(num_hidden_layers=10**9),
    ],
    ids=["offset", "shape", "dtype", "length", "vocabulary", "width", "positions", "layers", "a milliard layers"],
)
def test_a_model_that_lies_is_refused(harm: Callable[[Path], None], good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    harm(folder)
    with pytest.raises(InputError, match=r"model|weights"):
        load(str(folder))
