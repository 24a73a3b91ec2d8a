"""Training from nothing, as a person gives it."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import load, save
from medlingua.adapters.fresh import random_encoder
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ..recipes.conftest import call
from .conftest import give, same_weights, started
from .test_command import metrics_of

SMALL = ["adapt.size=tiny", "adapt.length=128", "adapt.window=16", "train.tokens=4_000", "train.batch_tokens=256"]
SMALL += ["train.lr=3e-3", "train.precision='fp32'", "data.held_out=0.2", "train.eval_tokens=20_000"]

# What a document alone never reaches: the second kind of segment.
_UNREACHED = ("token_type_embeddings.weight",)


def line(corpus: Path, out: Path, *settings: str) -> list[str]:
    given = ["--strategy", "scratch", "--lang", "fr", "--corpus", str(corpus), "--out", str(out)]
    for setting in [*SMALL, *settings]:
        given += ["--set", setting]
    return given


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("modernbert", "BPE"),
        ("longformer", "Unigram"),
        ("electra", "WordPiece"),
        ("deberta-v2", "Unigram"),
        ("distilbert", "WordPiece"),
    ],
)
def test_a_model_from_nothing_trains_all_its_weights_on_a_tokenizer_of_its_own(
    architecture: str, kind: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    settings = [f"adapt.architecture={architecture}", f"adapt.tokenizer={kind}", "adapt.vocabulary=replace"]
    settings += ["adapt.new_pieces=700", "eval.tasks='none'"]
    assert call(monkeypatch, line(corpus, out, *settings)) == 0
    bits = {row["model"]: float(str(row["bits_per_byte"])) for row in metrics_of(out) if "bits_per_byte" in row}
    assert set(bits) == {"start", "trained"}
    before, after = (load_file(out / part / "model.safetensors") for part in ("start", "model"))
    assert before.keys() == after.keys()
    # Also the global projections of a Longformer, which follow the local ones where no token is global.
    assert [n for n in after if torch.equal(before[n], after[n]) and not n.endswith(_UNREACHED)] == []
    model, tokenizer = (c.from_pretrained(out / "model") for c in (AutoModelForMaskedLM, AutoTokenizer))
    assert model.config.model_type == architecture
    assert len(tokenizer) == model.config.vocab_size == 700
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "from nothing" in page


def test_a_parent_gives_its_tokenizer_and_is_the_comparison(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    settings = ["adapt.architecture=bert", "adapt.vocabulary=extend", "adapt.new_pieces=40", "eval.tasks='none'"]
    settings += ["adapt.piece_documents=3"]
    assert call(monkeypatch, [*line(corpus, out, *settings), "--base", str(base)]) == 0
    parent, child = load(str(base)), load(str(out / "model"))
    assert len(child.tokenizer) == len(parent.tokenizer) + 40
    assert child.lineage.base == "random weights"
    assert child.lineage.steps[-1].base == str(base)
    bits = {row["model"] for row in metrics_of(out) if "bits_per_byte" in row}
    assert bits == {"base", "start", "trained"}
    assert "all embeddings were initialized at random" in (out / "report.html").read_text(encoding="utf-8")


def test_a_parent_without_a_head_gives_its_tokenizer_and_a_head_to_compare_with(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(base, parent)
    weights = load_file(parent / "model.safetensors")
    body = {name: value for name, value in weights.items() if not name.startswith("cls.")}
    save_file(body, parent / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "run"
    whole = [*line(corpus, out, "adapt.architecture=roberta", "eval.tasks='none'"), "--base", str(parent)]
    assert call(monkeypatch, whole) == 2
    assert "adapt.head=fresh" in capsys.readouterr().err
    fresh_head = ["adapt.head=fresh", "adapt.head_tokens=2_000", "adapt.head_lang=en"]
    whole += [part for setting in fresh_head for part in ("--set", setting)]
    assert call(monkeypatch, whole) == 2
    assert "adapt.head_lang = 'fr'" in capsys.readouterr().err
    whole += ["--set", "adapt.head_lang="]
    assert call(monkeypatch, whole) == 0
    assert len(load(str(out / "model")).tokenizer) == len(load(str(base)).tokenizer)
    bits = {row["model"] for row in metrics_of(out) if "bits_per_byte" in row}
    assert bits == {"base", "start", "trained"}


def test_no_parent_and_no_new_tokenizer_says_what_to_do(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, line(corpus, tmp_path / "run")) == 2
    assert "adapt.vocabulary=replace" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_other_strategies_have_a_default_base_that_is_named_where_it_cannot_be_had(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, ["--strategy", "continue", "--lang", "fr", "--corpus", str(corpus)]) == 2
    assert "thomas-sounack/BioClinical-ModernBERT-base" in capsys.readouterr().err


@pytest.mark.parametrize("carry", ["embeddings", "weights"])
def test_what_is_carried_over_is_where_training_starts(
    carry: str, base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load(str(base)).tokenizer
    small = random_encoder("bert", "tiny", 128, 16, tokenizer, seed=5)
    save(small, tmp_path / "small")
    out = tmp_path / "run"
    settings = ["adapt.architecture=bert", "adapt.size=mini", "adapt.vocabulary=extend", "adapt.new_pieces=40"]
    settings += ["adapt.piece_documents=3", f"adapt.carry={carry}", "eval.tasks='none'", "train.tokens=2_000"]
    assert call(monkeypatch, [*line(corpus, out, *settings), "--base", str(tmp_path / "small")]) == 0
    start = load(str(out / "start")).model
    old, table = (model.get_input_embeddings().weight for model in (small.model, start))
    assert len(table) == len(old) + 40
    assert torch.equal(table[: len(old), :128], old)
    if carry == "embeddings":
        return
    dense = [model.base_model.encoder.layer[0].output.dense for model in (small.model, start)]
    assert torch.equal(dense[1].bias[:128], dense[0].bias)
    torch.testing.assert_close(dense[1].weight[:128, :512] + dense[1].weight[:128, 512:], dense[0].weight)


def test_O16_an_electra_learns_by_detection_then_its_head_and_resumes_to_the_same_weights(
    command: list[str], tmp_path: Path
) -> None:
    given = [*command]
    given[given.index("continue")] = "scratch"
    settings = ["adapt.architecture=electra", "objective.kind=rtd", "train.tokens=30_000", "train.eval_tokens=1_000"]
    settings += ["train.checkpoint_tokens=6_000", "adapt.size=tiny", "adapt.length=128", "train.batch_tokens=256"]
    settings += ["train.lr=3e-3", "eval.tasks='none'"]
    for setting in settings:
        given += ["--set", setting]
    whole = give(given, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    stopped = started(given, tmp_path / "stopped")
    stopped.send_signal(signal.SIGTERM)
    _, stderr = stopped.communicate(timeout=100)
    assert stopped.returncode == 130, stderr
    again = give(given, tmp_path / "stopped")
    assert again.returncode == 0, again.stderr
    same_weights(tmp_path / "whole", tmp_path / "stopped")
    rows = metrics_of(tmp_path / "whole")
    losses = [float(str(row["loss"])) for row in rows if row["kind"] == "train" and row["phase"] == 0]
    assert np.mean(losses[-10:]) < np.mean(losses[:3])
    evaluations = [row for row in rows if row["kind"] == "eval" and row["model"] == "trained"]
    assert {row["phase"] for row in evaluations} == {1}  # none before there is a head
    base = next(row for row in rows if row["kind"] == "eval" and row["model"] == "base")
    assert float(str(evaluations[-1]["bits_per_byte"])) < float(str(base["bits_per_byte"]))
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "whole" / "model")
    start = AutoModelForMaskedLM.from_pretrained(tmp_path / "whole" / "start")
    for name in ("electra", "generator_predictions"):  # detection teaches the body, masked words the head
        learnt, first = (next(getattr(of, name).parameters()) for of in (model, start))
        assert not torch.equal(learnt, first)
    assert model.config.model_type == "electra"
