"""What differs from family to family: dropout on attention weights, and the families that are refused."""

from typing import Any

import pytest
import torch
import transformers
from medlingua.adapters.architecture import INSTEAD
from medlingua.adapters.encoder import load, set_dropout
from transformers import DebertaV2ForMaskedLM

from .model_files import refusal, rewrite

ATTENTION_DROPOUT = {  # of a layer, by family
    "bert": "attention.self.dropout",
    "deberta-v2": "attention.self.dropout",
    "distilbert": "attention.dropout",
    "mpnet": "attention.attn.dropout",
    "albert": "attention.attention_dropout",
}


@pytest.mark.parametrize(("family", "of_weights"), ATTENTION_DROPOUT.items())
def test_attention_weights_have_no_dropout_and_hidden_states_have(family: str, of_weights: str, build: Any) -> None:
    encoder = load(str(build(family)))
    set_dropout(encoder.model, 0.1)
    layer = encoder.architecture.layers(encoder.model.base_model)[0]
    rates = {name: m.p for name, m in layer.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert rates.pop(of_weights) == 0
    assert set(rates.values()) == {0.1}


@pytest.mark.parametrize("family", INSTEAD)
def test_a_refused_family_names_the_one_that_serves_instead_before_its_code_is_requested(
    family: str, build: Any
) -> None:
    folder = build("bert")
    rewrite(folder, "config.json", model_type=family, auto_map={"AutoConfig": "custom.Custom"})
    name, _, serves = INSTEAD[family]
    for allow in ((), ("remote-code",)):
        message = refusal(folder, allow=allow)
        assert f"a {name} model ('{family}') is not supported" in message
        assert message.endswith(serves)
        assert "remote-code" not in message


def test_a_config_of_nomics_own_code_is_called_one(build: Any) -> None:
    folder = build("nomic_bert")
    rewrite(folder, "config.json", n_embd=32, auto_map={"AutoConfig": "custom.Custom"})
    assert "converted for transformers; ModernBERT serves the same use" in refusal(folder)


def test_a_bigbird_is_refused_because_a_short_text_changes_how_it_reads_long_ones() -> None:
    """It leaves its block-sparse attention for good, and nothing of the model's outputs says so."""
    config = transformers.BigBirdConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=256, block_size=8, num_random_blocks=1, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BigBirdModel(config).eval()
    long = torch.arange(128)[None] % 60
    with torch.no_grad():
        before = model(input_ids=long).last_hidden_state
        model(input_ids=long[:, :16])
        after = model(input_ids=long).last_hidden_state
    assert (after - before).abs().max() > 0.1


def test_a_deberta_whose_head_does_not_fit_its_table_is_refused(build: Any) -> None:
    """A head that is not legacy multiplies states with the table of pieces, which is narrower: transformers fails."""
    folder = build("deberta-v2", legacy=False, embedding_size=16)
    stock = DebertaV2ForMaskedLM.from_pretrained(folder)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stock(input_ids=torch.tensor([[2, 7, 3]]))
    assert "embedding_size = 16" in refusal(folder)
