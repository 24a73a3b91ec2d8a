"""A random BERT small enough for a unit test, and French text to read with it."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.cases import generate_cases
from medlingua.languages.pack import load_pack
from medlingua.recipes.command import main
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Run
from medlingua.recipes.text import task_set
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from ..small_runs import SMALL
from ..word_pieces import learn_word_pieces

LENGTH = 128  # positions of the tiny model
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

torch.set_num_threads(1)


def cases(count: int, seed: int = 0, words: tuple[int, int] = (60, 200)) -> list[str]:
    return [case.document.text for case in generate_cases(load_pack("fr"), count, seed, words)]


def new_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend = learn_word_pieces(list(texts), size, SPECIALS, normalizer, pre_tokenizers.BertPreTokenizer())
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def write_base(folder: Path, size: int = 600, texts: Iterable[str] = (), **changes: Any) -> Path:
    """A model folder as save_pretrained writes it."""
    alphabet = "abcdefghijklmnopqrstuvwxyzàâäçéèêëîïôöùûüœñßABCDEFGHIJKLMNOPQRSTUVWXYZÀÂÉÈÊÎÔŒ0123456789"
    tokenizer = new_tokenizer([*cases(60, seed=99), *texts, " ".join(alphabet * 2), alphabet], size)
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": LENGTH,
        "pad_token_id": 0,
    }
    BertForMaskedLM(BertConfig(**settings | changes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_jsonl(path: Path, texts: Iterable[str], **columns: Any) -> Path:
    rows = [{"text": text, **{name: value(i) for name, value in columns.items()}} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def call(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """The command line in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["adapt", *arguments])
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for change in SMALL:
        monkeypatch.setattr(*change)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "notes.jsonl", cases(80))


@pytest.fixture
def encoder(base: Path) -> Encoder:
    return encoders.load(str(base))


@pytest.fixture
def make_run(base: Path, corpus: Path) -> Callable[..., Run]:
    """A Run of the tiny base on the notes, with --set lines."""

    def make(*sets: str, **flags: Any) -> Run:
        given = {"strategy": "continue", "lang": "fr", "base": str(base), "data": {"paths": [str(corpus)]}}
        return resolve(given | flags, sets=sets)

    return make


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthetic tasks of a few cases, for tests of what happens to scores, whatever they are."""
    monkeypatch.setattr(task_set, "_SIZES", (16, 6, 10))
    monkeypatch.setattr(task_set, "_LONG_SIZES", (6, 4, 6))
