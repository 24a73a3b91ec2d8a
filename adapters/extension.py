"""Extension of a tokenizer by pieces that its own model uses, on top of its old segmentation.

`add_tokens` matches strings in the raw text before the model sees it: it cuts `hypertensions` into
`hyper tension s`, and on byte-level vocabularies decodes `fièvre` to rubbish (TRAPS T1 to T5;
huggingface/tokenizers#1392). Here new pieces are joins of neighbouring pieces of the corpus, written into the
tokenizer's own model:

- BPE: merges after the old ones, so that all old merges are applied first.
- WordPiece: entries of the vocabulary, found by the same longest match from the left.
- Unigram: pieces that score slightly more than the best segmentation of their text did, the lowest score at which
  they win (T6). The best segmentation of a text changes only where it contains a new piece.

A text without a new piece is segmented as before.
"""

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

from medlingua.adapters.joins import Join, Words, count_words, learn, parts_of
from medlingua.adapters.tokenizer import added_words, kind_of, wrap, write_added_tokens
from medlingua.languages.errors import ArgumentError, InputError
from tokenizers import Tokenizer, decoders
from transformers import PreTrainedTokenizerFast

Priority = Literal["append", "insert"]

_HAIR = 1e-6  # natural-log units by which a new Unigram piece beats its own best cut
_NAME_FACTOR = 10  # a capitalised word that is never written small is a piece in this many times more documents
_SPARE = 1.5  # candidates learnt for each piece wanted, where pieces are chosen by what they turn out to save
_EM_ROUNDS = 3
_SLAB = 20_000
_PART = "\N{REPLACEMENT CHARACTER}"  # how a piece reads that begins or ends inside a character

FEW, NUMBER, NAME, SIGNS = "in too few documents", "numbers", "names by their capital", "signs between letters"


@dataclass(frozen=True, slots=True)
class Extension:
    """An extended tokenizer, and what the new pieces save. pieces: the new ones in the order of their ids.

    parts: by new piece the old pieces (ids) that stood in its place in the corpus; where several did, those that were
    joined first, which save most. steps: new pieces that only lead to longer ones and occur in no segmentation of the
    corpus (BPE). corpus_pieces_old, corpus_pieces_new, corpus_words: of the whole corpus, without white space.
    refused: candidates by reason.
    """

    tokenizer: PreTrainedTokenizerFast
    pieces: tuple[str, ...]
    parts: dict[str, tuple[int, ...]]
    steps: int
    corpus_words: int
    corpus_pieces_old: int
    corpus_pieces_new: int
    refused: dict[str, int]


def extend(
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    new_pieces: int,
    *,
    min_documents: int = 5,
    priority: Priority = "append",
    capitals_are_names: bool = True,
    fewer: bool = False,
) -> Extension:
    """Add the `new_pieces` pieces that shorten the segmentation of the texts most.

    A piece must consist of letters and occur in `min_documents` documents. capitals_are_names: a capitalized word
    that never occurs in lower case counts as a name and needs ten times as many documents; set it to False for
    German, where all nouns are capitalized. Old pieces keep their ids; new ones follow.

    priority: "append" only joins old pieces. "insert" applies new BPE merges before the old ones, and scores Unigram
    pieces by their frequency (hard EM on the texts, never below "append"), so that words without a new piece may be
    segmented in another way. WordPiece has no priorities.

    fewer: take what the texts yield, where that is less than `new_pieces`.

    InputError for an unknown kind, for a tokenizer with words of `add_tokens`, and for texts that yield fewer pieces,
    with the number of candidates by reason of refusal.
    """
    _check(tokenizer, priority)
    kind = kind_of(tokenizer)
    words = count_words(tokenizer, texts, min_documents * (_NAME_FACTOR if capitals_are_names else 1))
    notation = _notation(tokenizer)
    surfaces = [notation.surface(pieces) for pieces in words.pieces]
    rules = _Rules(words, surfaces, notation, min_documents, capitals_are_names)
    cut_before = [list(pieces) for pieces in words.pieces]
    first = max(tokenizer.get_vocab().values()) + 1
    refused: Counter[str] = Counter()
    joins = learn(words, first, notation.join, rules.judge, refused)
    accepted: list[Join] = []
    chosen: tuple[str, ...] = ()
    needed = new_pieces if kind == "BPE" else math.ceil(new_pieces * _SPARE)
    while len(chosen) < new_pieces:
        more = _take(joins, needed)
        if not more and chosen and fewer:
            break
        if not more:
            raise _too_few(len(chosen), new_pieces, min_documents, refused)
        accepted += more
        needed = new_pieces
        if kind == "BPE":
            chosen = tuple(dict.fromkeys(join.piece for join in accepted))
            build = partial(_with_merges, tokenizer, accepted, priority)
        else:
            if kind == "WordPiece":
                build = partial(_with_words, tokenizer)
            else:
                build = partial(_with_scores, tokenizer, accepted, surfaces, words, priority)
            chosen = _choose(build, accepted, new_pieces, surfaces, cut_before, words, min_documents)
    extended = build(chosen)
    used = {id for cut in _segmentations(extended, surfaces) for id in cut}
    return Extension(
        tokenizer=wrap(extended, tokenizer),
        pieces=chosen,
        parts=parts_of(accepted, chosen),
        steps=sum(extended.token_to_id(piece) not in used for piece in chosen),
        corpus_words=words.total_words,
        corpus_pieces_old=words.total_pieces,
        corpus_pieces_new=words.total_pieces - _saved(extended, surfaces, cut_before, words),
        refused=dict(refused),
    )


def _take(joins: Iterator[Join], pieces: int) -> list[Join]:
    """The next joins that together give so many new pieces; fewer at the end."""
    accepted: list[Join] = []
    new_ids: set[int] = set()
    while len(new_ids) < pieces and (join := next(joins, None)) is not None:
        accepted.append(join)
        new_ids.add(join.new_id)
    return accepted


# --- what a piece may be -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Notation:
    """How a tokenizer writes pieces. names: piece by id. closed: ids that join with nothing."""

    kind: str
    names: dict[int, str]
    closed: frozenset[int]
    known: frozenset[str]
    decoder: Any

    def join(self, left: int | str, right: int | str) -> str | None:
        if left in self.closed or right in self.closed:
            return None
        a = left if isinstance(left, str) else self.names[left]
        b = right if isinstance(right, str) else self.names[right]
        piece = a + (b.removeprefix("##") if self.kind == "WordPiece" else b)
        return None if piece in self.known else piece

    def text(self, piece: str) -> str:
        """The text of a piece, without its mark of a word's beginning or inside."""
        if self.kind == "WordPiece":
            return piece.removeprefix("##")
        if self.decoder is not None:
            return str(self.decoder.decode([piece])).strip(" ")
        return piece.removeprefix("▁")

    def surface(self, pieces: Sequence[int]) -> str:
        """A word in the model's own notation."""
        names = [self.names[id] for id in pieces]
        if self.kind == "WordPiece":
            return names[0] + "".join(name.removeprefix("##") for name in names[1:])
        return "".join(names)


def _notation(tokenizer: Any) -> _Notation:
    vocabulary = tokenizer.get_vocab()
    closed = {id for token, id in vocabulary.items() if token in tokenizer.all_special_tokens}
    closed |= {id for token, id in vocabulary.items() if len(token) == 6 and token.startswith("<0x")}
    decoder = tokenizer.backend_tokenizer.decoder
    byte_level = isinstance(decoder, decoders.ByteLevel)
    names = {id: token for token, id in vocabulary.items()}
    return _Notation(
        kind_of(tokenizer), names, frozenset(closed), frozenset(vocabulary), decoder if byte_level else None
    )


class _Rules:
    """Whether a candidate may become a piece."""

    def __init__(
        self, words: Words, surfaces: list[str], notation: _Notation, min_documents: int, capitals_are_names: bool
    ) -> None:
        self._words, self._notation, self._least = words, notation, min_documents
        texts = [notation.text(surface) for surface in surfaces]
        small = {text for text in texts if text.islower()}
        small |= {notation.text(name) for name in notation.known if name.islower()}
        self._names = {
            number
            for number, text in enumerate(texts)
            if capitals_are_names and text[:1].isupper() and text[1:].islower() and text.lower() not in small
        }

    def judge(self, piece: str, holders: list[int]) -> str | None:
        text = self._notation.text(piece)
        if any(c.isnumeric() for c in text):
            return NUMBER
        if not all(c.isalpha() or unicodedata.category(c)[0] == "M" or c == _PART for c in text):
            return SIGNS
        documents: set[int] = set()
        plain: set[int] = set()
        for number in holders:
            documents |= self._words.documents[number]
            if number not in self._names:
                plain |= self._words.documents[number]
                if len(plain) >= self._least:
                    return None
        if len(documents) < self._least:
            return FEW
        return None if len(documents) >= self._least * _NAME_FACTOR else NAME


def _too_few(available: int, requested: int, min_documents: int, refused: Counter[str]) -> ArgumentError:
    why = ", ".join(f"{count:,} refused: {reason}" for reason, count in refused.most_common())
    return ArgumentError(
        f"the texts yield {available:,} new pieces of the {requested:,} requested ({why or 'no pair is left'}; "
        f"a piece needs {min_documents} documents): lower new_pieces, lower min_documents, or "
        "bring more text",
        "new_pieces",
        "min_documents",
    )


def _check(tokenizer: Any, priority: Priority) -> None:
    kind = kind_of(tokenizer)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise InputError(
            f"a vocabulary of kind {kind} cannot be extended; known: WordPiece, BPE, Unigram. Keep it as "
            "it is, or replace it"
        )
    if model.get("end_of_word_suffix") or (kind == "BPE" and model.get("continuing_subword_prefix")):
        raise InputError("a BPE vocabulary with marks at the ends of its pieces cannot be extended; replace it")
    if kind == "WordPiece" and priority == "insert":
        raise ArgumentError("a WordPiece vocabulary has no priorities: leave priority at 'append'", "priority")
    added = list(added_words(tokenizer))
    if added:
        shown = ", ".join(repr(word) for word in added[:5]) + (" ..." if len(added) > 5 else "")
        raise InputError(
            f"the tokenizer was extended with add_tokens before: {len(added):,} words ({shown}) are cut out of the "
            "raw text, also from the middle of other words. Repair the vocabulary first, which makes "
            "pieces of them; or start from the model as it was before that, or replace the vocabulary"
        )


# --- the three kinds ---------------------------------------------------------------------------------


def _with_merges(tokenizer: Any, joins: Sequence[Join], priority: Priority, pieces: Sequence[str]) -> Tokenizer:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    write_added_tokens(state)
    model = state["model"]
    new_names = {join.new_id: join.piece for join in joins}
    names = {id: piece for piece, id in tokenizer.get_vocab().items()} | new_names
    new = [[names[join.left], names[join.right]] for join in joins]
    old = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    model["merges"] = new + old if priority == "insert" else old + new
    model["vocab"].update({piece: id for id, piece in new_names.items()})
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _with_words(tokenizer: Any, pieces: Sequence[str]) -> Tokenizer:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    write_added_tokens(state)
    first = max(tokenizer.get_vocab().values()) + 1
    state["model"]["vocab"].update({piece: first + i for i, piece in enumerate(pieces)})
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _with_scores(
    tokenizer: Any,
    joins: Sequence[Join],
    surfaces: list[str],
    words: Words,
    priority: Priority,
    pieces: Sequence[str],
) -> Tokenizer:
    """Two neighbours on a best path are the best segmentation of their own text, so that a score just above the sum
    of theirs wins."""
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    scores = {id: score for id, (_, score) in enumerate(vocabulary)}
    for join in joins:
        scores[join.new_id] = max(scores.get(join.new_id, -math.inf), scores[join.left] + scores[join.right] + _HAIR)
    lowest = {join.piece: scores[join.new_id] for join in joins}
    extended = _scored(tokenizer, {piece: lowest[piece] for piece in pieces})
    for _ in range(_EM_ROUNDS if priority == "insert" else 0):
        extended = _scored(tokenizer, _refitted(extended, len(vocabulary), pieces, lowest, surfaces, words))
    return extended


def _scored(tokenizer: Any, scores: dict[str, float]) -> Tokenizer:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    write_added_tokens(state)
    state["model"]["vocab"] += [[piece, score] for piece, score in scores.items()]
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _refitted(
    extended: Tokenizer, old: int, pieces: Sequence[str], lowest: dict[str, float], surfaces: list[str], words: Words
) -> dict[str, float]:
    """Scores from how often each new piece is used, on the scale of the old pieces' scores."""
    used: Counter[int] = Counter()
    for ids, count in zip(_segmentations(extended, surfaces), words.counts, strict=True):
        for id in ids:
            used[id] += count
    scores = json.loads(extended.to_str())["model"]["vocab"]
    shared = {id: count for id, count in used.items() if id < old}
    total = sum(shared.values())
    # Old scores are log-probabilities of other text: the mean difference maps counts to their scale.
    scale = sum(count * (scores[id][1] - math.log(count)) for id, count in shared.items()) / max(1, total)
    of_piece = {piece: used[int(extended.token_to_id(piece) or 0)] for piece in pieces}
    return {
        piece: max(lowest[piece], math.log(count) + scale) if count else lowest[piece]
        for piece, count in of_piece.items()
    }


# --- choosing by what is saved -----------------------------------------------------------------------


def _choose(
    build: Callable[[Sequence[str]], Tokenizer],
    joins: Sequence[Join],
    size: int,
    surfaces: list[str],
    before: list[list[int]],
    words: Words,
    min_documents: int,
) -> tuple[str, ...]:
    """The `size` pieces that save most in the tokenizer's own segmentation of the corpus; fewer if some are unused.

    A join on the way to a longer one is needed by BPE alone; here it is dropped as unused.
    """
    candidates = list(dict.fromkeys(join.piece for join in joins))

    def saved(pieces: Sequence[str]) -> dict[str, float]:
        return _saved_by_piece(build(pieces), pieces, surfaces, before, words, min_documents)

    together = saved(candidates)
    remaining = sorted(candidates, key=lambda piece: -together[piece])  # stable: ties as they were learnt
    useless: set[str] = set()
    while True:
        remaining = [piece for piece in remaining if piece not in useless]
        chosen = set(remaining[:size])
        ordered = [piece for piece in candidates if piece in chosen]
        alone = saved(ordered)
        useless = {piece for piece in ordered if alone[piece] <= 0}
        if not useless:
            return tuple(ordered)


def _saved_by_piece(
    extended: Tokenizer,
    pieces: Sequence[str],
    surfaces: list[str],
    before: list[list[int]],
    words: Words,
    min_documents: int,
) -> dict[str, float]:
    """Pieces that each new piece saves, shared by the new pieces of a word; 0 below `min_documents`."""
    names = {extended.token_to_id(piece): piece for piece in pieces}
    saved: dict[str, float] = dict.fromkeys(pieces, 0.0)
    documents: dict[str, set[int]] = {piece: set() for piece in pieces}
    for number, ids in enumerate(_segmentations(extended, surfaces)):
        new = [names[id] for id in ids if id in names]
        for piece in new:
            saved[piece] += words.counts[number] * (len(before[number]) - len(ids)) / len(new)
            if len(documents[piece]) < min_documents:
                documents[piece] |= words.documents[number]
    return {piece: value if len(documents[piece]) >= min_documents else 0.0 for piece, value in saved.items()}


def _segmentations(extended: Tokenizer, surfaces: list[str]) -> Iterable[list[int]]:
    """Segment words in the model's own notation by the model alone."""
    model = Tokenizer(extended.model)
    remaining = iter(surfaces)
    while slab := list(islice(remaining, _SLAB)):
        for encoding in model.encode_batch_fast(slab, add_special_tokens=False):
            yield encoding.ids


def _saved(extended: Tokenizer, surfaces: list[str], before: list[list[int]], words: Words) -> int:
    cuts = _segmentations(extended, surfaces)
    return sum(count * (len(old) - len(new)) for old, new, count in zip(before, cuts, words.counts, strict=True))
