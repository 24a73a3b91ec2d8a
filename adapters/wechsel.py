"""WECHSEL: new rows as mixtures of old ones across languages, through a dictionary.

Minixhofer et al., arXiv 2112.06598: a static space for each language, the target's turned into the source's by the
orthogonal map that brings translations together, and each new piece mixed from its nearest old pieces. Theirs is
fastText of words; ours is `focus.piece_vectors` of pieces, and a word is the mean of its pieces.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from medlingua.adapters.focus import piece_vectors
from medlingua.languages.errors import InputError
from scipy.linalg import orthogonal_procrustes

Mixtures = dict[int, tuple[np.ndarray, np.ndarray]]

_NEAREST, _TEMPERATURE = 10, 0.1  # the paper's
_LEAST_PAIRS = 20
_SLAB = 1_000


def mixtures(
    old: Any, new: Any, old_texts: Iterable[str], new_texts: Iterable[str], pairs: Sequence[tuple[str, str]]
) -> Mixtures:
    """For each new piece that occurs in its texts: ids of old pieces (k,) int64, and weights (k,) that sum to one.

    pairs: words of the old tokenizer's language and their translations. InputError if too few occur in both texts.
    """
    theirs, ours = piece_vectors(old, old_texts), piece_vectors(new, new_texts)
    their_words, our_words = _words(old, theirs, [a for a, _ in pairs]), _words(new, ours, [b for _, b in pairs])
    turned = aligned(theirs, ours, their_words, our_words)
    occurring = np.flatnonzero(theirs.any(axis=1))
    mixed: Mixtures = {}
    wanted = np.flatnonzero(ours.any(axis=1))
    for start in range(0, len(wanted), _SLAB):
        ids = wanted[start : start + _SLAB]
        likeness = turned[ids] @ theirs[occurring].T
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :_NEAREST]
        scores = np.take_along_axis(likeness, nearest, axis=1) / _TEMPERATURE
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed |= {int(id): (occurring[row], w) for id, row, w in zip(ids, nearest, weights, strict=True)}
    return mixed


def aligned(theirs: np.ndarray, ours: np.ndarray, their_words: np.ndarray, our_words: np.ndarray) -> np.ndarray:
    """`ours` (V, D) turned into the space of `theirs`, unit rows. their_words, our_words: (pairs, D) translations,
    zero where a word does not occur."""
    both = their_words.any(axis=1) & our_words.any(axis=1)
    if both.sum() < _LEAST_PAIRS:
        raise InputError(
            f"adapt.rows 'wechsel': {both.sum()} of the dictionary's {len(our_words):,} word pairs occur in the "
            f"texts of both languages, {_LEAST_PAIRS} are needed: bring more text, or another adapt.dictionary"
        )
    turn, _ = orthogonal_procrustes(our_words[both], their_words[both])
    turned: np.ndarray = ours @ turn
    return turned


def _words(tokenizer: Any, vectors: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """(words, D) unit vectors: the mean of a word's pieces; zero for a word none of whose pieces occurs."""
    cuts = tokenizer.backend_tokenizer.encode_batch_fast([f" {word}" for word in words], add_special_tokens=False)
    means = np.stack([vectors[cut.ids].mean(axis=0) if cut.ids else np.zeros(vectors.shape[1]) for cut in cuts])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(means, norms, out=np.zeros_like(means), where=norms > 1e-8)
    return unit
