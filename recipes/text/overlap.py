"""Does a corpus hold a task's test documents? Shared runs of words (TRAPS V10)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from medlingua.languages.words import compared_words
from medlingua.recipes.text.word_runs import hash_words, runs

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
        self._known = {}
        for length in sorted(hashes):
            known = np.concatenate(hashes[length])
            order = np.argsort(known, kind="stable")
            self._known[length] = known[order], np.concatenate(owners[length])[order]

    def tasks_in(self, hashed: np.ndarray) -> frozenset[str]:
        """Names of the tasks that a text overlaps with. hashed: (n,) of its words, by `hash_words`."""
        found = set[int]()
        for length, of_text in runs(hashed, self._known):
            if length < self._inside and length != len(hashed):
                continue
            known, owners = self._known[length]
            first, last = (np.searchsorted(known, of_text, side) for side in ("left", "right"))
            for a, b in zip(first[last > first], last[last > first], strict=True):
                found.update(owners[a:b].tolist())
        return frozenset(self._tasks[owner] for owner in found)
