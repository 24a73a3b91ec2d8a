"""TRAPS O3: whole-word masking must find words, whatever cuts the text into pieces."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from medlingua.recipes.settings import Run
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .conftest import SPECIALS, cases, new_tokenizer, write_jsonl
from .test_corpus import own, prepared

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
