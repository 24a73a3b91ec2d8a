"""The long-range probe tells a model that uses its length from one that only accepts it."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.cases import RecallCase, recall_case
from medlingua.languages.lineage import Lineage
from medlingua.languages.pack import load_pack
from medlingua.recipes.evaluation import probes
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LongformerConfig, LongformerForMaskedLM, PreTrainedTokenizerFast

FRENCH = load_pack("fr")
DISTANCES = (32, 64, 128, 512)  # words; about 42, 90, 176 and 680 tokens here
SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


@cache
def lessons() -> tuple[RecallCase, ...]:
    """Cases to learn from: the fact is 30 to 59 words away."""
    return tuple(recall_case(FRENCH, seed, 30 + seed % 30) for seed in range(1000, 1400))


def tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(special_tokens=list(SPECIALS.values()), show_progress=False)
    backend.train_from_iterator([case.document.text for case in lessons()], trainer)
    named = {f"{role}_token": token for role, token in SPECIALS.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def encoder_with(window: int) -> Encoder:
    """A Longformer of two layers for 1,500 tokens, without global tokens, that does not look at places."""
    torch.manual_seed(0)
    pieces = tokenizer()
    config = LongformerConfig(
        vocab_size=len(pieces), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        attention_window=[window] * 2, max_position_embeddings=1501, pad_token_id=0,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0,
    )  # fmt: skip
    model = LongformerForMaskedLM(config)
    accelerate_longformer(model)
    table = model.longformer.embeddings.position_embeddings.weight.requires_grad_(False)
    table.zero_()
    return Encoder(model, pieces, ARCHITECTURES["longformer"], Lineage(base="made for the test", base_licence=""))


def batches(encoder: Encoder, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """States of masked answers, and what they are."""
    draw = np.random.default_rng(0)
    for _ in range(steps):
        given = [lessons()[i] for i in draw.integers(len(lessons()), size=8)]
        masked = [probes._masked(encoder, case.document.text, case.answer) for case in given]
        row = pack([one.ids for one in masked], encoder.first_position)
        starts = row.cu_seqlens[:-1].tolist()
        where = np.concatenate([one.places + start for one, start in zip(masked, starts, strict=True)])
        labels = torch.from_numpy(np.concatenate([one.labels for one in masked]))
        yield hidden_states(encoder, row)[torch.from_numpy(where)], labels


def taught(window: int) -> Encoder:
    """Taught to say the fact again."""
    encoder = encoder_with(window)
    optimizer = torch.optim.AdamW([p for p in encoder.model.parameters() if p.requires_grad], lr=3e-3)
    transform, decoder = encoder.architecture.head(encoder.model)
    for states, labels in batches(encoder, 220):
        optimizer.zero_grad()
        functional.cross_entropy(decoder(transform(states)), labels).backward()
        optimizer.step()
    encoder.model.eval()
    return encoder


def test_a_model_that_uses_its_length_is_distinguished_from_one_that_only_accepts_it() -> None:
    """Both read 1,500 tokens. One sees 512 to each side in a layer, the other 32: the nearest fact is 42 away.

    Their weights are the same: none is of a place, so a window's size is no part of them.
    """
    wide, narrow = taught(1024), encoder_with(64)
    narrow.model.load_state_dict(wide.model.state_dict())
    narrow.model.eval()
    probed = {
        window: probes.probe(encoder, FRENCH, 10, DISTANCES) for window, encoder in ((1024, wide), (64, narrow))
    }
    assert [one.words for one in probed[64]] == list(DISTANCES)  # it accepts them all
    assert probes.effective_context(probed[64]) is None
    context = probes.effective_context(probed[1024])
    assert context is not None
    estimate, low, high = context
    assert 176 < low <= estimate <= high < 680
    by_words = {row.words: row for row in probes.rows("wide", probed[1024])}
    assert by_words[128].low > 1
    assert by_words[512].low <= 0


def gains(words: int, tokens: float, values: list[float]) -> probes.Gains:
    return probes.Gains(words, tokens, np.array(values))


def test_the_effective_context_is_where_half_of_the_gain_is_left() -> None:
    curve = [gains(50, 100, [2.0] * 8), gains(100, 200, [2.0] * 8), gains(200, 400, [0.0] * 8)]
    assert probes.effective_context(curve) == pytest.approx((282.8, 282.8, 282.8), abs=0.1)  # between, on a log scale
    assert probes.effective_context(curve[:2]) == (200, 200, 200)  # no farther than was probed
    assert probes.effective_context([gains(50, 100, [0.1, -0.1] * 4)]) is None
    assert probes.effective_context([]) is None


def test_distances_that_the_model_cannot_read_whole_are_left_out() -> None:
    encoder = encoder_with(64)
    probed = probes.probe(encoder, FRENCH, 2, (32, 64, 4096))
    assert [one.words for one in probed] == [32, 64]
    assert all(len(one.gains) == 2 for one in probed)
    assert probed[0].tokens < probed[1].tokens
