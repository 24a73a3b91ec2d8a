"""Repair of a tokenizer that was extended with `add_tokens`: its words become pieces of the model.

Words that stand beside the model are cut out of the raw text, also from the middle of other words (TRAPS T1 to T5;
huggingface/tokenizers#1392). Here each is a piece that the model reaches by itself, at the beginning of a word, and
its trained row is found again by its surface (`embeddings.replace_vocabulary`).
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from medlingua.adapters.pruning import renumbered
from medlingua.adapters.tokenizer import added_words, kind_of, reopened, settle_added
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

_HAIR = 1e-6  # natural-log units for each join by which a Unigram piece beats its own cut


def repair(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, tuple[str, ...]]:
    """The tokenizer with its added words as pieces, and the words that no piece can stand for.

    A piece is one word: a word with a space or a sign that the pre-tokenizer cuts off is left out, so is one with a
    character that the model cannot write. BPE gets the merges that lead to the word and the pieces on the way.
    Special tokens keep their order; ids close up. InputError where there is nothing to repair, and for unknown kinds.
    """
    kind = kind_of(tokenizer)
    words = added_words(tokenizer)
    if not words:
        raise InputError("adapt.vocabulary 'repair': no word was added to this tokenizer with add_tokens")
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InputError(f"a vocabulary of kind {kind} cannot be repaired; known: WordPiece, BPE, Unigram")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    listed = [p for p, _ in vocabulary] if kind == "Unigram" else sorted(vocabulary, key=vocabulary.get)
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in words]
    plain = renumbered(state, listed)
    cuts = _cuts(plain, list(words), tokenizer.unk_token_id)
    state = json.loads(plain.to_str())
    settle_added(state)
    whole = {"WordPiece": _words, "BPE": _merges, "Unigram": _scores}[kind]
    whole(state, plain.get_vocab_size(), [cut for cut in cuts.values() if cut])
    made = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    return reopened(made, tokenizer), tuple(word for word, cut in cuts.items() if not cut)


def _cuts(plain: Tokenizer, words: Sequence[str], unknown: int | None) -> dict[str, tuple[str, ...]]:
    """The pieces of each word after a space; none where it is more than one word, or cannot be written."""
    encodings = plain.encode_batch([f" {word.strip()}" for word in words], add_special_tokens=False)
    return {
        word: () if len(set(cut.word_ids)) != 1 or unknown in cut.ids else tuple(cut.tokens)
        for word, cut in zip(words, encodings, strict=True)
    }


def _words(state: dict[str, Any], first: int, cuts: list[tuple[str, ...]]) -> None:
    vocabulary = state["model"]["vocab"]
    made = (piece for piece in dict.fromkeys(map(_joined, cuts)) if piece not in vocabulary)
    vocabulary.update({piece: id for id, piece in enumerate(list(made), first)})


def _merges(state: dict[str, Any], first: int, cuts: list[tuple[str, ...]]) -> None:
    """Merges behind the old ones. A word is first cut by all merges so far, then joined from the left."""
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
    """A word scores more than its cut did; more joins weigh more, so that the longest of nested words wins."""
    vocabulary = state["model"]["vocab"]
    old = dict(vocabulary)
    made = {_joined(cut): sum(old[p] for p in cut) + (len(cut) - 1) * _HAIR for cut in cuts if len(cut) > 1}
    vocabulary[:] = [[piece, made.pop(piece, score)] for piece, score in vocabulary]
    vocabulary += [[piece, score] for piece, score in made.items()]


def _joined(pieces: Sequence[str]) -> str:
    return pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:])
