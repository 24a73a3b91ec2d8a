"""Byte-pair merges learned on top of the segmentation of an existing tokenizer.

A join makes one new piece of two neighbouring pieces, wherever they occur. Joins are learned as byte-pair encoding
learns merges (Sennrich et al. 2016), but they start from the pieces of the tokenizer instead of letters, so that each
saves exactly as many pieces as it is counted. A singular and its plural share the join of their stem: inflections
count together.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise
from typing import Any

# A word with the space before it: no pre-tokenizer of the kinds known here lets a piece cross it.
_CHUNK = re.compile(r" ?\S+")
_SLAB = 20_000  # chunks tokenized in one call
_SHIFT = 24  # a pair of ids in one integer


@dataclass(slots=True)
class Words:
    """The distinct words of a corpus in pieces; entry i of each list is one word.

    pieces: its ids. counts: its occurrences. documents: numbers of the first documents that contain it.
    total_words, total_pieces: of the corpus, including words of one piece, which have no entry.
    """

    pieces: list[list[int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    documents: list[frozenset[int]] = field(default_factory=list)
    total_words: int = 0
    total_pieces: int = 0


@dataclass(frozen=True, slots=True)
class Join:
    """Two neighbours (ids) and the piece that they become. saved: pieces by which the corpus becomes shorter.

    Two pairs may become the same piece.
    """

    left: int
    right: int
    new_id: int
    piece: str
    saved: int


def count_words(tokenizer: Any, texts: Iterable[str], max_documents: int) -> Words:
    """Cut every distinct word of the texts once. max_documents: stored for each word.

    Tokenizes chunks between white space, each with the space before it: the same pieces as in running text
    for every pre-tokenizer that cuts at white space.
    """
    counts: Counter[str] = Counter()
    seen: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        chunks = Counter(_CHUNK.findall(text))
        counts.update(chunks)
        for chunk in chunks:
            if len(first := seen[chunk]) < max_documents:
                first.append(number)
    numbers: dict[tuple[int, ...], int] = {}
    words = Words()
    for chunk, pieces in _cut(tokenizer.backend_tokenizer, counts):
        count = counts[chunk]
        words.total_words += count
        words.total_pieces += count * len(pieces)
        if len(pieces) < 2:
            continue
        number = numbers.setdefault(pieces, len(numbers))
        if number == len(words.pieces):
            words.pieces.append(list(pieces))
            words.counts.append(count)
            words.documents.append(frozenset(seen[chunk]))
        else:
            words.counts[number] += count
            if len(words.documents[number]) < max_documents:
                words.documents[number] |= frozenset(seen[chunk])
    return words


def _cut(backend: Any, chunks: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The pieces of each word of each chunk: the pre-tokenizer may split a chunk into several words."""
    remaining = iter(chunks)
    while slab := list(islice(remaining, _SLAB)):
        for chunk, encoding in zip(slab, backend.encode_batch(slab, add_special_tokens=False), strict=True):
            ids, words = encoding.ids, encoding.word_ids  # encode_batch_fast leaves the words out
            start = 0
            for end in range(1, len(ids) + 1):
                if end == len(ids) or words[end] != words[start]:
                    yield chunk, tuple(ids[start:end])
                    start = end


def learn(
    words: Words,
    first_id: int,
    join: Callable[[int | str, int | str], str | None],
    judge: Callable[[str, list[int]], str | None],
    refused: Counter[str],
) -> Iterator[Join]:
    """Joins, those that save most first, until no pair is left.

    first_id: id of the first new piece. join: from two pieces (old ids, or strings of new ones) to the string of the
    new piece, or None where they must not join. judge: from the string of a piece and the numbers of the words that
    contain it to the reason why it is refused, or None; reasons are counted in `refused`. words.pieces is changed by
    each join that is yielded. Ties go to the pair of smaller ids.
    """
    counts: Counter[int] = Counter()
    words_with: dict[int, list[int]] = defaultdict(list)
    for number, (pieces, count) in enumerate(zip(words.pieces, words.counts, strict=True)):
        for left, right in pairwise(pieces):
            counts[left << _SHIFT | right] += count
            words_with[left << _SHIFT | right].append(number)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    new_pieces: dict[int, str] = {}
    ids: dict[str, int] = {}
    closed: set[int] = set()
    while heap:
        queued, pair = heappop(heap)
        count = counts[pair]
        if pair in closed or count <= 0:
            continue
        if count != -queued:  # it has changed since it was queued
            heappush(heap, (-count, pair))
            continue
        left, right = pair >> _SHIFT, pair & ((1 << _SHIFT) - 1)
        closed.add(pair)
        piece = join(new_pieces.get(left, left), new_pieces.get(right, right))
        if piece is None:
            continue
        holders = sorted(set(words_with[pair]))
        if piece not in ids:
            why = judge(piece, [n for n in holders if (left, right) in pairwise(words.pieces[n])])
            if why is not None:
                refused[why] += 1
                continue
            ids[piece] = first_id + len(new_pieces)
            new_pieces[ids[piece]] = piece
        new = ids[piece]
        touched: Counter[int] = Counter()
        for number in holders:
            before = words.pieces[number]
            after = _joined(before, left, right, new)
            if len(after) == len(before):
                continue
            weight = words.counts[number]
            for a, b in pairwise(before):
                counts[a << _SHIFT | b] -= weight
            for a, b in pairwise(after):
                key = a << _SHIFT | b
                counts[key] += weight
                if a == new or b == new:
                    touched[key] += weight
                    words_with[key].append(number)
            words.pieces[number] = after
        del words_with[pair]
        for key in touched:
            heappush(heap, (-counts[key], key))
        yield Join(left, right, new, piece, count)


def _joined(pieces: list[int], left: int, right: int, new: int) -> list[int]:
    after = []
    at, last = 0, len(pieces) - 1
    while at <= last:
        if at < last and pieces[at] == left and pieces[at + 1] == right:
            after.append(new)
            at += 2
        else:
            after.append(pieces[at])
            at += 1
    return after


def parts_of(joins: Iterable[Join], pieces: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The old pieces of new ones, by the first joins that lead to them."""
    ids: dict[int, tuple[int, ...]] = {}
    of_piece: dict[str, tuple[int, ...]] = {}
    for join in joins:
        joined = ids.get(join.left, (join.left,)) + ids.get(join.right, (join.right,))
        of_piece.setdefault(join.piece, ids.setdefault(join.new_id, joined))
    return {piece: of_piece[piece] for piece in pieces}
