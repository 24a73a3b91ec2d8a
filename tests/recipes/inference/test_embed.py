"""Texts as vectors: as one pass would give them, taken up after a stop, and open to sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.recipes.commands.push import push
from medlingua.recipes.evaluation.terms import term_vectors
from medlingua.recipes.inference import annotator
from medlingua.recipes.inference.embed import embed, vectors_of
from transformers import AutoModel, AutoTokenizer

from ..conftest import call

TEXTS = [f"Toux sèche et fièvre {i}. {'Le patient va bien. ' * i}" for i in range(9)]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "notes" / f"n{number}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "notes"


def vectors(folder: Path) -> dict[str, np.ndarray]:
    by_id = {}
    for file in sorted((folder / "parts").glob("*.parquet")):
        table = pq.read_table(file)
        rows = np.array(table["embedding"].to_pylist(), dtype=np.float32)
        by_id |= dict(zip(table["id"].to_pylist(), rows, strict=True))
    return by_id


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_vector_is_that_of_plain_transformers_pooled_as_the_folder_says(
    pooling: Any, base: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sentence-transformers does with the folder, step by step: it is not installed here."""
    monkeypatch.setattr("medlingua.recipes.machine.cpu_bf16_units", lambda: None)
    out = embed(str(base), [str(notes)], pooling, None, (), tmp_path / "out")
    model, tokenizer = AutoModel.from_pretrained(out / "model").eval(), AutoTokenizer.from_pretrained(out / "model")
    config = json.loads((out / "model" / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    assert config["pooling_mode_mean_tokens"] is (pooling == "mean")
    modules = json.loads((out / "model" / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling"]
    embeddings = vectors(out)
    for number, text in enumerate(TEXTS[:5]):
        inputs = tokenizer([text], return_tensors="pt")
        assert inputs["input_ids"].shape[1] <= tokenizer.model_max_length
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        expected = states.mean(dim=0) if pooling == "mean" else states[0]
        np.testing.assert_allclose(embeddings[f"n{number}.txt"], expected, atol=1e-5)


def test_a_long_text_has_each_of_its_tokens_in_the_mean(encoder: Encoder) -> None:
    long = " ".join(f"Le patient {i} va bien." for i in range(200))
    other = long[:-20] + "fièvre et toux sèche."
    first, second = vectors_of(encoder, [long, other], "mean")
    assert not np.allclose(first, second, atol=1e-4), "the end counts"
    alone, *_ = vectors_of(encoder, [long], "mean")
    np.testing.assert_allclose(first, alone, atol=2e-3)


def test_terms_are_ranked_by_the_vectors_that_embed_gives(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalization has unit vectors of the same pooling."""
    monkeypatch.setattr("medlingua.recipes.machine.cpu_bf16_units", lambda: None)
    names = ["toux", "fièvre jaune", "douleur du foie"]
    vectors = np.stack(vectors_of(encoder, names, "mean"))
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(term_vectors(encoder, names, "names").numpy(), expected, atol=1e-5)


def test_a_stopped_call_ends_with_the_vectors_of_an_unstopped_one(
    base: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "_AT_ONCE", 4)
    embed(str(base), [str(notes)], "mean", None, (), tmp_path / "whole")
    calls = []

    def stopping(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return vectors_of(*given)

    monkeypatch.setattr("medlingua.recipes.inference.embed.vectors_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(str(base), [str(notes)], "mean", None, (), tmp_path / "parts")
    embed(str(base), [str(notes)], "mean", None, (), tmp_path / "parts")
    whole, parts = vectors(tmp_path / "whole"), vectors(tmp_path / "parts")
    assert list(whole) == list(parts) == [f"n{i}.txt" for i in range(9)]
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(InputError, match="with another pooling: give another --out"):
        embed(str(base), [str(notes)], "first", None, (), tmp_path / "parts")


def test_the_encoder_beside_its_vectors_has_a_card_and_can_be_pushed(base: Path, notes: Path, tmp_path: Path) -> None:
    embed(str(base), [str(notes)], "first", None, (), tmp_path / "out")
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "that of its first token" in card
    assert "base: not stated" in card
    assert str(tmp_path) not in card
    assert push(tmp_path / "out", "lab/encoder", ("base",), False, dry_run=True) == "lab/encoder"


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_vectors_that_an_earlier_call_wrote_and_are_gone_are_not_taken_for_written(
    damage: str, base: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "_AT_ONCE", 4)
    embed(str(base), [str(notes)], "mean", None, (), tmp_path / "out")
    for part in sorted((tmp_path / "out" / "parts").iterdir()):
        content = part.read_bytes()
        part.unlink() if damage == "gone" else part.write_bytes(content[:-20])
        with pytest.raises(InputError, match=f"{part.name} is not as embed.json says that it was written: bring it"):
            embed(str(base), [str(notes)], "mean", None, (), tmp_path / "out")
        part.write_bytes(content)
    embed(str(base), [str(notes)], "mean", None, (), tmp_path / "out")


def test_the_encoder_of_the_folder_can_be_trained_further(base: Path, notes: Path, tmp_path: Path) -> None:
    out = embed(str(base), [str(notes)], "mean", None, (), tmp_path / "out")
    again, before = encoders.load(str(out / "model"), head="fresh"), encoders.load(str(base))
    weights = again.model.base_model.state_dict()
    assert all(torch.equal(weights[name], t) for name, t in before.model.base_model.state_dict().items())


def test_an_unknown_pooling_is_named(
    base: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    arguments = ["embed", str(base), str(notes), "--pooling", "men", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, arguments) == 2
    assert "did you mean 'mean'?" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
