"""TRAPS O3: whole-word masking must find words, whatever cuts the text into pieces."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.languages.compounds import Compounds, in_parts
from medlingua.languages.errors import InputError
from medlingua.languages.words import words as words_of
from medlingua.recipes.settings import Run
from medlingua.recipes.text.shards import word_begins
from medlingua.recipes.training.objectives import Masker
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ..conftest import SPECIALS, cases, new_tokenizer, write_jsonl
from ..text.test_corpus import own, prepared

SENTENCE = (
    "Le patient, âgé de 64 ans, présente une néphropathie diabétique sévère avec une douleur thoracique aiguë "
    "depuis l'hiver."
)
WORDS = 18
WITH_PUNCTUATION = 24  # a comma, a full stop, an apostrophe and what follows it may count


def fast(backend: Tokenizer, trainer: Any) -> PreTrainedTokenizerFast:
    backend.train_from_iterator([*cases(60), SENTENCE], trainer)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIALS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def word_piece() -> PreTrainedTokenizerFast:
    return new_tokenizer([*cases(60), SENTENCE], 400)


def byte_level(trim: bool) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return fast(
        backend,
        trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False),
    )


def unigram() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return fast(
        backend,
        trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False),
    )


@pytest.mark.parametrize(
    "make",
    [word_piece, lambda: byte_level(True), lambda: byte_level(False), unigram],
    ids=["WordPiece", "byte-level BPE", "byte-level BPE, offsets kept", "Unigram"],
)
def test_O3_word_groups_are_the_words_of_the_text(
    make: Callable[[], PreTrainedTokenizerFast], make_run: Callable[..., Run], tmp_path: Path
) -> None:
    tokenizer = make()
    run = make_run("data.held_out=0", "objective.unit='word'", **own(write_jsonl(tmp_path / "n.jsonl", [SENTENCE])))
    encoder: Any = SimpleNamespace(tokenizer=tokenizer)
    shard = prepared(run, encoder, tmp_path / "s").shards[0]
    assert shard.word_starts is not None
    assert WORDS <= int(shard.word_starts.sum()) <= WITH_PUNCTUATION
    assert len(shard.tokens) > WITH_PUNCTUATION, "some words must be cut for this to say anything"


def test_O3_elisions_and_compounds_are_words_of_their_own(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A pre-tokenizer alone takes l'hiver. for one word, and knows nothing of Leberzirrhose."""
    french, german = (
        "Depuis l'hiver, l'œdème (bilatéral) de 3,5 cm.",
        "Die Leberzirrhose und die Leber, die Zirrhose.",
    )
    words = {french: ["Depuis", "l'", "hiver", "œdème", "bilatéral", "3,5"], german: ["Leber", "zirrhose"]}
    for text, tokenizer in ((text, make()) for text in words for make in (unigram, lambda: byte_level(True))):
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        ranges = words_of(text, "fr" if text == french else "de")
        if text == german:
            ranges = in_parts(text, ranges, Compounds(Counter({"leber": 9, "zirrhose": 9}), ()))
        begins = word_begins(encoding.offsets, ranges)
        ends = [*np.flatnonzero(begins)[1:], len(begins)]
        groups = [
            text[encoding.offsets[a][0] : encoding.offsets[b - 1][1]].strip()
            for a, b in zip(np.flatnonzero(begins), ends, strict=True)
        ]
        assert groups == [text[a:b] for a, b in ranges]
        assert set(words[text]) <= set(groups)


def test_O3_the_parts_of_compounds_are_masked_apart_on_request(make_run: Callable[..., Run], tmp_path: Path) -> None:
    texts = ["Die Leber und die Zirrhose."] * 1 + [
        f"Die Leber {i}, die Zirrhose {i}, Leberzirrhose." for i in range(9)
    ]
    encoder: Any = SimpleNamespace(tokenizer=new_tokenizer(texts, 40))
    path = write_jsonl(tmp_path / "n.jsonl", texts)
    counts = {}
    for compounds in ("whole", "parts"):
        run = make_run("data.held_out=0", "objective.unit='word'", f"objective.compounds='{compounds}'", **own(path))
        shard = prepared(run, encoder, tmp_path / compounds, language="de").shards[0]
        assert shard.word_starts is not None
        counts[compounds] = int(shard.word_starts.sum())
    assert counts["parts"] == counts["whole"] + 9
    with pytest.raises(InputError, match="compound_links"):
        prepared(run, encoder, tmp_path / "french")


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=20, max_size=300),
    unit=st.sampled_from(["word", "span"]),
    rate=st.sampled_from([0.15, 0.3]),
    seed=st.integers(0, 99),
)
def test_O3_whole_words_are_hidden_to_within_a_word_of_the_share(
    sizes: list[int], unit: Any, rate: float, seed: int
) -> None:
    """Every word whole or not at all, on every sequence as near to the share as whole words come."""
    starts = np.concatenate([[1, *[0] * (size - 1)] for size in sizes]).astype(np.bool_)
    ids = np.arange(len(starts)) + 5
    special = np.zeros(len(starts) + 5, dtype=np.bool_)
    hide = Masker(unit, rate, 4, special, np.flatnonzero(~special))
    _, chosen = hide(ids, starts, np.random.default_rng(seed))
    hidden = np.zeros(len(ids), dtype=np.bool_)
    hidden[chosen] = True
    word = np.cumsum(starts)
    for number in range(1, len(sizes) + 1):
        assert hidden[word == number].all() or not hidden[word == number].any()
    assert abs(len(chosen) - rate * len(ids)) <= max(sizes) / 2 + 0.5


def test_spans_are_runs_of_words() -> None:
    """Hidden words have hidden neighbours far more often than words hidden one by one."""
    starts = np.ones(4_000, dtype=np.bool_)
    special = np.zeros(4_005, dtype=np.bool_)
    lengths = {}
    for unit in ("word", "span"):
        hide = Masker(unit, 0.15, 4, special, np.flatnonzero(~special))  # type: ignore[arg-type]
        _, chosen = hide(np.arange(4_000) + 5, starts, np.random.default_rng(0))
        lengths[unit] = len(chosen) / (1 + (np.diff(chosen) > 1).sum())
    assert lengths["word"] < 1.4
    assert 3 < lengths["span"] < 6  # SpanBERT: 3.8 words in the mean, and runs touch at times
