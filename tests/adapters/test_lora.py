"""LoRA matrices: they change nothing at first, train alone, and leave a stock model behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import load, save
from medlingua.adapters.lora import MARK, add_lora, has_lora, lora_parameters, merge_lora
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.errors import InputError
from transformers import AutoModelForMaskedLM

from .test_packed import documents

FAMILIES = ["bert", "modernbert", "eurobert", "longformer", "jina_embeddings_v3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_they_start_as_the_model_and_merge_into_it(family: str, build: Any, tmp_path: Path) -> None:
    encoder = load(str(build(family)))
    row = pack(documents(encoder, (40, 12)), encoder.first_position)
    names = [name for name, _ in encoder.model.named_parameters()]
    with torch.no_grad():
        before = hidden_states(encoder, row)
        add_lora(encoder, 4, seed=0)
        assert has_lora(encoder.model)
        torch.testing.assert_close(hidden_states(encoder, row), before)
        added = {n: p for n, p in encoder.model.named_parameters() if MARK in n}
        assert sum(p.numel() for p in added.values()) == lora_parameters(load(str(build(family))), 4)
        for parameter in added.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
        changed = hidden_states(encoder, row)
        assert (changed - before).abs().max() > 1e-2
        merge_lora(encoder.model)
        torch.testing.assert_close(hidden_states(encoder, row), changed, atol=1e-5, rtol=1e-5)
    assert [name for name, _ in encoder.model.named_parameters()] == names
    save(encoder, tmp_path / "merged")
    assert not has_lora(AutoModelForMaskedLM.from_pretrained(tmp_path / "merged"))


def test_only_they_get_gradients(build: Any) -> None:
    encoder = load(str(build("modernbert")))
    add_lora(encoder, 2, seed=0)
    hidden_states(encoder, pack(documents(encoder, (20,)), encoder.first_position)).square().sum().backward()  # type: ignore[no-untyped-call]
    assert {MARK in n for n, p in encoder.model.named_parameters() if p.grad is not None} == {True}


def test_a_model_has_them_once(build: Any) -> None:
    encoder = load(str(build("bert")))
    add_lora(encoder, 2, seed=0)
    with pytest.raises(ValueError, match="already"):
        add_lora(encoder, 2, seed=0)


def test_a_rank_above_that_of_the_matrices_is_refused(build: Any) -> None:
    with pytest.raises(InputError, match="rank 5,000: the layers' matrices have rank 32 at most"):
        add_lora(load(str(build("bert"))), 5_000, seed=0)
