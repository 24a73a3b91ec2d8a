"""Near-duplicates: texts that share most of their runs of words."""

from array import array
from collections.abc import Sequence

import numpy as np
from medlingua.languages.errors import InputError
from medlingua.languages.word_runs import hash_words, runs

_RUN = 5  # words
_HASHES = 128
_SHARE_A_BAND = 0.94  # of the pairs right at the threshold, at least
_SLAB = 4_096  # runs hashed at once
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class NearDuplicates:
    """Finds texts whose share of common runs of five words with an earlier one reaches a threshold.

    MinHash (Broder 1997) with banding (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4): 128 hashes,
    at 0.8 in 16 bands of 8, so that 95 % of the pairs of likeness 0.8 share a band and 99.99 % of those of 0.9;
    likeness is then the share of equal hashes, with a standard deviation of 0.035 at 0.8. Of the earlier texts that
    share a band the first stands for all. The same texts in the same order give the same result on every machine.
    About 1 kB a text.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"near-duplicates from {threshold}: give a share of common runs above 0, at most 1")
        self._threshold = threshold
        self._bands = _bands(threshold)
        draws = np.random.default_rng(1)
        self._factors = draws.integers(0, 2**32, size=(_HASHES, 1), dtype=np.uint32) | np.uint32(1)
        self._offsets = draws.integers(0, 2**32, size=(_HASHES, 1), dtype=np.uint32)
        columns = draws.integers(2**63, size=_HASHES // self._bands, dtype=np.uint64)
        self._columns = columns * np.uint64(2) + np.uint64(1)
        self._signatures = np.empty((1_024, _HASHES), dtype=np.uint16)
        self._count = 0
        self._table = _Table()
        self._ids: list[str] = []

    def of(self, id: str, words: Sequence[str]) -> str:
        """The id of the earlier text that this one is nearest to, or "". A text that has none is remembered."""
        remembered = self._count
        number = self.nearest(hash_words(words))
        self._ids += [id] * (self._count - remembered)
        return "" if number is None else self._ids[number]

    def nearest(self, hashed: np.ndarray) -> int | None:
        """Number of the earlier text that this one is nearest to, among those remembered, or None; then it is
        remembered. hashed: (n,) of its words, by `hash_words`."""
        if not len(hashed):
            return None  # signs alone are like no other text
        signature = self._signature(hashed)
        keys = self._keys(signature)
        low = signature.astype(np.uint16)
        candidates = sorted({number for key in keys if (number := self._table.find(key)) is not None})
        if candidates:
            likeness = (self._signatures[candidates] == low).mean(axis=1)
            if likeness.max() >= self._threshold:
                return candidates[int(likeness.argmax())]
        if self._count == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[self._count] = low
        for key in keys:
            self._table.add(key, self._count)
        self._count += 1
        return None

    def _signature(self, hashed: np.ndarray) -> np.ndarray:
        """The smallest value of each hash function over the runs: (128,) uint32."""
        smallest = np.full(_HASHES, 2**32 - 1, dtype=np.uint32)
        for _, of_text in runs(hashed, (min(_RUN, len(hashed)),)):
            of_runs = (of_text >> np.uint64(32)).astype(np.uint32)
            for start in range(0, len(of_runs), _SLAB):
                values = self._factors * of_runs[start : start + _SLAB] + self._offsets  # wrapping at 32 bits
                np.minimum(smallest, values.min(axis=1), out=smallest)
        return smallest

    def _keys(self, signature: np.ndarray) -> list[int]:
        """A key for each band, its number included: 64 bits, never 0."""
        numbers = np.arange(self._bands, dtype=np.uint64) * _FACTOR
        sums = signature.reshape(self._bands, -1).astype(np.uint64) @ self._columns + numbers
        keys: list[int] = (((sums ^ (sums >> np.uint64(29))) * _FACTOR) | np.uint64(1)).tolist()
        return keys


def _bands(threshold: float) -> int:
    """The fewest bands with which pairs at the threshold share one often enough."""
    sizes = (2**power for power in range(7, -1, -1))
    enough = (size for size in sizes if 1 - (1 - threshold**size) ** (_HASHES // size) >= _SHARE_A_BAND)
    return _HASHES // next(enough, 1)


class _Table:
    """Numbers by 64-bit keys that are spread evenly and never 0: an open hash table, doubled when it is half full."""

    def __init__(self) -> None:
        self._used = 0
        self._keys, self._numbers = _empty(2**15)

    def find(self, key: int) -> int | None:
        slot = self._slot(key)
        return self._numbers[slot] if self._keys[slot] else None

    def add(self, key: int, number: int) -> None:
        """Give a key a number, unless it has one."""
        slot = self._slot(key)
        if self._keys[slot]:
            return
        self._keys[slot], self._numbers[slot] = key, number
        self._used += 1
        if 2 * self._used > len(self._keys):
            old = self._keys, self._numbers
            self._keys, self._numbers = _empty(2 * len(self._keys))
            for key, number in zip(*old, strict=True):
                if key:
                    slot = self._slot(key)
                    self._keys[slot], self._numbers[slot] = key, number

    def _slot(self, key: int) -> int:
        """Where a key stands, or would stand."""
        keys, last = self._keys, len(self._keys) - 1
        slot = key >> 20 & last
        while keys[slot] and keys[slot] != key:
            slot = slot + 1 & last
        return slot


def _empty(size: int) -> tuple["array[int]", "array[int]"]:
    return array("Q", bytes(8 * size)), array("I", bytes(4 * size))
