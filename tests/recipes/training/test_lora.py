"""LoRA in a run and in fine-tuning: what moves, what is saved, and what it cannot train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Run
from medlingua.recipes.training.learner import check_lora_run
from medlingua.recipes.training.memory import Size, training_bytes
from medlingua.recipes.walk import adapt
from safetensors.torch import load_file

from tests.recipes.conftest import call

# So small a model collapses soon.
SMALL = ("train.tokens=4_000", "train.lr=1e-3", "train.collapse=warn", "data.near_duplicates=0")


def test_a_run_moves_the_layers_alone_and_saves_a_stock_model(
    base: Path, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    adapt(make_run("train.lora=4", *SMALL), tmp_path / "run")
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    moved = {name for name in after if name in before and not torch.equal(after[name], before[name])}
    assert moved
    assert all(".layer." in name and name.endswith("weight") and "LayerNorm" not in name for name in moved)
    assert not any("lora" in name for name in after)


def test_O16_the_mean_and_a_resumed_run_keep_the_matrices(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A run that was cut off after its last checkpoint ends with the same model."""
    run = make_run(
        "train.lora=4", "train.average=2", "train.checkpoint_tokens=600", "train.keep_checkpoints=2", *SMALL
    )
    adapt(run, tmp_path / "run")
    whole = load_file(tmp_path / "run" / "model" / "model.safetensors")
    (tmp_path / "run" / "cost.json").unlink()
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    adapt(run, tmp_path / "run")
    again = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["adapt.vocabulary=extend"], "parameters = 'rows'"),
        (["train.shard=true"], "leave train.shard out"),
    ],
)
def test_what_lora_cannot_train_is_refused(settings: list[str], message: str, make_run: Callable[..., Run]) -> None:
    with pytest.raises(InputError, match=message):
        check_lora_run(make_run("train.lora=4", *settings))


def test_a_new_model_has_nothing_to_keep(make_run: Callable[..., Run]) -> None:
    with pytest.raises(InputError, match="a new model has no weights to keep"):
        check_lora_run(make_run("train.lora=4").model_copy(update={"strategy": "scratch"}))


def test_without_peft_the_message_says_what_to_install(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlingua.adapters.lora.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install peft"):
        check_lora_run(make_run("train.lora=4"))


def test_moments_and_gradients_of_the_matrices_alone_need_memory() -> None:
    full = Size(parameters=110_000_000, width=768, layers=12, heads=12, vocabulary=30_000, context=512)
    few = Size(110_000_000, 768, 12, 12, 30_000, 512, trained=1_000_000)
    for device in ("cpu", "cuda"):
        saved = training_bytes(full, 2_048, device) - training_bytes(few, 2_048, device)
        assert saved == (12 if device == "cpu" else 14) * 109_000_000


def test_a_task_is_fine_tuned_under_a_protocol_of_its_own(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_tasks: Any
) -> None:
    out = tmp_path / "out"
    line = ["evaluate", str(base), "--lang", "fr", "--tasks", "synthetic_outcome", "--seeds", "1", "--out", str(out)]
    line += ["--set", "eval.lora=4", "--set", "eval.epochs=1", "--keep"]
    assert call(monkeypatch, line) == 0
    results = (out / "results.jsonl").read_text(encoding="utf-8")
    assert "LoRA of rank 4" in results
    saved = next(out.rglob("model.safetensors"))
    assert not any("lora" in name for name in load_file(saved))


def test_lora_and_a_frozen_body_exclude_each_other(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evaluate", str(base), "--lang", "fr", "--tasks", "synthetic_outcome", "--out", str(tmp_path / "out")]
    line += ["--set", "eval.lora=4", "--set", "eval.body=frozen"]
    assert call(monkeypatch, line) == 2
    assert "leave one of them out" in capsys.readouterr().err
