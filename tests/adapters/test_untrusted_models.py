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
        told = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(told)) + told + raw[8 + size :])

    return write


def endless(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def configured(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return write


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
    ],
    ids=["offset", "shape", "dtype", "length", "vocabulary", "width", "positions", "layers"],
)
def test_a_model_that_lies_is_refused(harm: Callable[[Path], None], good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    harm(folder)
    with pytest.raises(InputError, match=r"model|weights"):
        load(str(folder))
