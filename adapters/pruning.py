"""Pruning of a vocabulary to the pieces that a language uses, with every id that names a piece renumbered.

A multilingual table is mostly rows of other languages. A text that is cut into kept pieces alone is cut the same
as before: WordPiece and Unigram choose among the pieces of that text, and BPE keeps, for every kept piece, the
merges that build it.
"""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Any

from medlingua.adapters.tokenizer import CLINICAL_SIGNS, kind_of, reopened
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_SLAB = 1_000


def prune(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """The tokenizer with the pieces alone that the texts use.

    Kept besides: special tokens, all 256 byte pieces (without them byte fallback gives unknowns, TRAPS T11), the
    byte alphabet, Latin and Greek letters, digits and clinical signs, and what builds kept BPE pieces. Order is
    kept, ids close up; ids in the template and of added tokens follow (T15). InputError for an unknown kind.
    """
    kind = kind_of(tokenizer)
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InputError(f"a vocabulary of kind {kind} cannot be pruned; known: WordPiece, BPE, Unigram")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    listed = [p for p, _ in model["vocab"]] if kind == "Unigram" else sorted(model["vocab"], key=model["vocab"].get)
    added = {token["content"] for token in state["added_tokens"]}
    used = _count(tokenizer, texts)
    ids = tokenizer.get_vocab()
    kept = {p for p in listed if p in added or used[ids[p]] or _always(p, kind)}
    if kind == "BPE":
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        kept = _with_parts(kept, merges)
        model["merges"] = [list(m) for m in merges if {*m, "".join(m)} <= kept]
    return reopened(renumbered(state, [p for p in listed if p in kept]), tokenizer)


def renumbered(state: dict[str, Any], order: list[str]) -> Tokenizer:
    """A pipeline (its JSON, changed in place) with these pieces of its model alone, numbered in this order, added
    tokens behind them where the model lacks them; every id that is written elsewhere follows."""
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
    while some := list(islice(remaining, _SLAB)):
        for encoding in tokenizer.backend_tokenizer.encode_batch_fast(some, add_special_tokens=False):
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


def _with_parts(kept: set[str], merges: list[tuple[str, ...]]) -> set[str]:
    """Kept pieces and, all the way down, the parts of every merge that makes one."""
    made_of: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for merge in merges:
        made_of["".join(merge)].append(merge)
    whole = set(kept)
    open_ = list(kept)
    while open_:
        for merge in made_of[open_.pop()]:
            open_ += [part for part in merge if part not in whole]
            whole |= set(merge)
    return whole


def _renumber(processor: Any, new: dict[str, int]) -> None:
    """Ids that a post-processor writes by number, whatever its kind."""
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
