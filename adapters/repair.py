"""Repair of a tokenizer that was extended with `add_tokens`: its words become pieces of the model.

Words of `add_tokens` are cut out of the raw text, also from the middle of other words (TRAPS T1 to T5;
huggingface/tokenizers#1392). Here each becomes a piece that the model itself finds at the beginning of a word, and
`embeddings.replace_vocabulary` gives it its trained embedding again.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from medlingua.adapters.pruning import renumber
from medlingua.adapters.tokenizer import added_words, kind_of, wrap, write_added_tokens
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

_HAIR = 1e-6  # natural-log units for each join by which a Unigram piece beats its own cut


def repair(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, tuple[str, ...]]:
    """Turn added words into pieces; returns the tokenizer, and the words that cannot be a piece.

    A piece is one word: words that the pre-tokenizer splits, and words with a character that the model does not know,
    are left out. BPE gets the merges that lead to a word, and their pieces. Special tokens keep their order, ids
    become consecutive. InputError where no word was added, and for unknown kinds.
    """
    kind = kind_of(tokenizer)
    words = added_words(tokenizer)
    if not words:
        raise InputError("no word was added to this tokenizer with add_tokens, so there is nothing to repair")
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InputError(f"a vocabulary of kind {kind} cannot be repaired; known: WordPiece, BPE, Unigram")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    pieces_in_order = [p for p, _ in vocabulary] if kind == "Unigram" else sorted(vocabulary, key=vocabulary.get)
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in words]
    plain = renumber(state, pieces_in_order)
    cuts = _segmentations(plain, list(words), tokenizer.unk_token_id)
    state = json.loads(plain.to_str())
    write_added_tokens(state)
    write_pieces = {"WordPiece": _words, "BPE": _merges, "Unigram": _scores}[kind]
    write_pieces(state, plain.get_vocab_size(), [cut for cut in cuts.values() if cut])
    repaired = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    return wrap(repaired, tokenizer), tuple(word for word, cut in cuts.items() if not cut)


def _segmentations(plain: Tokenizer, words: Sequence[str], unknown: int | None) -> dict[str, tuple[str, ...]]:
    """The pieces of each word after a space; none where it is split into words, or has an unknown character."""
    encodings = plain.encode_batch([f" {word.strip()}" for word in words], add_special_tokens=False)
    return {
        word: () if len(set(cut.word_ids)) != 1 or unknown in cut.ids else tuple(cut.tokens)
        for word, cut in zip(words, encodings, strict=True)
    }


def _words(state: dict[str, Any], first: int, cuts: list[tuple[str, ...]]) -> None:
    vocabulary = state["model"]["vocab"]
    new_pieces = (piece for piece in dict.fromkeys(map(_joined, cuts)) if piece not in vocabulary)
    vocabulary.update({piece: id for id, piece in enumerate(list(new_pieces), first)})


def _merges(state: dict[str, Any], first: int, cuts: list[tuple[str, ...]]) -> None:
    """Append merges. A word is segmented by all merges so far, then joined from the left."""
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    rank = {tuple(m.split(" ")) if isinstance(m, str) else tuple(m): number for number, m in enumerate(merges)}
    for cut in cuts:
        pieces = list(cut)
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            at = min(range(len(pairs)), key=lambda i: (rank.get(pairs[i], len(rank)), i))
            piece = _joined(pairs[at])
            if pairs[at] not in rank:
                rank[pairs[at]] = len(rank)
                merges.append(list(pairs[at]))
                if piece not in vocabulary:
                    vocabulary[piece] = first
                    first += 1
            pieces[at : at + 2] = [piece]


def _scores(state: dict[str, Any], first: int, cuts: list[tuple[str, ...]]) -> None:
    """A word scores slightly more than its segmentation; the longest of nested words scores most."""
    vocabulary = state["model"]["vocab"]
    old = dict(vocabulary)
    new_pieces = {_joined(cut): sum(old[p] for p in cut) + (len(cut) - 1) * _HAIR for cut in cuts if len(cut) > 1}
    vocabulary[:] = [[piece, new_pieces.pop(piece, score)] for piece, score in vocabulary]
    vocabulary += [[piece, score] for piece, score in new_pieces.items()]


def _joined(pieces: Sequence[str]) -> str:
    return pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:])
