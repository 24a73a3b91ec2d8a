"""Tiny models of every family, built from transformers' own configs, and folders as a person has them."""

import csv
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ..word_pieces import learn_word_pieces

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
TEXT = (
    "patient admis pour fièvre et toux sèche bilan pâle opéré hémoglobine leucocytes 10⁹/L IRM SIDA "
    "créatinine µg m² traitement par aspirine sans œdème ni dyspnée contrôle scanner thoracique normal niña "
    "ingresó 1ª dosis Straße schön Befund Lunge frei contrôlée admission radiographie hôpital température"
)
WORDS = TEXT.split()
WIDTH, LAYERS, ROWS = 32, 2, 96  # hidden width, layers, rows of a position table


def notes(count: int, seed: int = 0) -> list[str]:
    """Short notes of known words, a number in each, seeded."""
    draw = random.Random(seed)
    return [
        f"{' '.join(draw.choice(WORDS) for _ in range(12)).capitalize()} le {draw.randint(1000, 999999)}."
        for _ in range(count)
    ]


@cache
def _word_pieces(size: int) -> str:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = learn_word_pieces(notes(200), size, specials, normalizers.NFC(), pre_tokenizers.BertPreTokenizer())
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str()


def word_pieces(size: int = 240) -> PreTrainedTokenizerFast:
    """A cased NFC WordPiece, [PAD] first, as a clinical BERT has it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_word_pieces(size)),
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


@cache
def _byte_pieces(size: int) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        notes(200),
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer.to_str()


def byte_pieces(size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE, <s> first and <pad> second, as a RoBERTa has it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_pieces(size)),
        pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>",
    )  # fmt: skip


# Families whose models come with a WordPiece, [PAD] first.
WORD_PIECES = {"bert", "electra", "deberta-v2", "distilbert", "albert", "nomic_bert"}


def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    return word_pieces() if family in WORD_PIECES else byte_pieces()


def tiny_config(family: str, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> Any:
    """A config of the family, small; windows far shorter than the documents of the tests."""
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": ROWS,
        "pad_token_id": tokenizer.pad_token_id,
        # Wide enough a draw that attention is uneven: a leak between documents then shows.
        "initializer_range": 0.3,
    }
    if family not in WORD_PIECES:
        settings |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    both = ["full_attention", "sliding_attention"]
    settings |= {
        "electra": {"embedding_size": 16},
        "modernbert": {
            "layer_types": both, "local_attention": 8, "initializer_cutoff_factor": 3.0,
            "cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id,
        },
        "eurobert": {"num_key_value_heads": 2, "head_dim": 8, "mask_token_id": tokenizer.mask_token_id},
        "ultrabert": {
            "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, "layer_types": both[::-1],
            "prediction_head_size": 24,
        },
        "longformer": {"attention_window": [8] * LAYERS},
        "albert": {"embedding_size": 16},
        "nomic_bert": {"initializer_range": 0.2},  # its layers multiply two states
        "distilbert": {"hidden_dim": 48},
        "deberta-v2": {  # as v3 has them; the buckets are fewer than the distances of the tests
            "relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
        },
    }.get(family, {})  # fmt: skip
    configs = {
        "bert": "BertConfig", "roberta": "RobertaConfig", "camembert": "CamembertConfig",
        "xlm-roberta": "XLMRobertaConfig", "electra": "ElectraConfig", "modernbert": "ModernBertConfig",
        "eurobert": "EuroBertConfig", "ultrabert": "UltrabertConfig",
        "jina_embeddings_v3": "JinaEmbeddingsV3Config", "longformer": "LongformerConfig",
        "deberta-v2": "DebertaV2Config", "distilbert": "DistilBertConfig", "mpnet": "MPNetConfig",
        "albert": "AlbertConfig", "nomic_bert": "NomicBertConfig", "gte": "GteConfig",
    }  # fmt: skip
    return getattr(transformers, configs[family])(**(settings | changes))


Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """build(family, dtype=..., seed=..., **config) -> a folder with that tiny model, saved by transformers."""

    def make(family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Path:
        tokenizer = tiny_tokenizer(family)
        torch.manual_seed(seed)
        wanted = getattr(transformers, ARCHITECTURES[family].model_class)
        model = wanted(tiny_config(family, tokenizer, **changes)).eval()
        with torch.no_grad():  # biases start at zero, a trained model's do not
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.3)
        folder = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def sample() -> list[str]:
    """Notes that the vocabularies were not learnt on."""
    return notes(8, seed=9)


@pytest.fixture
def corpus() -> list[str]:
    """Many notes, for learning a vocabulary."""
    return notes(400, seed=3)


@pytest.fixture
def folder(build: Build, corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the examples run in: two tiny models and a table of notes."""
    place = tmp_path / "examples"
    place.mkdir()
    build("bert").rename(place / "clinical-bert")
    build("longformer").rename(place / "longformer")
    with (place / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in corpus)])
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def new_word_pieces() -> PreTrainedTokenizerFast:
    return word_pieces()


@pytest.fixture
def new_byte_pieces() -> PreTrainedTokenizerFast:
    return byte_pieces()


@pytest.fixture
def shared_model() -> Callable[[str], Path]:
    """A real model of ../shared/models by name; the test is skipped where it is not there."""

    def find(name: str) -> Path:
        folder = MODELS / name
        if not (folder / "model.safetensors").exists():
            pytest.skip(f"needs a real model: {folder} is not there")
        return folder

    return find


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test opens a connection: the hub's library reads this once, at import, and here again."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
