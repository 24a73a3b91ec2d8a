"""Tokenizers of models without a tokenizer.json: what the older files leave open.

A `vocab.txt` does not say whether it is cased, and transformers lower-cases by default. A SentencePiece model does
not say where the special tokens stand: fairseq put them in front, in one way for XLM-R and another for CamemBERT.
"""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import CamembertTokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer

_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model")
_UNIGRAM = 1  # the kind of a SentencePiece model whose file does not name it, too
_Pieces = list[tuple[str, float]]


def tokenizer_options(folder: Path) -> dict[str, bool]:
    """Options that a `vocab.txt` alone needs: one with capitals is cased, unless its settings say otherwise."""
    vocabulary = folder / "vocab.txt"
    if (folder / "tokenizer.json").exists() or not vocabulary.is_file() or "do_lower_case" in _settings(folder):
        return {}
    pieces = vocabulary.read_text(encoding="utf-8", errors="replace").splitlines()
    return {"do_lower_case": not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))}


def read_sentencepiece(folder: Path) -> PreTrainedTokenizerFast | None:
    """The tokenizer of a SentencePiece model, where the folder has nothing else to read; ids as the family has them.

    InputError for a family whose order of special tokens is not known, and for a file that cannot be read.
    """
    file = next((folder / name for name in _SENTENCEPIECE if (folder / name).is_file()), None)
    if file is None or (folder / "tokenizer.json").exists():
        return None
    family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if family not in _FAMILIES:
        raise InputError(
            f"{folder}: {file.name} alone does not say the ids of the special tokens of a {family} model. Write a "
            "tokenizer.json where the model comes from: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    try:
        kind, pieces, characters = _parse(file.read_bytes())
    except (IndexError, ValueError, struct.error) as error:
        raise InputError(f"{file} is no SentencePiece model, or is damaged; fetch it again") from error
    if kind != _UNIGRAM or not pieces:
        raise InputError(f"{file}: a SentencePiece model of another kind than Unigram; give a tokenizer.json")
    tokenizer_class, order = _FAMILIES[family]
    try:
        vocabulary = order(pieces)
    except ValueError as error:
        raise InputError(f"{file}: not the pieces of a {family} model: {error}") from error
    tokenizer: PreTrainedTokenizerFast = tokenizer_class(
        vocab=vocabulary, _spm_precompiled_charsmap=characters or None
    )
    return tokenizer


def _xlm_roberta(pieces: _Pieces) -> _Pieces:
    return [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]


def _camembert(pieces: _Pieces) -> _Pieces:
    specials = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0)]
    return [*specials, *pieces[1:], ("<mask>", 0.0)]


def _deberta(pieces: _Pieces) -> _Pieces:
    """The file has [PAD], [CLS], [SEP] and [UNK] among its pieces; the mask comes behind them."""
    if absent := sorted({"[PAD]", "[CLS]", "[SEP]", "[UNK]"} - {piece for piece, _ in pieces}):
        raise ValueError(f"no {', '.join(absent)}")
    return [*pieces, ("[MASK]", 0.0)]


def _deberta_tokenizer(vocab: _Pieces, _spm_precompiled_charsmap: bytes | None) -> PreTrainedTokenizerFast:
    """The pipeline that transformers 4 built; the class of transformers 5 leaves out the model's normalization."""
    ids = {piece: id for id, (piece, _) in enumerate(vocab)}
    pipeline = Tokenizer(models.Unigram(vocab, unk_id=ids["[UNK]"], byte_fallback=False))
    table = [normalizers.Precompiled(_spm_precompiled_charsmap)] if _spm_precompiled_charsmap else []
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    pipeline.normalizer = normalizers.Sequence([normalizers.Strip(), *table, spaces])
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    pipeline.decoder = decoders.Metaspace(prepend_scheme="always")
    pipeline.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, ids[piece]) for piece in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=pipeline,
        pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]",
    )  # fmt: skip


_FAMILIES: dict[str, tuple[Any, Callable[[_Pieces], _Pieces]]] = {
    "xlm-roberta": (XLMRobertaTokenizer, _xlm_roberta),
    "camembert": (CamembertTokenizer, _camembert),
    "deberta-v2": (_deberta_tokenizer, _deberta),
}


def _parse(content: bytes) -> tuple[int, _Pieces, bytes]:
    """Kind, pieces with scores, and the table of the normalizer, of a serialized ModelProto
    (sentencepiece_model.proto: pieces 1, trainer_spec 2 with model_type 3, normalizer_spec 3 with its table 2)."""
    kind, pieces, characters = _UNIGRAM, list[tuple[str, float]](), b""
    for field, value in _fields(content):
        if field == 1:
            entry = dict(_fields(value))
            pieces.append((entry[1].decode(), struct.unpack("<f", entry.get(2, bytes(4)))[0]))
        elif field == 2:
            kind = dict(_fields(value)).get(3, _UNIGRAM)
        elif field == 3:
            characters = dict(_fields(value)).get(2, b"")
    return kind, pieces, characters


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protocol buffer: an int, or the bytes of all other types."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
