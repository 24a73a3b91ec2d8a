"""Near-duplicates: texts that share most of their runs of words."""

from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH
from medlingua.languages.errors import InputError

_SHINGLE, _PERMUTATIONS = 5, 128


class NearDuplicates:
    """Texts that share most of their runs of five words with an earlier one, by MinHash with banding (Broder 1997;
    `datasketch`, 128 permutations): texts right at the threshold are found about as often as not."""

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"--near {threshold}: give a share of shared words above 0, at most 1")
        self._threshold = threshold
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._hashes: dict[str, MinHash] = {}

    def of(self, id: str, text: Sequence[str]) -> str:
        """The id of the earlier text that this one is nearest to, or "". A text that has none is remembered."""
        runs = {" ".join(text[i : i + _SHINGLE]).encode() for i in range(max(1, len(text) - _SHINGLE + 1))}
        hashed = MinHash(num_perm=_PERMUTATIONS, seed=1)
        hashed.update_batch(sorted(runs))
        likeness = {other: hashed.jaccard(self._hashes[other]) for other in self._index.query(hashed)}
        best = max(sorted(likeness), key=lambda other: likeness[other], default="")
        if best and likeness[best] >= self._threshold:
            return best
        key = id if id not in self._hashes else f"{id}#{len(self._hashes)}"
        self._hashes[key] = hashed
        self._index.insert(key, hashed)
        return ""
