"""What this room makes is trained by transformers' own Trainer, with the dropout that stock configs have."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.attention import NAME, register
from medlingua.adapters.encoder import load, save
from medlingua.adapters.longformer import to_longformer
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.rotary import rescale, to_rotary
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    LongformerForMaskedLM,
    Trainer,
    TrainingArguments,
)


def losses(model: Any, tokenizer: Any, texts: list[str], folder: Path, steps: int = 12) -> list[float]:
    """Training loss of each step of the stock Trainer."""
    tokenizer.model_max_length = 64
    examples = [tokenizer(text, truncation=True, return_special_tokens_mask=True) for text in texts]
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=steps, per_device_train_batch_size=8, learning_rate=5e-3,
        logging_steps=1, save_strategy="no", report_to=[], seed=0, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=settings, train_dataset=examples,
        data_collator=DataCollatorForLanguageModeling(tokenizer, seed=0),
    )  # fmt: skip
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def check_learnt(loss_values: list[float]) -> None:
    assert all(torch.isfinite(torch.tensor(loss_values)))
    assert sum(loss_values[-4:]) < sum(loss_values[:4])


def test_a_stock_longformer_with_dropout_is_accelerated_and_trained(
    build: Any, corpus: list[str], tmp_path: Path
) -> None:
    folder = build("longformer", attention_probs_dropout_prob=0.1, initializer_range=0.02)
    model = LongformerForMaskedLM.from_pretrained(folder)
    with pytest.warns(UserWarning, match="attention_probs_dropout_prob"):
        accelerate_longformer(model)
    check_learnt(losses(model, AutoTokenizer.from_pretrained(folder), corpus, tmp_path))


def convert(target: str, build: Any) -> Any:
    if target == "rescaled":
        source = load(str(build("modernbert", initializer_range=0.02, attention_dropout=0.1)))
        return rescale(source, 4 * source.length, 1e6, "none")
    source = load(str(build("bert", initializer_range=0.02)))  # 0.1 on attention weights by default
    return to_longformer(source, 256, 16) if target == "longformer" else to_rotary(source, 256, 1e4)


@pytest.mark.parametrize("target", ["longformer", "rope", "rescaled"])
def test_a_conversion_is_trained_as_it_is(target: str, build: Any, corpus: list[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is given up: an Encoder has no dropout
        converted = convert(target, build)
    check_learnt(losses(converted.model, converted.tokenizer, corpus, tmp_path))


@pytest.mark.parametrize(
    ("target", "attention"),
    [("longformer", None), ("rope", None), ("rope", NAME), ("rescaled", None), ("rescaled", NAME)],
)
def test_a_saved_conversion_is_opened_and_trained_with_plain_transformers(
    target: str, attention: str | None, build: Any, corpus: list[str], tmp_path: Path
) -> None:
    save(convert(target, build), tmp_path / "made")
    register()
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "made", attn_implementation=attention)
    rate = "attention_dropout" if target == "rescaled" else "attention_probs_dropout_prob"
    assert getattr(model.config, rate) == 0.1
    check_learnt(losses(model, AutoTokenizer.from_pretrained(tmp_path / "made"), corpus, tmp_path))


@pytest.mark.parametrize("family", ["deberta-v2", "distilbert", "mpnet", "albert", "nomic_bert", "gte"])
@pytest.mark.parametrize("ours", [False, True], ids=["stock", "loaded"])
def test_a_family_is_trained_by_the_stock_trainer(
    family: str, ours: bool, build: Any, corpus: list[str], tmp_path: Path
) -> None:
    """With 0.1 of dropout on attention weights as its config says, and without as `load` gives it."""
    folder = build(family, initializer_range=0.02)
    encoder = load(str(folder))
    model = encoder.model if ours else AutoModelForMaskedLM.from_pretrained(folder)
    check_learnt(losses(model, encoder.tokenizer, corpus, tmp_path))
