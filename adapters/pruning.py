"""Pruning of a vocabulary to the pieces that a language uses; ids are renumbered wherever they occur.

Most embeddings of a multilingual model belong to other languages. A text of remaining pieces is segmented as before:
WordPiece and Unigram choose among the pieces of that text, and BPE keeps the merges that lead to every remaining
piece.
"""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Any

from medlingua.adapters.tokenizer import CLINICAL_SIGNS, kind_of, wrap
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_SLAB = 1_000


def prune(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Remove the pieces that the texts do not use.

    Always kept: special tokens, all 256 byte pieces (byte fallback gives unknown tokens without them, TRAPS T11), the
    byte alphabet, Latin and Greek letters, digits, clinical signs, and the parts of remaining BPE pieces. Pieces keep
    their order and get consecutive ids, also in the template and in added tokens (T15). InputError for an unknown
    kind.
    """
    kind = kind_of(tokenizer)
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InputError(f"a vocabulary of kind {kind} cannot be pruned; known: WordPiece, BPE, Unigram")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    pieces = [p for p, _ in model["vocab"]] if kind == "Unigram" else sorted(model["vocab"], key=model["vocab"].get)
    added = {token["content"] for token in state["added_tokens"]}
    used = _count(tokenizer, texts)
    ids = tokenizer.get_vocab()
    remaining_pieces = {p for p in pieces if p in added or used[ids[p]] or _always(p, kind)}
    if kind == "BPE":
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        remaining_pieces = _with_parts(remaining_pieces, merges)
        model["merges"] = [list(m) for m in merges if {*m, "".join(m)} <= remaining_pieces]
    return wrap(renumber(state, [p for p in pieces if p in remaining_pieces]), tokenizer)


def renumber(state: dict[str, Any], order: list[str]) -> Tokenizer:
    """A pipeline whose model has only these pieces, in this order; state: the JSON of the old one, changed in place.

    Added tokens that the model lacks follow. Ids are renumbered wherever they occur.
    """
    model = state["model"]
    new = {piece: id for id, piece in enumerate(order)}
    for token in sorted(state["added_tokens"], key=lambda t: t["id"]):
        token["id"] = new.setdefault(token["content"], len(new))
    if isinstance(model["vocab"], list):  # Unigram
        scores = dict(model["vocab"])
        unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
        model["vocab"] = [[piece, scores[piece]] for piece in order]
        model["unk_id"] = None if unknown is None else new[unknown]
    else:
        model["vocab"] = {piece: new[piece] for piece in order}
    _renumber(state["post_processor"], new)
    if state.get("padding"):
        state["padding"]["pad_id"] = new[state["padding"]["pad_token"]]
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _count(tokenizer: Any, texts: Iterable[str]) -> Counter[int]:
    used: Counter[int] = Counter()
    remaining = iter(texts)
    while batch := list(islice(remaining, _SLAB)):
        for encoding in tokenizer.backend_tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            used.update(encoding.ids)
    return used


def _always(piece: str, kind: str) -> bool:
    if len(piece) == 6 and piece.startswith("<0x"):
        return True
    if kind == "BPE" and piece in _BYTES:
        return True
    letter = piece.removeprefix("##") if kind == "WordPiece" else piece.removeprefix("▁")
    if len(letter) > 1:
        return False
    return not letter or letter.isascii() or letter in CLINICAL_SIGNS or _european(letter)


def _european(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(("LATIN", "GREEK", "COMBINING"))


_BYTES = frozenset(pre_tokenizers.ByteLevel.alphabet())


def _with_parts(remaining_pieces: set[str], merges: list[tuple[str, ...]]) -> set[str]:
    """These pieces and, recursively, the parts of every merge that leads to one."""
    merges_of: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for merge in merges:
        merges_of["".join(merge)].append(merge)
    closure = set(remaining_pieces)
    pending = list(remaining_pieces)
    while pending:
        for merge in merges_of[pending.pop()]:
            pending += [part for part in merge if part not in closure]
            closure |= set(merge)
    return closure


def _renumber(processor: Any, new: dict[str, int]) -> None:
    """Renumber the ids in a post-processor of any kind, in place."""
    if isinstance(processor, list):
        for part in processor:
            _renumber(part, new)
    elif isinstance(processor, dict):
        if processor.get("type") == "TemplateProcessing":
            for token in processor["special_tokens"].values():
                token["ids"] = [new[piece] for piece in token["tokens"]]
        for role in ("cls", "sep"):  # BertProcessing, RobertaProcessing: [piece, id]
            if role in processor:
                processor[role] = [processor[role][0], new[processor[role][0]]]
        _renumber(processor.get("processors"), new)
