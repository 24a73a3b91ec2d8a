"""A passage with masked words, as one tokenizer cuts it: the queries that predict them, and what it cannot write."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import numpy as np
from medlingua.adapters.encoder import Encoder
from medlingua.languages.words import nfc


@dataclass(frozen=True, slots=True)
class Query:
    """A row of L ids with masked words, and the N pieces to predict in it.

    ids: (L,), special tokens included. positions: (N,), of the pieces in the row. labels: (N,), their ids. words:
    (N, 2), the first masked word that each piece touches, and the one after the last.
    """

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    words: np.ndarray


@dataclass(frozen=True, slots=True)
class MaskedPassage:
    """The queries of a passage. bytes: of all its masked words. unwritable: words that hold an unknown piece.

    normalized_characters: of the other words, those that the tokenizer's normalizer changes or drops.
    """

    queries: tuple[Query, ...]
    bytes: int
    unknown_bytes: int
    normalized_characters: int
    unwritable: tuple[int, ...]


def mask_words(text: str, masked: tuple[tuple[int, int], ...], first_word: int, encoder: Encoder) -> MaskedPassage:
    """The queries that predict each masked word piece by piece, left to right.

    In the first query all words are masked, and the first piece of each is predicted. Each later piece has a query of
    its own, with the pieces before it in its word revealed and all other words masked still. Words whose pieces
    overlap (one piece may touch two) count as one. A text that exceeds the model is cut into several rows. masked:
    character ranges, in order; the words are numbered from first_word.
    """
    tokenizer = encoder.tokenizer
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    ids = np.array(encoding.ids, dtype=np.int64)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    target = np.zeros(len(ids), dtype=np.bool_)
    predicted = np.zeros(len(ids), dtype=np.bool_)
    words = np.zeros((len(ids), 2), dtype=np.int64)
    unwritable = []
    size = unknown = normalized = 0
    for word, (start, end) in enumerate(masked, first_word):
        touched = (offsets[:, 0] < end) & (offsets[:, 1] > start)
        words[touched & ~target, 0] = word
        words[touched, 1] = word + 1
        target |= touched
        size += len(text[start:end].encode())
        if not touched.any() or (ids[touched] == tokenizer.unk_token_id).any():
            unknown += len(text[start:end].encode())
            unwritable.append(word)
        else:
            predicted |= touched
            normalized += changed_characters(text[start:end], tokenizer)
    shown = np.where(target, tokenizer.mask_token_id, ids)
    queries = []
    room = encoder.length - 2
    for begin in range(0, len(ids), room):
        span = slice(begin, begin + room)
        for row, places in _rows(ids[span], shown[span], target[span], words[span]):
            places = places[predicted[begin + places]]
            if len(places):
                framed = np.concatenate([[tokenizer.cls_token_id], row, [tokenizer.sep_token_id]])
                queries.append(Query(framed, places + 1, ids[begin + places], words[begin + places]))
    return MaskedPassage(tuple(queries), size, unknown, normalized, tuple(unwritable))


def _rows(
    ids: np.ndarray, shown: np.ndarray, target: np.ndarray, words: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of ids and the places predicted in each: the first pieces of all words, then one row a later piece."""
    groups: list[list[int]] = []
    end = -1
    for place in np.flatnonzero(target).tolist():
        if words[place, 0] >= end:
            groups.append([])
        groups[-1].append(place)
        end = max(end, int(words[place, 1]))
    yield shown, np.array([group[0] for group in groups], dtype=np.int64)
    for group in groups:
        row = shown.copy()
        for earlier, place in pairwise(group):
            row[earlier] = ids[earlier]
            yield row.copy(), np.array([place])


def changed_characters(word: str, tokenizer: Any) -> int:
    """How many characters of a word the tokenizer's normalizer changes or drops; composition (NFC) is no change."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None:
        return 0
    written = nfc(word)
    read = nfc(normalizer.normalize_str(written))
    same = SequenceMatcher(None, written, read, autojunk=False).get_matching_blocks()
    return len(written) - sum(block.size for block in same)


def unigram_nats(queries: list[Query], counts: np.ndarray) -> float:
    """Nats of the predicted pieces by their frequency alone, each piece of the vocabulary counted once more.

    counts: (vocabulary,) occurrences in the training text.
    """
    probabilities = (counts + 1) / (counts.sum() + len(counts))
    return float(-sum(np.log(probabilities[query.labels]).sum() for query in queries))
