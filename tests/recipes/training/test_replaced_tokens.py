"""Replaced-token detection against plain ELECTRA classes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import random_encoder
from medlingua.adapters.packed import Packed, pack
from medlingua.recipes.training.objectives import masker
from medlingua.recipes.training.replaced_tokens import GeneratorAndDetector, ReplacedTokens, corrupted, drawn
from torch.nn import functional

from ..conftest import cases, new_tokenizer


@pytest.fixture
def electra() -> Encoder:
    encoder = random_encoder("electra", "mini", 128, 16, new_tokenizer(cases(20, seed=3), 500), seed=0)
    for parameter in encoder.model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    return encoder


def batch(encoder: Encoder) -> tuple[Packed, list[np.ndarray]]:
    """Three notes, some tokens hidden, and the notes as they were."""
    hide = masker(encoder.tokenizer, "piece", 0.3)
    whole, shown, labels, places = [], [], [], []
    offset = 0
    for number, text in enumerate(cases(3, seed=9)):
        ids = np.array(encoder.tokenizer(text)["input_ids"][:100])
        hidden, chosen = hide(ids, None, np.random.default_rng(number))
        whole.append(ids)
        shown.append(hidden)
        labels.append(ids[chosen])
        places.append(chosen + offset)
        offset += len(ids)
    row = pack(shown, encoder.first_position).with_labels(np.concatenate(labels), np.concatenate(places))
    return row, whole


def test_the_loss_is_that_of_the_stock_classes_on_each_note_alone(electra: Encoder) -> None:
    packed, whole = batch(electra)
    pair = GeneratorAndDetector(electra, seed=1, dropout=0.0)
    objective = ReplacedTokens(electra, pair).eval()
    torch.manual_seed(7)
    loss = objective(packed)
    # The plain twin: no packing, the generator's logits whole, the same draws.
    borders = packed.cu_seqlens.tolist()
    notes = [slice(a, b) for a, b in pairwise(borders)]
    for model in (pair.generator, electra.model):
        model.config._attn_implementation = "eager"
    logits = torch.cat([pair.generator(input_ids=packed.ids[None, note]).logits[0] for note in notes])
    generated = functional.cross_entropy(logits[packed.label_positions], packed.labels, reduction="sum")
    torch.manual_seed(7)
    transform, decoder = electra.architecture.head(pair.generator)
    states = torch.cat([pair.generator.electra(packed.ids[None, n]).last_hidden_state[0] for n in notes])
    pieces = drawn(transform(states[packed.label_positions]), decoder)
    text = torch.from_numpy(np.concatenate(whole))
    other = text.clone()
    other[packed.label_positions] = pieces
    detector_logits = torch.cat(
        [pair.detector(electra.model.electra(other[None, note]).last_hidden_state)[0] for note in notes]
    )
    ordinary = ~torch.isin(text, torch.tensor(electra.tokenizer.all_special_ids))
    detection_loss = functional.binary_cross_entropy_with_logits(
        detector_logits[ordinary], (other != text)[ordinary].float()
    )
    torch.testing.assert_close(loss, generated + 50 * detection_loss * len(packed.labels), rtol=1e-4, atol=1e-3)
    assert 0 < int((other != text).sum()) <= len(packed.labels)


def test_the_text_comes_back_where_nothing_was_replaced(electra: Encoder) -> None:
    packed, whole = batch(electra)
    shown, replaced = corrupted(packed, packed.labels)
    assert torch.equal(shown.ids, torch.from_numpy(np.concatenate(whole)))
    assert not replaced.any()
    assert len(shown.labels) == 0


def test_pieces_are_drawn_from_the_softmax() -> None:
    torch.manual_seed(0)
    decoder = torch.nn.Linear(4, 6)
    features = torch.randn(1, 4).expand(30_000, 4)
    counts = torch.bincount(drawn(features, decoder), minlength=6) / 30_000
    torch.testing.assert_close(counts, decoder(features[0]).softmax(dim=0).detach(), atol=0.012, rtol=0)


def test_the_generator_is_narrower_and_shares_the_table(electra: Encoder) -> None:
    pair = GeneratorAndDetector(electra, seed=1, dropout=0.0)
    table = electra.model.get_input_embeddings().weight
    assert pair.generator.get_input_embeddings().weight is table
    assert pair.generator.generator_lm_head.weight is table
    assert pair.generator.config.hidden_size * 4 == electra.model.config.hidden_size
    before = sum(p.numel() for p in electra.model.parameters())
    own = [p for p in pair.parameters() if p is not table]
    assert sum(p.numel() for p in own) < before / 3
