"""Tokenizers: whether one fits a language, and a new one learned from a corpus."""

import json
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

from medlingua.languages.errors import ArgumentError, InputError
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

# Distinctions of these languages that English tokenizers often lose (TRAPS T7, T8).
_PAIRS: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "fr": {"accents": (("pâle", "pale"), ("opéré", "opere")), "upper case": (("SIDA", "sida"), ("IRM", "irm"))},
    "es": {"accents": (("año", "ano"), ("tomó", "tomo")), "upper case": (("SIDA", "sida"),)},
    "de": {"accents": (("schön", "schon"),), "upper case": (("Arm", "arm"),)},
}


# Signs of clinical text that a small corpus may lack: always in a new alphabet, never unknown (TRAPS T10).
CLINICAL_SIGNS = "°±≤≥<>=+%µμαβγδ×÷½¼¾⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉ªºœŒæÆßẞ€…–—’«»¿¡†"


def lost_distinctions(tokenizer: Any, language: str) -> dict[str, str]:
    """Distinctions of spelling that the tokenizer loses, with a word of the language: {"accents": "pâle = pale"}.

    English needs none of them; a language without words of its own here is asked about those of all.
    """
    if language == "en":
        return {}
    lost: dict[str, str] = {}
    for own in (language,) if language in _PAIRS else tuple(_PAIRS):
        for kind, pairs in _PAIRS[own].items():
            for left, right in pairs:
                if kind not in lost and _ids(tokenizer, left) == _ids(tokenizer, right):
                    lost[kind] = f"{left} = {right}"
    return lost


def check_fit(tokenizer: Any, language: str, base: str) -> None:
    """InputError for a tokenizer that merges words that the language distinguishes."""
    if lost := loss_message(tokenizer, language):
        raise InputError(
            f"{base}: its tokenizer loses {lost}, which {language} needs. Give it a vocabulary of the language (and "
            "a normaliser that keeps them) with --set adapt.vocabulary=replace, start from a cased model, or accept "
            "the loss with --allow uncased"
        )


def loss_message(tokenizer: Any, language: str) -> str:
    """What `lost_distinctions` found, in words; empty where nothing is lost."""
    return " and ".join(f"{kind} ({example})" for kind, example in lost_distinctions(tokenizer, language).items())


def kind_of(tokenizer: Any) -> str:
    """ "WordPiece", "BPE" or "Unigram"."""
    return type(tokenizer.backend_tokenizer.model).__name__


def learn_tokenizer(
    texts: Callable[[], Iterable[str]], size: int, like: PreTrainedTokenizerFast, *, fewer: bool = False
) -> PreTrainedTokenizerFast:
    """Learn a tokenizer of the same kind as `like` on `texts`: cased, with accents, NFC.

    texts: returns the texts from the start at each call; they are read twice. The same texts give the same ids.
    size: number of pieces, special tokens included. Special tokens keep their strings, and their ids where they come
    first. Digits are split one by one, so that no long number becomes a piece (TRAPS T18).
    fewer: take what the texts yield, where that is less. InputError for an unknown kind, and for texts that yield
    fewer pieces than asked for.
    """
    specials = [like.pad_token, like.unk_token, like.cls_token, like.sep_token, like.mask_token]
    specials = list(dict.fromkeys(sorted((s for s in specials if s), key=like.convert_tokens_to_ids)))
    kind = kind_of(like)
    if kind == "WordPiece":
        pipeline = Tokenizer(_word_piece({}, like))
        pipeline.normalizer = normalizers.NFC()
        pipeline.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
        )
        pipeline.decoder = decoders.WordPiece()
        # The trainer numbers ##letters in the order of a hash, and ties between merges follow the numbers.
        # Given as special tokens they have the same numbers every time.
        letters = _alphabet(texts())
        trainer: Any = trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=[*specials, *(f"##{c}" for c in letters if not _is_own_word(c))],
            initial_alphabet=letters,
            show_progress=False,
        )
    elif kind == "BPE":
        pipeline = Tokenizer(models.BPE())
        pipeline.normalizer = normalizers.NFC()
        pipeline.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        pipeline.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    elif kind == "Unigram":
        pipeline = Tokenizer(models.Unigram())
        # Any white space is one space; nothing else is rewritten.
        pipeline.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")])
        pipeline.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
        )
        pipeline.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        letters = _alphabet(texts())
        least = len(_BYTE_PIECES) + len(specials) + len(letters)
        if size <= least:
            raise ArgumentError(
                f"a Unigram of {size:,} pieces has no room for its 256 bytes, {len(letters):,} letters and special "
                f"tokens: ask for a size above {least:,}",
                "size",
            )
        trainer = trainers.UnigramTrainer(
            vocab_size=size - len(_BYTE_PIECES),
            special_tokens=specials,
            unk_token=str(like.unk_token),
            initial_alphabet=letters,
            show_progress=False,
        )
    else:
        raise InputError(
            f"a vocabulary of kind {kind} cannot be replaced; known: BPE, Unigram, WordPiece. Keep it as it is"
        )
    pipeline.train_from_iterator(texts(), trainer)
    if kind == "Unigram":
        pipeline = _reproducible(pipeline, len(specials))
    if kind == "WordPiece":
        plain = Tokenizer(_word_piece(pipeline.get_vocab(with_added_tokens=False), like))
        plain.normalizer, plain.pre_tokenizer, plain.decoder = (
            pipeline.normalizer,
            pipeline.pre_tokenizer,
            pipeline.decoder,
        )
        pipeline = plain
    if pipeline.get_vocab_size() < size and not fewer:
        raise ArgumentError(
            f"the texts yield only {pipeline.get_vocab_size():,} pieces of the {size:,} requested: "
            "lower size, or give more text",
            "size",
        )
    first, last = str(like.cls_token), str(like.sep_token)
    pipeline.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0",
        pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(first, pipeline.token_to_id(first)), (last, pipeline.token_to_id(last))],
    )
    return wrap(pipeline, like)


def wrap(pipeline: Tokenizer, like: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Wrap a pipeline for transformers, with the special tokens and the maximum length of `like`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=pipeline,
        pad_token=like.pad_token,
        unk_token=like.unk_token,
        cls_token=like.cls_token,
        sep_token=like.sep_token,
        mask_token=like.mask_token,
        model_max_length=like.model_max_length,
    )


def added_words(tokenizer: Any) -> dict[str, int]:
    """Words that `add_tokens` has added outside the tokenizer's model, with their ids; no special tokens."""
    special = set(tokenizer.all_special_tokens)
    listed = json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"]
    words = [token for token in listed if not token["special"] and token["content"] not in special]
    return {token["content"]: token["id"] for token in sorted(words, key=lambda token: token["id"])}


def write_added_tokens(state: dict[str, Any]) -> None:
    """Write added tokens with ids above the model's vocabulary into that vocabulary; state: a pipeline's JSON.

    Otherwise a pipeline numbers them again when it is opened, after all pieces that the model has by then.
    """
    vocabulary = state["model"]["vocab"]
    for token in sorted(state["added_tokens"], key=lambda t: t["id"]):
        if isinstance(vocabulary, dict):
            vocabulary.setdefault(token["content"], token["id"])
        elif token["id"] == len(vocabulary):  # Unigram: an id is a place in its list
            vocabulary.append([token["content"], 0.0])


def empty_tokenizer(kind: Literal["WordPiece", "BPE", "Unigram"]) -> PreTrainedTokenizerFast:
    """A tokenizer of special tokens alone, under the names that the first models of its kind used.

    It is the pattern for `learn_tokenizer` where there is no base model.
    """
    model: Any = {"WordPiece": models.WordPiece, "BPE": models.BPE, "Unigram": models.Unigram}[kind]()
    if kind == "WordPiece":
        names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    else:
        names = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
    pipeline = Tokenizer(model)
    pipeline.add_special_tokens(list(names))
    pad, unknown, first, last, mask = names
    return PreTrainedTokenizerFast(
        tokenizer_object=pipeline,
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
        mask_token=mask,
        model_max_length=10**6,
    )


_BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def _reproducible(pipeline: Tokenizer, specials: int) -> Tokenizer:
    """Make a learned Unigram model reproducible, and give it all 256 bytes for unknown characters (TRAPS T11).

    The trainer's sums differ in their last digits from run to run, and rare letters are scored in the order of a
    hash: scores are rounded, and rare letters share one.
    """
    state = json.loads(pipeline.to_str())
    model = state["model"]
    learnt = [(piece, round(score, 6)) for piece, score in model["vocab"][specials:]]
    lowest = min(score for piece, score in learnt if len(piece) > 1)
    pieces = sorted(((piece, max(score, lowest)) for piece, score in learnt), key=lambda entry: (-entry[1], entry[0]))
    model["vocab"] = [*model["vocab"][:specials], *pieces, *((byte, lowest - 10) for byte in _BYTE_PIECES)]
    model["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _word_piece(vocabulary: dict[str, int], like: PreTrainedTokenizerFast) -> models.WordPiece:
    return models.WordPiece(vocab=vocabulary, unk_token=str(like.unk_token), max_input_chars_per_word=200)


def _is_own_word(character: str) -> bool:
    """Whether the pre-tokenizer splits around a character, so that it never continues a word."""
    return character.isnumeric() or character in string.punctuation or unicodedata.category(character)[0] == "P"


def _alphabet(texts: Iterable[str], most: int = 1_000) -> list[str]:
    """The characters of a corpus, at most the `most` frequent ones, sorted by code point."""
    counts: Counter[str] = Counter(dict.fromkeys(CLINICAL_SIGNS, 10**9))
    for text in texts:
        counts.update(unicodedata.normalize("NFC", text))
    return sorted(sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))[:most])


def surface(tokenizer: Any, piece: str) -> tuple[str, bool]:
    """The text of a piece, and whether it continues a word."""
    kind = kind_of(tokenizer)
    if kind == "WordPiece":
        return piece.removeprefix("##"), piece.startswith("##")
    if kind == "Unigram":
        return piece.removeprefix("▁"), not piece.startswith("▁")
    text = tokenizer.backend_tokenizer.decoder.decode([piece]) if tokenizer.backend_tokenizer.decoder else piece
    return text.removeprefix(" "), not piece.startswith("Ġ")


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
