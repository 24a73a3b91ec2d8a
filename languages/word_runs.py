"""Runs of words as 64-bit hashes: what texts are compared by."""

import zlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def hash_words(words: Sequence[str]) -> np.ndarray:
    """One hash a word: (n,) uint64. The same words give the same hashes on every machine."""
    hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), dtype=np.uint64, count=len(words))
    return hashes * _FACTOR


def runs(hashed: np.ndarray, lengths: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """For each length, ascending, the hashes of all runs of so many words: (n - length + 1,) uint64.

    hashed: (n,) of `hash_words`. Lengths above n give nothing. One pass, which adds a word at a time, computes all.
    """
    total = np.zeros(len(hashed), dtype=np.uint64)
    for length in range(1, min(max(lengths, default=0), len(hashed)) + 1):
        total = total[: len(hashed) - length + 1]  # polynomial hash, wrapping at 64 bits
        total = (total ^ (total >> np.uint64(29))) * _FACTOR + hashed[length - 1 :]
        if length in lengths:
            yield length, total
