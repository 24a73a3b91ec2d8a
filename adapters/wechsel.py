"""WECHSEL: new embeddings as mixtures of old ones across languages, by a bilingual dictionary.

Minixhofer et al., arXiv 2112.06598: static vectors for each language, an orthogonal map from those of the target to
those of the source that brings translations together, and each new piece mixed from its nearest old pieces. The
paper takes fastText vectors of words; these are `focus.piece_vectors`, and a word is the mean of its pieces.
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
    old_vectors, new_vectors = piece_vectors(old, old_texts), piece_vectors(new, new_texts)
    old_words, new_words = (
        _words(old, old_vectors, [a for a, _ in pairs]),
        _words(new, new_vectors, [b for _, b in pairs]),
    )
    rotated = align(old_vectors, new_vectors, old_words, new_words)
    occurring = np.flatnonzero(old_vectors.any(axis=1))
    mixed: Mixtures = {}
    new_ids = np.flatnonzero(new_vectors.any(axis=1))
    for start in range(0, len(new_ids), _SLAB):
        ids = new_ids[start : start + _SLAB]
        likeness = rotated[ids] @ old_vectors[occurring].T
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :_NEAREST]
        scores = np.take_along_axis(likeness, nearest, axis=1) / _TEMPERATURE
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed |= {int(id): (occurring[row], w) for id, row, w in zip(ids, nearest, weights, strict=True)}
    return mixed


def align(
    old_vectors: np.ndarray, new_vectors: np.ndarray, old_words: np.ndarray, new_words: np.ndarray
) -> np.ndarray:
    """Rotate the new vectors (V, D) into the space of the old ones, by orthogonal Procrustes.

    old_words, new_words: (pairs, D) translations, zero where a word does not occur in its texts. InputError where
    too few pairs occur in both.
    """
    both = old_words.any(axis=1) & new_words.any(axis=1)
    if both.sum() < _LEAST_PAIRS:
        raise InputError(
            f"adapt.rows 'wechsel': {both.sum()} of the dictionary's {len(new_words):,} word pairs occur in the "
            f"texts of both languages, {_LEAST_PAIRS} are needed: bring more text, or another adapt.dictionary"
        )
    rotation, _ = orthogonal_procrustes(new_words[both], old_words[both])
    rotated: np.ndarray = new_vectors @ rotation
    return rotated


def _words(tokenizer: Any, vectors: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """(words, D) unit vectors: the mean of a word's pieces; zero for a word none of whose pieces occurs."""
    cuts = tokenizer.backend_tokenizer.encode_batch_fast([f" {word}" for word in words], add_special_tokens=False)
    means = np.stack([vectors[cut.ids].mean(axis=0) if cut.ids else np.zeros(vectors.shape[1]) for cut in cuts])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(means, norms, out=np.zeros_like(means), where=norms > 1e-8)
    return unit
