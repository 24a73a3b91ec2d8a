"""Does a text hold a task's test documents? Shared runs of words (TRAPS V10)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .word_runs import hash_words, runs
from .words import compared_words

SHORTEST_RUN = 4  # words, as in data.overlap_words: shorter runs are met by chance ("no presenta fiebre")


class OverlapCheck:
    """Finds the tasks whose test documents are, in whole or in part, in a text.

    A test document and a text overlap where they share a run of `words` words (Brown et al. 2020, appendix C). A test
    document of fewer words overlaps with every text that contains all of it in a row, one of fewer than
    `SHORTEST_RUN` words with a text that has no other words. Words are compared as `compared_words` gives them.
    """

    def __init__(self, test_documents: Mapping[str, Iterable[str]], words: int) -> None:
        self._tasks = tuple(test_documents)
        self._inside = min(SHORTEST_RUN, words)
        self.whole_only = dict.fromkeys(self._tasks, 0)
        hashes: dict[int, list[np.ndarray]] = defaultdict(list)
        owners: dict[int, list[np.ndarray]] = defaultdict(list)
        for owner, (task, texts) in enumerate(test_documents.items()):
            for text in texts:
                hashed = hash_words(compared_words(text))
                self.whole_only[task] += len(hashed) < self._inside
                for length, of_text in runs(hashed, (min(words, len(hashed)),)):
                    hashes[length].append(of_text)
                    owners[length].append(np.full(len(of_text), owner, dtype=np.int32))
        self._known = {
            length: _Known.of(np.concatenate(hashes[length]), np.concatenate(owners[length])) for length in hashes
        }

    def tasks_of(self, text: str) -> frozenset[str]:
        """Names of the tasks that a text overlaps with."""
        return self.tasks_in(hash_words(compared_words(text)))

    def tasks_in(self, hashed: np.ndarray) -> frozenset[str]:
        """The same for a text whose words are hashed already: (n,) of `hash_words`."""
        owners = set[int]()
        for length, of_text in runs(hashed, self._known):
            if length < self._inside and length != len(hashed):
                continue
            owners |= self._known[length].owners_of(of_text)
        return frozenset(self._tasks[owner] for owner in owners)


@dataclass(frozen=True, slots=True)
class _Known:
    """Hashes of runs of one length, ascending, and whose they are. marks: by their first bits, whether any is there,
    which answers for most runs of a text."""

    hashes: np.ndarray
    owners: np.ndarray
    marks: np.ndarray
    shift: np.uint64

    @classmethod
    def of(cls, hashes: np.ndarray, owners: np.ndarray) -> "_Known":
        order = np.argsort(hashes, kind="stable")
        bits = min(26, max(16, len(hashes).bit_length() + 4))
        shift = np.uint64(64 - bits)
        marks = np.zeros(2**bits, dtype=np.bool_)
        marks[hashes >> shift] = True
        return cls(hashes[order], owners[order], marks, shift)

    def owners_of(self, of_text: np.ndarray) -> set[int]:
        likely = of_text[self.marks[of_text >> self.shift]]
        first, last = (np.searchsorted(self.hashes, likely, side) for side in ("left", "right"))
        return {owner for a, b in zip(first, last, strict=True) for owner in self.owners[a:b].tolist()}
