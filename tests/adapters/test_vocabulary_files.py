"""Models that come with vocab.txt or a SentencePiece model alone."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from medlingua.adapters.encoder import load, read_tokenizer, save
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer, models, trainers
from transformers import PreTrainedTokenizerFast

from .conftest import notes

TEXT = "Patiente opérée à Créteil, SIDA, IRM normale."


def vocab_txt(folder: Path, *, settings: str | None) -> list[str]:
    """The folder's tokenizer as vocab.txt; its pieces in the order of their ids."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    return pieces


@pytest.mark.parametrize("family", ["bert", "electra"])
@pytest.mark.parametrize("settings", [None, "{}", '{"do_lower_case": false}'])
def test_a_cased_vocab_txt_gives_the_ids_of_its_tokenizer(family: str, settings: str | None, build: Any) -> None:
    folder = build(family)
    before = load(str(folder)).tokenizer
    lines = [TEXT, *notes(20, seed=4)]
    expected = [before(line)["input_ids"] for line in lines]
    assert before("SIDA")["input_ids"] != before("sida")["input_ids"]
    vocab_txt(folder, settings=settings)
    after = load(str(folder)).tokenizer
    assert [after(line)["input_ids"] for line in lines] == expected


def test_a_vocab_txt_of_small_letters_lower_cases(build: Any) -> None:
    folder = build("bert")
    pieces = vocab_txt(folder, settings=None)
    small = [p if p.startswith("[") or p == p.lower() else f"[unused{i}]" for i, p in enumerate(pieces)]
    (folder / "vocab.txt").write_text("\n".join(small) + "\n", encoding="utf-8")
    tokenizer = load(str(folder)).tokenizer
    assert tokenizer("FIÈVRE")["input_ids"] == tokenizer("fievre")["input_ids"]


# --- SentencePiece ----------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int | float) -> bytes:
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


FAIRSEQ = (("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3))
DEBERTA = (("[PAD]", 0.0, 3), ("[CLS]", 0.0, 3), ("[SEP]", 0.0, 3), ("[UNK]", 0.0, 2))


def sentencepiece(
    pieces: list[tuple[str, float]], kind: int = 1, specials: tuple[tuple[str, float, int], ...] = FAIRSEQ
) -> bytes:
    """A ModelProto as SentencePiece writes it: pieces, the trainer's settings, the normalizer's."""
    entries = [*specials, *((piece, score, 1) for piece, score in pieces)]
    body = b"".join(field(1, field(1, p.encode()) + field(2, s) + field(3, k)) for p, s, k in entries)
    trainer = field(2, b"model") + field(3, kind) + field(4, len(entries))
    return body + field(2, trainer) + field(3, field(1, b"identity") + field(3, 1))


@pytest.fixture(scope="module")
def unigram() -> list[tuple[str, float]]:
    pipeline = Tokenizer(models.Unigram())
    words = (f"▁{word}" for note in notes(300) for word in note.split())
    trainer = trainers.UnigramTrainer(
        vocab_size=180, show_progress=False, special_tokens=["<unk>"], unk_token="<unk>"
    )
    pipeline.train_from_iterator(words, trainer)
    return [(p, float(s)) for p, s in json.loads(pipeline.to_str())["model"]["vocab"] if p != "<unk>"]


@pytest.mark.parametrize(("family", "offset"), [("xlm-roberta", 4), ("camembert", 7)])
@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spiece.model"])
def test_a_sentencepiece_model_alone_has_the_ids_of_its_family(
    name: str, family: str, offset: int, build: Any, unigram: list[tuple[str, float]]
) -> None:
    """fairseq's order: XLM-R puts <s> <pad> </s> <unk> in front of the pieces, CamemBERT three entries more."""
    folder = build(family, vocab_size=len(unigram) + offset + 1, pad_token_id=1)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    (folder / name).write_bytes(sentencepiece(unigram))
    tokenizer = load(str(folder)).tokenizer
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 3)
    assert tokenizer.mask_token_id == len(unigram) + offset == len(tokenizer) - 1
    known = dict(unigram)
    ids = tokenizer("patient fièvre", add_special_tokens=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert "".join(pieces) == "▁patient▁fièvre"
    assert [id - offset for id in ids] == [list(known).index(piece) for piece in pieces]
    first, *_, last = tokenizer("patient")["input_ids"]
    assert (tokenizer.convert_ids_to_tokens(first), tokenizer.convert_ids_to_tokens(last)) == ("<s>", "</s>")


@pytest.mark.parametrize(
    ("family", "content", "named"),
    [
        ("bert", None, "alone does not say the ids of the special tokens of a bert model"),
        ("xlm-roberta", b"\xff\xff\xff", "is no SentencePiece model"),
        ("xlm-roberta", b"not one", "SentencePiece model"),
        ("xlm-roberta", b"\x0a\xff\x01", "is no SentencePiece model"),
        ("camembert", 2, "another kind than Unigram"),
    ],
)
def test_a_sentencepiece_model_that_cannot_be_used_says_why(
    family: str, content: bytes | int | None, named: str, build: Any, unigram: list[tuple[str, float]]
) -> None:
    folder = build(family)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    raw = content if isinstance(content, bytes) else sentencepiece(unigram, content or 1)
    (folder / "sentencepiece.bpe.model").write_bytes(raw)
    with pytest.raises(InputError, match=named):
        read_tokenizer(str(folder), None, ())


def test_an_spm_model_alone_has_the_ids_of_microsofts_deberta(
    build: Any, unigram: list[tuple[str, float]], tmp_path: Path
) -> None:
    """[PAD] 0, [CLS] 1, [SEP] 2, [UNK] 3, the pieces, and the mask, which the file does not have."""
    folder = build("deberta-v2", vocab_size=len(unigram) + 100)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    (folder / "spm.model").write_bytes(sentencepiece(unigram, specials=DEBERTA))
    encoder = load(str(folder))
    tokenizer = encoder.tokenizer
    assert [tokenizer.convert_tokens_to_ids(p) for p in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")] == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == len(unigram) + 4 == len(tokenizer) - 1
    ids = tokenizer(" patient  fièvre ")["input_ids"]
    assert (ids[0], ids[-1]) == (1, 2)
    pieces = tokenizer.convert_ids_to_tokens(ids[1:-1])
    assert "".join(pieces) == "▁patient▁fièvre"
    assert [id - 4 for id in ids[1:-1]] == [[piece for piece, _ in unigram].index(piece) for piece in pieces]
    assert tokenizer("[MASK]")["input_ids"] == [1, tokenizer.mask_token_id, 2]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "patient fièvre"
    save(encoder, tmp_path / "saved", sample=notes(5))

    (folder / "spm.model").write_bytes(sentencepiece(unigram))
    with pytest.raises(InputError, match=r"not the pieces of a deberta-v2 model: no \[CLS\], \[PAD\]"):
        load(str(folder))
