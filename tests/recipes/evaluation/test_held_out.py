"""Bits per byte of masked words: what is measured is the word, however a tokenizer cuts it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import random_encoder
from medlingua.languages.words import words
from medlingua.recipes.evaluation import held_out
from medlingua.recipes.evaluation.held_out import HeldOutText, Passage, held_out_text, piece_counts
from medlingua.recipes.evaluation.masked_words import Query, changed_characters, mask_words
from medlingua.recipes.text.shards import Shard
from tokenizers import normalizers

from ..conftest import cases, new_tokenizer, write_base

LANGUAGE = "fr"


def text_of(*passages: Passage) -> HeldOutText:
    return HeldOutText(passages, 3, 0.0)


def measured(encoder: Encoder, text: HeldOutText, counts: np.ndarray | None = None) -> Any:
    counts = np.ones(len(encoder.tokenizer)) if counts is None else counts
    return held_out.measure(encoder, text, counts, model="base", phase=0, step=0, tokens=0)


def plain_nats(encoder: Encoder, passage: Passage) -> float:
    """The reference twin: one unpacked forward pass of transformers for each piece, one word after the other."""
    tokenizer, model = encoder.tokenizer, encoder.model.eval()
    encoding = tokenizer(passage.text, return_offsets_mapping=True)
    ids, nats = encoding["input_ids"], 0.0
    pieces_of = [
        [i for i, (start, end) in enumerate(encoding["offset_mapping"]) if start < b and end > a and end > start]
        for a, b in passage.masked
    ]
    masked = list(ids)
    for pieces in pieces_of:
        for piece in pieces:
            masked[piece] = tokenizer.mask_token_id
    for pieces in pieces_of:
        row = list(masked)
        for piece in pieces:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row])).logits[0, piece, : len(tokenizer)]
            nats -= float(logits.log_softmax(-1)[ids[piece]])
            row[piece] = ids[piece]
    return nats


def test_a_word_is_predicted_left_to_right_as_the_plain_loop_does(encoder: Encoder) -> None:
    text = held_out_text(cases(2, seed=3), LANGUAGE)
    known = tuple(
        replace(p, masked=tuple(m for m in p.masked if not mask_words(p.text, (m,), 0, encoder).unwritable))
        for p in text.passages[:3]
    )
    row = measured(encoder, text_of(*known))
    assert row.masked_pieces > row.masked_words, "some words have several pieces"
    nats = sum(plain_nats(encoder, passage) for passage in known)
    assert row.eval_loss * row.masked_pieces == pytest.approx(nats, rel=1e-5)
    assert row.bits_per_byte == pytest.approx(nats / math.log(2) / row.masked_bytes, rel=1e-5)


@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(["le", "patient", "hypertension", "opéré", "dyspnée", "."]), min_size=3, max_size=30),
)
def test_each_query_masks_all_words_but_the_earlier_pieces_of_one(every: int, chosen: list[str]) -> None:
    encoder = _tiny()
    text = " ".join(chosen)
    masked = tuple(words(text, LANGUAGE)[::every])
    result = mask_words(text, masked, 0, encoder)
    ids = np.array(encoder.tokenizer(text)["input_ids"])
    target = np.zeros(len(ids), dtype=bool)
    predicted = np.concatenate([q.positions for q in result.queries])
    target[predicted] = True
    assert len(predicted) == target.sum(), "each piece is predicted once"
    for query in result.queries:
        hidden = query.ids == encoder.tokenizer.mask_token_id
        assert (query.ids[~hidden] == ids[~hidden]).all()
        assert (query.labels == ids[query.positions]).all()
        assert hidden[query.positions].all(), "what is predicted is not shown"
        shown = target & ~hidden
        if shown.any():
            (word,) = {tuple(w) for w in query.words.tolist()}
            assert query.positions[0] > np.flatnonzero(shown).max()
            assert all(word == tuple(w) for q in result.queries for p, w in _labelled(q) if shown[p])


def _labelled(query: Query) -> list[tuple[int, np.ndarray]]:
    return list(zip(query.positions.tolist(), query.words, strict=True))


_KEPT: list[Encoder] = []


def _tiny() -> Encoder:
    """One encoder for all examples, which change nothing."""
    if not _KEPT:
        _KEPT.append(random_encoder("bert", "tiny", 512, 16, new_tokenizer(cases(20, seed=0), 300), 0))
    return _KEPT[0]


def test_V12_O17_every_tokenizer_answers_for_the_same_words(encoder: Encoder, tmp_path: Path) -> None:
    other = encoders.load(str(write_base(tmp_path / "coarse", size=2_000)))
    texts = cases(10, seed=50)
    text = held_out_text(texts, LANGUAGE)
    fine, coarse = measured(encoder, text), measured(other, text)
    chosen = sum(len(p.text[a:b].encode()) for p in text.passages for a, b in p.masked)
    assert fine.masked_bytes == coarse.masked_bytes == chosen
    assert fine.masked_words == coarse.masked_words == text.words
    assert fine.masked_pieces > coarse.masked_pieces
    assert held_out_text(texts, LANGUAGE) == text


def test_V12_a_piece_is_predicted_after_the_earlier_ones_are_shown(encoder: Encoder) -> None:
    text, word = "Le patient a une hypertension.", "hypertension"
    at = text.index(word)
    first, *later = encoder.tokenizer(word, add_special_tokens=False)["input_ids"]
    queries = mask_words(text, ((at, at + len(word)),), 0, encoder).queries
    assert [int(q.labels[0]) for q in queries] == [first, *later]
    assert len(later) > 1
    for number, query in enumerate(queries):
        assert (query.ids == encoder.tokenizer.mask_token_id).sum() == len(queries) - number


def test_a_word_is_recovered_where_all_its_pieces_are(encoder: Encoder) -> None:
    text = "Le patient et la patiente : le patient a de la fièvre, la toux et une dyspnée de 5µg."
    masked = tuple((a, b) for a, b in words(text, LANGUAGE) if text[a].isalpha())
    tokenizer = encoder.tokenizer
    _, decoder = encoder.architecture.head(encoder.model)
    with torch.no_grad():
        decoder.bias[tokenizer.convert_tokens_to_ids("la")] += 1e4  # a model that says "la" everywhere
    row = measured(encoder, text_of(Passage(text, masked), Passage(text, masked[:3])))
    right = [text[a:b] == "la" for a, b in (*masked, *masked[:3])]
    assert 0 < sum(right) == text.split().count("la")
    assert row.words_recovered == sum(right) / len(right)


def test_T10_a_word_that_the_tokenizer_cannot_write_costs_its_bytes(encoder: Encoder) -> None:
    text = "Dose de 5µg."
    at = text.index("5µg")
    assert encoder.tokenizer.unk_token_id in encoder.tokenizer("5µg")["input_ids"]
    row = measured(encoder, text_of(Passage(text, ((at, at + 3),))))
    assert row.unknown_bytes == row.masked_bytes == len("5µg".encode())
    assert row.masked_pieces == 0
    assert row.bits_per_byte == row.unigram_bits_per_byte == 8


def test_T7_what_a_normalizer_drops_is_charged(encoder: Encoder) -> None:
    text = "Le patient Opéré va bien."
    at = text.index("Opéré")
    tokenizer = encoder.tokenizer
    exact = measured(encoder, text_of(Passage(text, ((at, at + 5),))))
    assert exact.normalized_characters == 0
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    row = measured(encoder, text_of(Passage(text, ((at, at + 5),))))
    assert row.normalized_characters == 3
    assert row.masked_bytes == exact.masked_bytes == len("Opéré".encode())
    charged = row.bits_per_byte * row.masked_bytes - row.eval_loss * row.masked_pieces / math.log(2)
    assert charged == pytest.approx(8 * 3 + 8 * row.unknown_bytes, abs=1e-4)


def test_T7_a_composed_letter_is_no_change(encoder: Encoder) -> None:
    encoder.tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert changed_characters("ope\u0301re\u0301", encoder.tokenizer) == 0


def test_the_unigram_line_is_that_of_the_pieces_frequencies(encoder: Encoder) -> None:
    text = "Le patient a de la fièvre."
    masked = tuple(words(text, LANGUAGE)[1:3])
    counts = np.zeros(len(encoder.tokenizer))
    ids = encoder.tokenizer("patient a", add_special_tokens=False)["input_ids"]
    counts[ids[0]] = 10
    row = measured(encoder, text_of(Passage(text, masked)), counts)
    share = [(counts[i] + 1) / (10 + len(counts)) for i in ids]
    assert row.unigram_bits_per_byte == pytest.approx(-sum(map(math.log2, share)) / row.masked_bytes)


def test_the_most_frequent_word_is_that_of_the_text_around() -> None:
    text = held_out_text(["de la de le de la de un de la de des de la de les " * 20], LANGUAGE)
    masked = [p.text[a:b] for p in text.passages for a, b in p.masked]
    assert text.most_frequent_word == masked.count("de") / len(masked)
    assert text.most_frequent_word > 0.3


def test_a_long_text_is_sampled_and_the_number_of_words_is_known() -> None:
    texts = cases(60, seed=9)
    whole, sample = held_out_text(texts[:3], LANGUAGE), held_out_text(texts, LANGUAGE)
    assert whole.documents == 3
    assert 400 <= sample.words < 0.5 * 0.15 * sum(len(words(t, LANGUAGE)) for t in texts) + 400
    longer = held_out_text([f"{text} {number}" for number in range(12) for text in texts], LANGUAGE)
    assert 1_500 <= longer.words < 1_600


def test_frequencies_of_another_tokenizer_are_of_the_same_text(encoder: Encoder, tmp_path: Path) -> None:
    texts = cases(5, seed=1)
    ids = [encoder.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    starts = np.cumsum([0, *map(len, ids)])
    shard = Shard("x", np.concatenate(ids).astype(np.uint16), starts, starts[1:], starts[1:], None, ())
    own = piece_counts([shard], encoder.tokenizer, encoder.tokenizer)
    assert own.sum() == starts[-1]
    assert (own == np.bincount(np.concatenate(ids), minlength=len(own))).all()
    other = encoders.load(str(write_base(tmp_path / "coarse", size=2_000))).tokenizer
    counts = piece_counts([shard], encoder.tokenizer, other)
    word = other.convert_tokens_to_ids("patient")
    assert counts[word] == own[encoder.tokenizer.convert_tokens_to_ids("patient")]
    assert counts.sum() < own.sum()
