"""Documents as a model reads them: whole, in overlapping windows where they exceed it.

Every token is owned by one window, the one where it has most context on both sides, so nothing is cut away
and nothing is counted twice (TRAPS V1, V5).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import hidden_states, on_device, pack
from medlingua.languages.errors import InputError
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document as the model reads it. N tokens, W windows.

    windows: id arrays with special tokens. window, place: (N,) int64, the window that owns each token and the
    token's place in it. offsets: (N, 2) int64, characters of the text. question_tokens: how many of the N, from the
    first on, are the question's, repeated for each window; they have no offsets.
    """

    windows: tuple[np.ndarray, ...]
    window: np.ndarray
    place: np.ndarray
    offsets: np.ndarray
    question_tokens: int = 0

    @property
    def tokens(self) -> int:
        return len(self.offsets)

    @property
    def size(self) -> int:
        return sum(len(w) for w in self.windows)


def encode_document(encoder: Encoder, text: str, question: str = "") -> EncodedDocument:
    """Tokenize a document and lay windows over it that the model can hold.

    As few as leave neighbours a quarter of the model's length in common, and all of one size: a document a
    little longer than the model is read in two halves, not in two full windows that share nearly all. A question
    opens every window, as the tokenizer joins pairs. InputError where it leaves the document less than a quarter.
    """
    tokenizer = encoder.tokenizer
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    ids = np.array(encoding.ids, dtype=np.int64)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    head, question_tokens = _head(tokenizer, question)
    room = encoder.length - len(head) - 1
    if room < encoder.length // 4:
        raise InputError(
            f"a question of {len(head):,} tokens leaves {max(0, room):,} of {encoder.length:,} for its document. "
            "Take a model that reads more",
            text=question[:200],
        )
    overlap = room // 4
    count = math.ceil((len(ids) - overlap) / (room - overlap)) if len(ids) > room else 1
    size = math.ceil((len(ids) + (count - 1) * overlap) / count)
    starts = np.linspace(0, max(0, len(ids) - size), count).astype(np.int64)
    ends = np.minimum(starts + size, len(ids))
    window = _owners(len(ids), starts, ends)
    last = [tokenizer.sep_token_id]
    framed = tuple(np.concatenate([head, ids[a:b], last]) for a, b in zip(starts, ends, strict=True))
    place = np.arange(len(ids)) - starts[window] + len(head)
    return EncodedDocument(
        framed,
        np.concatenate([np.repeat(np.arange(count), len(question_tokens)), window]),
        np.concatenate([np.tile(question_tokens, count), place]),
        np.concatenate([np.zeros((count * len(question_tokens), 2), dtype=np.int64), offsets]),
        count * len(question_tokens),
    )


def _owners(tokens: int, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(tokens,) the window in which each token has most context on its poorer side, the first of equals.

    No token lies in more than three windows, so three are compared. At the text's own ends a window loses nothing.
    """
    if not tokens:
        return np.empty(0, dtype=np.int64)
    token = np.arange(tokens)[:, None]
    last = np.searchsorted(starts, token[:, 0], side="right") - 1
    near = np.maximum(last[:, None] + np.arange(-2, 1), 0)
    left = np.where(starts[near] == 0, tokens, token - starts[near])
    right = np.where(ends[near] == tokens, tokens, ends[near] - 1 - token)
    margin = np.where(token < ends[near], np.minimum(left, right), -1)
    owners: np.ndarray = near[np.arange(tokens), margin.argmax(axis=1)]
    return owners


def first_tokens(document: EncodedDocument) -> EncodedDocument:
    """The first token of each window in place of the document's own tokens; it has no offsets."""
    count = len(document.windows)
    zeros = np.zeros(count, dtype=np.int64)
    return EncodedDocument(document.windows, np.arange(count), zeros, np.zeros((count, 2), dtype=np.int64))


def fitting_question(encoder: Encoder, question: str) -> str:
    """The question, or as much of it as leaves its document a quarter of the model's length."""
    if not question:
        return question
    head, tokens = _head(encoder.tokenizer, question)
    excess = encoder.length // 4 - (encoder.length - len(head) - 1)
    if excess <= 0:
        return question
    offsets = encoder.tokenizer.backend_tokenizer.encode(question, add_special_tokens=False).offsets
    return question[: offsets[len(tokens) - excess - 1][1]] if len(tokens) > excess else question[:1]


def _head(tokenizer: Any, question: str) -> tuple[np.ndarray, np.ndarray]:
    """What stands before a document's tokens, and where in it the question is: the first special token alone, or the
    question and what divides a pair."""
    if not question:
        return np.array([tokenizer.cls_token_id], dtype=np.int64), np.empty(0, dtype=np.int64)
    pair = tokenizer.backend_tokenizer.encode(question, "a")  # an empty second text would make no pair
    end = pair.sequence_ids.index(1)
    question_tokens = [place for place, side in enumerate(pair.sequence_ids[:end]) if side == 0]
    return np.array(pair.ids[:end], dtype=np.int64), np.array(question_tokens, dtype=np.int64)


def joined(reads: Sequence[EncodedDocument]) -> EncodedDocument:
    """Several readings as one: all windows, all tokens in their order."""
    firsts = np.cumsum([0, *(len(r.windows) for r in reads)])
    return EncodedDocument(
        tuple(window for r in reads for window in r.windows),
        np.concatenate([r.window + first for r, first in zip(reads, firsts, strict=False)]),
        np.concatenate([r.place for r in reads]),
        np.concatenate([r.offsets for r in reads]),
    )


def mean_of(states: Tensor, owner: np.ndarray, owners: int) -> Tensor:
    """Mean states of what belongs together: states (N, width), owner (N,) -> (owners, width) fp32; zero for none."""
    of = on_device(torch.from_numpy(owner), states.device)
    total = torch.zeros(owners, states.shape[1], device=states.device).index_add(0, of, states.float())
    counts = np.bincount(owner, minlength=owners).clip(min=1)  # a GPU would be waited for to know the largest owner
    return total / on_device(torch.from_numpy(counts), states.device)[:, None]


def token_states(encoder: Encoder, documents: Sequence[EncodedDocument]) -> Tensor:
    """Hidden states of all tokens of the documents, in reading order: (sum of N, width)."""
    windows = [w for document in documents for w in document.windows]
    starts = np.concatenate([[0], np.cumsum([len(w) for w in windows])])
    where, first = [], 0
    for document in documents:
        where.append(starts[first + document.window] + document.place)
        first += len(document.windows)
    packed = pack(windows, encoder.first_position, encoder.global_ids).to(encoder.device)
    return hidden_states(encoder, packed)[on_device(torch.from_numpy(np.concatenate(where)), encoder.device)]


States = Callable[[Sequence[EncodedDocument]], Tensor]  # of documents, as token_states gives them
