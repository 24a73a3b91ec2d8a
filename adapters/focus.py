"""FOCUS: new embeddings as sparse mixtures of those of shared pieces that are similar in the corpus.

Dobler and de Melo, arXiv 2305.14481: similarities of static vectors learned on the target text with the new
tokenizer, and sparsemax over the pieces that both vocabularies have. The paper takes fastText; these vectors are
PPMI with a truncated SVD (Levy and Goldberg 2014), which needs no other package and is reproducible.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import LinearOperator, eigsh

_WIDTH, _WINDOW = 128, 5
_MOST_TOKENS = 4_000_000
_SLAB = 500  # texts tokenized in one call
_NEAREST = 64  # shared pieces that a mixture is made of at most
_SMOOTH = 0.75  # power on the contexts' frequencies (Levy et al. 2015)


def piece_vectors(tokenizer: Any, texts: Iterable[str]) -> np.ndarray:
    """Unit vectors (V, 128) float32 of all pieces, from their co-occurrence in the texts; zero for a piece that does
    not occur. Reads at most about four million pieces of the texts."""
    size = len(tokenizer)
    counts = csr_matrix((size, size), dtype=np.float64)
    remaining, tokens_seen = iter(texts), 0
    while tokens_seen < _MOST_TOKENS and (slab := list(islice(remaining, _SLAB))):
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(slab, add_special_tokens=False)
        ids = np.concatenate([[*encoding.ids, *[-1] * _WINDOW] for encoding in encodings]).astype(np.int64)
        tokens_seen += len(ids)
        for distance in range(1, _WINDOW + 1):
            left, right = ids[:-distance], ids[distance:]
            inside = (left >= 0) & (right >= 0)
            weight = np.full(inside.sum(), 1 / distance)
            counts = counts + coo_matrix((weight, (left[inside], right[inside])), (size, size)).tocsr()
    counts = counts + counts.T
    vectors = np.zeros((size, _WIDTH), dtype=np.float32)
    width = min(_WIDTH, size - 2)
    ppmi = _ppmi(counts)
    if ppmi.nnz:
        vectors[:, :width] = _left_singular(ppmi, width)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-8)
    return unit


def _left_singular(matrix: csr_matrix, width: int) -> np.ndarray:
    """The first left singular vectors, each by the root of its singular value: (V, width), columns in any order.

    By eigsh on the Gram matrix, as scipy's svds does, which takes no generator for the vectors that a
    matrix of low rank makes ARPACK draw: two runs would start from different rows.
    """
    size = matrix.shape[0]
    gram = LinearOperator((size, size), matvec=lambda x: matrix.T @ (matrix @ x), dtype=np.float64)
    values, right = eigsh(gram, k=width, v0=np.ones(size) / np.sqrt(size), rng=np.random.default_rng(0))
    roots = np.maximum(values, 1e-12) ** 0.25
    left: np.ndarray = (matrix @ right) / roots
    return left


def _ppmi(counts: csr_matrix) -> csr_matrix:
    """Positive pointwise mutual information, contexts smoothed."""
    pairs = counts.tocoo()
    rows = np.asarray(counts.sum(axis=1)).ravel()
    contexts = rows**_SMOOTH
    total, contexts = rows.sum(), contexts / max(contexts.sum(), 1e-12)
    expected = rows[pairs.row] * contexts[pairs.col]
    information = np.log(np.maximum(pairs.data, 1e-12) / np.maximum(expected, 1e-12)) if total else pairs.data
    positive = information > 0
    where = (pairs.row[positive], pairs.col[positive])
    return coo_matrix((information[positive], where), counts.shape).tocsr()


def mixtures(vectors: np.ndarray, new_ids: np.ndarray, shared: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each new piece, the shared pieces that it is mixed from, and their weights, which sum to one.

    vectors: unit vectors (V, D). new_ids, shared: ids of pieces. Empty for a piece that does not occur in the texts.
    """
    mixed = []
    occurring = shared[np.abs(vectors[shared]).sum(axis=1) > 0]
    for start in range(0, len(new_ids), 1_000):
        likeness = vectors[new_ids[start : start + 1_000]] @ vectors[occurring].T
        for likenesses, id in zip(likeness, new_ids[start : start + 1_000], strict=True):
            if not vectors[id].any() or not len(occurring):
                mixed.append((np.empty(0, dtype=np.int64), np.empty(0)))
                continue
            nearest = np.argsort(-likenesses, kind="stable")[:_NEAREST]
            weights = sparsemax(likenesses[nearest])
            mixed.append((occurring[nearest[weights > 0]], weights[weights > 0]))
    return mixed


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex to scores (n,) (Martins and Astudillo, arXiv 1602.02068)."""
    ordered = -np.sort(-scores.astype(np.float64))
    total = np.cumsum(ordered)
    place = np.arange(1, len(scores) + 1)
    support = int(place[1 + place * ordered > total][-1])
    threshold = (total[support - 1] - 1) / support
    return np.maximum(scores - threshold, 0)  # type: ignore[no-any-return]
