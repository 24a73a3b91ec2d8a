"""Compounds in their parts: Leberzirrhose is Leber and Zirrhose, by how often the parts stand alone in the corpus.

Koehn and Knight, EACL 2003: of all ways to cut a word into words of the corpus, with a linking element between them
or none, the one whose parts have the largest geometric mean of counts; the whole word is one of the ways.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .words import words

_SHORTEST = 4  # letters of a part: shorter ones are endings and prefixes more often than words
_LEAST = 3  # times that a part stands alone in the corpus


class Compounds:
    """counts: of the words of a corpus, in small letters. links: what may stand between two parts."""

    def __init__(self, counts: Counter[str], links: Sequence[str]) -> None:
        self._counts, self._links = counts, ("", *links)
        self.parts = lru_cache(maxsize=200_000)(self._parts)

    def _parts(self, word: str) -> tuple[int, ...]:
        """Where the parts of a word begin, the first at 0. A link belongs to the part before it."""
        small = word.lower()
        if not word.isalpha() or len(small) != len(word):
            return (0,)
        whole = math.log(max(1, self._counts[small]))
        return max(self._cuts(small, 0), key=lambda cut: (cut[1] / cut[2], -cut[2]), default=((0,), whole, 1))[0]

    def _cuts(self, word: str, start: int) -> list[tuple[tuple[int, ...], float, int]]:
        """All cuts of word[start:]: begins, summed log counts, parts. Only the whole word may be unknown."""
        rest = word[start:]
        cuts: list[tuple[tuple[int, ...], float, int]] = []
        if start == 0 or self._counts[rest] >= _LEAST:
            cuts.append(((start,), math.log(max(1, self._counts[rest])), 1))
        for end in range(start + _SHORTEST, len(word) - _SHORTEST + 1):
            known = self._counts[word[start:end]]
            if known < _LEAST:
                continue
            for link in self._links:
                if not word.startswith(link, end) or len(word) - end - len(link) < _SHORTEST:
                    continue
                for begins, score, parts in self._cuts(word, end + len(link)):
                    cuts.append(((start, *begins), score + math.log(known), parts + 1))
        return cuts


def count_words(texts: Iterable[str], code: str) -> Counter[str]:
    """How often each word of letters stands in the texts, in small letters; short ones left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        long_words = (text[a:b] for a, b in words(text, code) if b - a >= _SHORTEST)
        counts.update(word.lower() for word in long_words if word.isalpha())
    return counts


def in_parts(text: str, ranges: Sequence[tuple[int, int]], compounds: Compounds) -> list[tuple[int, int]]:
    """Ranges of words with those of compounds cut at their parts."""
    parts = []
    for start, end in ranges:
        begins = [start + place for place in compounds.parts(text[start:end])]
        parts += list(zip(begins, [*begins[1:], end], strict=True))
    return parts
