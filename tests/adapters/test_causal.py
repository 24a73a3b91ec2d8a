"""Causal attention in an encoder: what a token gets does not depend on what follows it."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import load
from medlingua.adapters.packed import hidden_states, pack

from .test_packed import documents

LENGTHS = (40, 3, 57)  # past every window, past a short neighbour
FAMILIES = sorted(name for name, a in ARCHITECTURES.items() if a.interface or name == "longformer")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_future_does_not_leak(family: str, build: Any) -> None:
    """Other tokens from some place on, in the first document and in the last: nothing before them changes."""
    encoder = load(str(build(family)))
    ids = documents(encoder, LENGTHS)
    changed = [a.copy() for a in ids]
    borders = (25, None, 1)
    for document, border in zip(changed, borders, strict=True):
        if border is not None:
            document[border:] = 5 + (document[border:] + 7) % (len(encoder.tokenizer) - 5)
    states, others = (
        torch.split(hidden_states(encoder, pack(d, encoder.first_position), causal=True), list(LENGTHS))
        for d in (ids, changed)
    )
    for before, after, border in zip(states, others, borders, strict=True):
        torch.testing.assert_close(before[:border], after[:border], atol=1e-6, rtol=1e-6)
        if border is not None:
            assert (before[border:] - after[border:]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_comes_from_a_later_token(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    embedded: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = encoder.model.get_input_embeddings().register_forward_hook(keep)
    states = hidden_states(encoder, pack(documents(encoder, (30, 12)), encoder.first_position), causal=True)
    hook.remove()
    states[20].square().sum().backward()  # type: ignore[no-untyped-call]
    gradient = embedded[0].grad
    assert gradient is not None
    reached = gradient.reshape(42, -1).abs().amax(dim=1) > 0
    assert bool(reached[20])
    assert not bool(reached[21:].any())


# The stock Longformer has no causal mask, and the stock UltraBERT takes one mask for both kinds of its layers.
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"longformer", "ultrabert"}))
def test_a_packed_row_gives_what_the_stock_model_gives_with_a_causal_mask(family: str, build: Any) -> None:
    folder = build(family)
    encoder = load(str(folder))
    ids = documents(encoder, LENGTHS)
    transform, decoder = encoder.architecture.head(encoder.model)
    with torch.no_grad():
        states = hidden_states(encoder, pack(ids, encoder.first_position), causal=True)
        ours = torch.split(decoder(transform(states)), list(LENGTHS))
    stock = getattr(transformers, ARCHITECTURES[family].model_class).from_pretrained(
        folder, attn_implementation="eager"
    )
    for document, logits in zip(ids, ours, strict=True):
        mask = _causal_mask(len(document), stock.config)
        with torch.no_grad():
            theirs = stock.eval()(input_ids=torch.tensor(document)[None], attention_mask=mask).logits[0]
        torch.testing.assert_close(logits, theirs, atol=1e-4, rtol=1e-4)


def _causal_mask(length: int, config: Any) -> Any:
    """What a stock model adds to its scores, (1, 1, length, length); one a kind of layer where there are two."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None]
    whole = torch.zeros(1, 1, length, length).masked_fill(distance < 0, torch.finfo(torch.float32).min)
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return whole
    reach = config.local_attention // 2
    near = whole.masked_fill(distance.abs() > reach, torch.finfo(torch.float32).min)
    return {"full_attention": whole, "sliding_attention": near}


def test_selected_states_are_those_of_the_whole_row(build: Any) -> None:
    encoder = load(str(build("bert")))
    packed = pack(documents(encoder, LENGTHS), encoder.first_position)
    chosen = torch.from_numpy(np.array([0, 7, 41, 60, 99]))
    every = hidden_states(encoder, packed, causal=True)
    torch.testing.assert_close(hidden_states(encoder, packed, chosen, causal=True), every[chosen])
    assert (hidden_states(encoder, packed, chosen) - every[chosen]).abs().max() > 1e-3
