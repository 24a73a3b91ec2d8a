"""Does a corpus hold a task's test documents? Shared n-grams of words (TRAPS V10)."""

import re
import zlib
from collections.abc import Iterable, Mapping

import numpy as np

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def shingles(text: str, words: int) -> np.ndarray:
    """Hashes of all runs of `words` words, lower-cased, punctuation apart: (n,) uint64, n may be 0."""
    hashed = np.fromiter((zlib.crc32(w.encode()) for w in _WORD.findall(text.lower())), dtype=np.uint64)
    if len(hashed) < words:
        return np.empty(0, dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(hashed * _FACTOR, words)
    total = np.zeros(len(runs), dtype=np.uint64)
    for column in runs.T:  # polynomial hash, wrapping at 64 bits
        total = (total ^ (total >> np.uint64(29))) * _FACTOR + column
    return total


class OverlapCheck:
    """Finds the tasks whose test documents share a run of words with a text."""

    def __init__(self, test_documents: Mapping[str, Iterable[str]], words: int) -> None:
        self._words = words
        self._tasks = tuple(test_documents)
        hashes, owners = [], []
        for owner, texts in enumerate(test_documents.values()):
            of_task = [shingles(text, words) for text in texts]
            hashes += of_task
            owners += [np.full(len(h), owner, dtype=np.int32) for h in of_task]
        known = np.concatenate([*hashes, np.empty(0, dtype=np.uint64)])
        order = np.argsort(known, kind="stable")
        self._hashes = known[order]
        self._owners = np.concatenate([*owners, np.empty(0, dtype=np.int32)])[order]

    def tasks_in(self, text: str) -> frozenset[str]:
        runs = shingles(text, self._words)
        first = np.searchsorted(self._hashes, runs, "left")
        last = np.searchsorted(self._hashes, runs, "right")
        hits = [self._owners[a:b] for a, b in zip(first[last > first], last[last > first], strict=True)]
        return frozenset(self._tasks[i] for i in set(np.concatenate(hits).tolist())) if hits else frozenset()
