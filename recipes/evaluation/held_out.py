"""Bits per byte, and words recovered, on held-out text: the same masked words for every model and tokenizer.

Loss a token falls when a tokenizer cuts text into more pieces; bits per byte of the hidden words does not
(TRAPS O17, V12). Words are chosen on the text, by character; each tokenizer then hides every piece that
touches one of them. A word is recovered where the likeliest piece is right at every place that touches it.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states, pack
from medlingua.languages.words import cut, words
from medlingua.recipes.console import progress
from medlingua.reports.rows import EvalRow
from torch.nn import functional

MASK_RATE = 0.15  # of the words, always, whatever the training masks
_PASSAGE_CHARS = 1_000  # fits 512 positions with any tokenizer of these languages
_ROW_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of held-out text and the character ranges of the words to predict."""

    text: str
    masked: tuple[tuple[int, int], ...]


def passages(texts: Iterable[str], code: str) -> tuple[Passage, ...]:
    """Held-out texts cut at sentence ends, 15 % of the words of each passage chosen, from its text alone."""
    all_passages = []
    for text in texts:
        for start, end in cut(text, _PASSAGE_CHARS, code):
            passage = text[start:end]
            candidates = [(a, b) for a, b in words(passage, code) if any(c.isalnum() for c in passage[a:b])]
            if not candidates:
                continue
            seed = int.from_bytes(hashlib.blake2b(passage.encode(), digest_size=8).digest(), "big")
            count = max(1, round(MASK_RATE * len(candidates)))
            chosen = np.random.default_rng(seed).permutation(len(candidates))[:count]
            all_passages.append(Passage(passage, tuple(candidates[i] for i in sorted(chosen.tolist()))))
    return tuple(all_passages)


@dataclass(frozen=True, slots=True)
class _Hidden:
    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    words: np.ndarray  # (labels, 2): the first hidden word that each piece touches, and the one after the last
    bytes: int  # of the words that pieces stand for
    unknown_bytes: int  # of the words that the tokenizer cannot write, or drops
    unwritable: tuple[int, ...]  # those words


def _hide(passage: Passage, first_word: int, encoder: Encoder) -> list[_Hidden]:
    """A passage, whose hidden words are numbered from `first_word`, as rows of ids with those words masked.

    More than one row where it exceeds the model.
    """
    tokenizer = encoder.tokenizer
    encoding = tokenizer.backend_tokenizer.encode(passage.text, add_special_tokens=False)
    ids = np.array(encoding.ids, dtype=np.int64)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    target = np.zeros(len(ids), dtype=np.bool_)
    words_of = np.zeros((len(ids), 2), dtype=np.int64)
    unwritable = []
    known = unknown = 0
    for word, (start, end) in enumerate(passage.masked, first_word):
        touched = (offsets[:, 0] < end) & (offsets[:, 1] > start)
        size = len(passage.text[start:end].encode())
        words_of[touched & ~target, 0] = word
        words_of[touched, 1] = word + 1
        target |= touched
        if not touched.any() or (ids[touched] == tokenizer.unk_token_id).any():
            unknown += size
            unwritable.append(word)
        else:
            known += size
    shown = np.where(target, tokenizer.mask_token_id, ids)
    predicted = target & (ids != (-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id))
    room = encoder.length - 2
    rows = []
    for begin in range(0, len(ids), room):
        where = np.flatnonzero(predicted[begin : begin + room])
        framed = np.concatenate([[tokenizer.cls_token_id], shown[begin : begin + room], [tokenizer.sep_token_id]])
        labels, words_here = ids[begin + where], words_of[begin + where]
        whole = (known, unknown, tuple(unwritable)) if begin == 0 else (0, 0, ())
        rows.append(_Hidden(framed, where + 1, labels, words_here, *whole))
    return rows


@torch.no_grad()
def measure(
    encoder: Encoder,
    held_out: Sequence[Passage],
    documents: int,
    *,
    model: str,
    phase: int,
    step: int,
    tokens: int,
) -> EvalRow:
    """Loss and bits per byte of the hidden words, in fp32, and the share of them that is recovered whole.

    Bytes that the tokenizer cannot write cost 8 bits, and their words are not recovered.
    """
    first_words = np.cumsum([0, *(len(passage.masked) for passage in held_out)]).tolist()
    rows = [row for p, first in zip(held_out, first_words, strict=False) for row in _hide(p, first, encoder)]
    recovered = np.ones(first_words[-1], dtype=np.bool_)
    for row in rows:
        recovered[list(row.unwritable)] = False
    rows.sort(key=lambda row: len(row.ids))  # documents of like length in one row: less work in padding families
    nats, pieces = 0.0, 0
    transform, decoder = encoder.architecture.head(encoder.model)
    done = 0
    with progress(f"bits per byte, {model}", len(rows)) as bar:
        for group in _groups(rows):
            packed = _pack(group, encoder).to(encoder.device)
            features = transform(hidden_states(encoder, packed)[packed.label_positions])
            right = []
            for rows_of, labels in zip(torch.split(features, 512), torch.split(packed.labels, 512), strict=True):
                # Rows beyond the tokenizer have no token and are no answer (TRAPS T14).
                logits = decoder(rows_of)[:, : len(encoder.tokenizer)].float()
                nats += float(functional.cross_entropy(logits, labels, reduction="sum"))
                right.append((logits.argmax(dim=-1) == labels).cpu().numpy())
            words_of = np.concatenate([row.words for row in group])
            for first, end in words_of[~np.concatenate(right)]:
                recovered[first:end] = False
            pieces += len(packed.labels)
            done += len(group)
            bar.update(done)
    known = sum(row.bytes for row in rows)
    unknown = sum(row.unknown_bytes for row in rows)
    return EvalRow(
        model=model,
        phase=phase,
        step=step,
        tokens=tokens,
        eval_loss=nats / max(1, pieces),
        words_recovered=float(recovered.mean()),
        bits_per_byte=(nats / math.log(2) + 8 * unknown) / max(1, known + unknown),
        masked_pieces=pieces,
        masked_bytes=known + unknown,
        unknown_bytes=unknown,
        documents=documents,
    )


def _groups(rows: Sequence[_Hidden]) -> Iterable[list[_Hidden]]:
    group: list[_Hidden] = []
    for row in rows:
        if group and sum(len(r.ids) for r in group) + len(row.ids) > _ROW_TOKENS:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _pack(rows: Sequence[_Hidden], encoder: Encoder) -> Packed:
    row = pack([r.ids for r in rows], encoder.first_position, encoder.global_ids)
    offsets = row.cu_seqlens[:-1].tolist()
    where = np.concatenate([r.positions + o for r, o in zip(rows, offsets, strict=True)])
    return row.with_labels(np.concatenate([r.labels for r in rows]), where)
