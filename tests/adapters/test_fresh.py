"""Models from nothing: stock classes of the size that was asked, the same for the same seed."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import Encoder, load, save
from medlingua.adapters.fresh import Family, Size, random_encoder
from medlingua.languages.errors import InputError

from .test_packed import LENGTHS, documents, logits, stock

FAMILIES = get_args(Family)


def new_encoder(family: Any, tokenizer: Any, seed: int = 0, size: Size = "tiny") -> Encoder:
    return random_encoder(family, size, 128, 16, tokenizer, seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_O15_plain_transformers_computes_what_training_computes(
    family: str, new_byte_pieces: Any, tmp_path: Path
) -> None:
    encoder = new_encoder(family, new_byte_pieces)
    assert encoder.length == 128
    assert encoder.model.config.vocab_size == len(new_byte_pieces)
    # Weights of 0.02 would leave hardly anything to compare.
    for parameter in encoder.model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    encoder.model.tie_weights()
    save(encoder, tmp_path)
    ids = documents(encoder)
    together = torch.split(logits(encoder, ids), list(LENGTHS))
    for packed, expected in zip(together, stock(tmp_path, family, *ids), strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(packed, expected, atol=1e-4, rtol=1e-4)
    reopened = load(str(tmp_path))
    assert reopened.length == 128
    assert reopened.lineage.base == "random weights"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides_the_weights(family: str, new_byte_pieces: Any) -> None:
    first, again, other = (new_encoder(family, new_byte_pieces, seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_special_ids_are_the_tokenizers(family: str, new_byte_pieces: Any) -> None:
    config = new_encoder(family, new_byte_pieces).model.config
    assert config.pad_token_id == new_byte_pieces.pad_token_id
    assert config.bos_token_id == new_byte_pieces.cls_token_id
    assert config.eos_token_id == new_byte_pieces.sep_token_id


@pytest.mark.parametrize(
    ("family", "published"),
    [("bert", "BertConfig"), ("modernbert", "ModernBertConfig"), ("distilbert", "DistilBertConfig")],
)
def test_base_is_the_published_base(family: str, published: str, new_byte_pieces: Any) -> None:
    """The shape of the family's own default configuration."""
    expected = getattr(transformers, published)()
    with torch.device("meta"):
        config = new_encoder(family, new_byte_pieces, size="base").model.config
    names = ["hidden_size", "num_hidden_layers", "num_attention_heads"]
    names += ["hidden_dim"] if family == "distilbert" else ["intermediate_size"]
    names += ["layer_types"] if family == "modernbert" else []
    assert [getattr(config, n) for n in names] == [getattr(expected, n) for n in names]


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        *((family, (24, 1024, 16, 4096)) for family in ("bert", "roberta", "electra", "longformer", "deberta-v2")),
        ("modernbert", (28, 1024, 16, 2624)),
    ],
)
def test_large_is_the_published_large(family: str, shape: tuple[int, ...], new_byte_pieces: Any) -> None:
    """By config.json of bert-large, roberta-large, electra-large-discriminator, longformer-large-4096,
    deberta-v3-large and ModernBERT-large."""
    with torch.device("meta"):
        config = new_encoder(family, new_byte_pieces, size="large").model.config
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    assert tuple(getattr(config, name) for name in names) == shape


def test_a_window_that_is_odd_is_refused(new_byte_pieces: Any) -> None:
    with pytest.raises(InputError, match=r"window 15"):
        random_encoder("longformer", "tiny", 128, 15, new_byte_pieces, 0)


def test_every_family_is_known() -> None:
    assert set(FAMILIES) <= set(ARCHITECTURES)
