"""Bits per byte, and words recovered, on held-out text: the same masked words for every model and tokenizer.

Loss a token falls when a tokenizer cuts text into more pieces (TRAPS O17, V12), and so does the loss of a word whose
pieces are predicted all at once: a vocabulary alone moves it. Here a masked word is predicted piece by piece, left to
right, the earlier pieces revealed and all other masked words still masked, so that what is measured is the
probability of the word, however it is cut (PLL-word-l2r of Kauf and Ivanova, 2023, https://arxiv.org/abs/2305.10588).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states, pack
from medlingua.languages.words import cut, words
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.masked_words import Query, mask_words, unigram_nats
from medlingua.recipes.text.shards import Shard
from medlingua.reports.rows import EvalRow
from torch.nn import functional

MASK_RATE = 0.15  # of the words, always, whatever the training masks
_PASSAGE_CHARS = 500  # fits 512 positions with any tokenizer of these languages
_SHARE = 0.25  # of the passages: each piece after a word's first costs a forward pass of its passage
_LEAST_WORDS = 400  # where a quarter of the passages has fewer, more of them are taken
_MOST_WORDS = 1_500  # where it has more, fewer: an evaluation of a base model on a CPU takes minutes
_ROW_TOKENS = 8_192
_COUNTED_TOKENS = 2_000_000  # of the training text, for the frequencies of pieces


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of held-out text and the character ranges of the words to predict."""

    text: str
    masked: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HeldOutText:
    """The passages that every evaluation of a run predicts words of, and what they were drawn from."""

    passages: tuple[Passage, ...]
    documents: int
    most_frequent_word: float  # share of the masked words that equal the most frequent word of the text around them

    @property
    def words(self) -> int:
        return sum(len(passage.masked) for passage in self.passages)


def held_out_text(texts: Sequence[str], code: str) -> HeldOutText:
    """Held-out texts cut at sentence ends into passages, 15 % of the words of each masked, by its text alone.

    A quarter of the passages is taken: more where they have fewer than 400 masked words, fewer from 1,500 words on.
    """
    drawn = sorted(_passages(texts, code), key=lambda item: (_seed(item[0].text), item[0].text))
    quarter = _SHARE * sum(len(passage.masked) for passage, _ in drawn)
    enough = min(max(_LEAST_WORDS, quarter), _MOST_WORDS)
    chosen: list[Passage] = []
    count = 0
    for passage, _ in drawn:
        if count >= enough:
            break
        chosen.append(passage)
        count += len(passage.masked)
    visible_words = Counter(word for _, words_around in drawn for word in words_around)
    frequent = visible_words.most_common(1)[0][0] if visible_words else ""
    masked = [p.text[a:b] for p in chosen for a, b in p.masked]
    return HeldOutText(tuple(chosen), len(texts), masked.count(frequent) / max(1, len(masked)))


def _passages(texts: Sequence[str], code: str) -> Iterable[tuple[Passage, list[str]]]:
    """Passages with their masked words, and the words around those."""
    for text in texts:
        for start, end in cut(text, _PASSAGE_CHARS, code):
            passage = text[start:end]
            candidates = [(a, b) for a, b in words(passage, code) if any(c.isalnum() for c in passage[a:b])]
            if not candidates:
                continue
            count = max(1, round(MASK_RATE * len(candidates)))
            order = np.random.default_rng(_seed(passage)).permutation(len(candidates)).tolist()
            masked = tuple(candidates[i] for i in sorted(order[:count]))
            yield Passage(passage, masked), [passage[slice(*candidates[i])] for i in order[count:]]


def _seed(passage: str) -> int:
    return int.from_bytes(hashlib.blake2b(passage.encode(), digest_size=8).digest(), "big")


def piece_counts(shards: Sequence[Shard], own: Any, tokenizer: Any) -> np.ndarray:
    """How often each piece of a tokenizer stands in the training text, (vocabulary,), by a sample of its documents.

    shards: written with the tokenizer `own`; for another one their documents are decoded and encoded again.
    """
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    total = sum(int(shard.starts[-1]) for shard in shards)
    every = max(1, total // _COUNTED_TOKENS)
    for shard in shards:
        for number in range(0, len(shard.starts) - 1, every):
            ids = shard.tokens[int(shard.starts[number]) : int(shard.starts[number + 1])].astype(np.int64)
            if tokenizer is not own:
                text = own.decode(ids.tolist(), clean_up_tokenization_spaces=False)
                ids = np.array(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
            counts += np.bincount(ids, minlength=len(counts))
    return counts


@torch.no_grad()
def measure(
    encoder: Encoder,
    held_out: HeldOutText,
    counts: np.ndarray,
    *,
    model: str,
    phase: int,
    step: int,
    tokens: int,
) -> EvalRow:
    """Loss and bits per byte of the masked words, in fp32, and the share of them that is recovered whole.

    counts: of the tokenizer's pieces in the training text, for what their frequencies alone give. Bytes that the
    tokenizer cannot write cost 8 bits, and their words are not recovered; a character that its normalizer changes or
    drops costs 8 bits on top of its word.
    """
    recovered = np.ones(held_out.words, dtype=np.bool_)
    queries: list[Query] = []
    size = unknown = normalized = first_word = 0
    for passage in held_out.passages:
        masked = mask_words(passage.text, passage.masked, first_word, encoder)
        first_word += len(passage.masked)
        queries += masked.queries
        recovered[list(masked.unwritable)] = False
        size, unknown = size + masked.bytes, unknown + masked.unknown_bytes
        normalized += masked.normalized_characters
    queries.sort(
        key=lambda query: len(query.ids)
    )  # documents of like length in one row: less work in padding families
    nats = _predict(encoder, queries, recovered, model)
    pieces = sum(len(query.labels) for query in queries)

    def bits_per_byte(nats: float) -> float:
        return (nats / math.log(2) + 8 * unknown + 8 * normalized) / max(1, size)

    return EvalRow(
        model=model,
        phase=phase,
        step=step,
        tokens=tokens,
        eval_loss=nats / max(1, pieces),
        words_recovered=float(recovered.mean()),
        most_frequent_word=held_out.most_frequent_word,
        bits_per_byte=bits_per_byte(nats),
        unigram_bits_per_byte=bits_per_byte(unigram_nats(queries, counts)),
        masked_words=held_out.words,
        masked_pieces=pieces,
        masked_bytes=size,
        unknown_bytes=unknown,
        normalized_characters=normalized,
        documents=held_out.documents,
    )


def _predict(encoder: Encoder, queries: Sequence[Query], recovered: np.ndarray, model: str) -> float:
    """Nats of all labels; words of which a piece is not the likeliest are struck from `recovered`."""
    transform, decoder = encoder.architecture.head(encoder.model)
    nats, done = 0.0, 0
    with progress(f"bits per byte, {model}", len(queries)) as bar:
        for group in _groups(queries):
            packed = _pack(group, encoder).to(encoder.device)
            features = transform(hidden_states(encoder, packed, packed.label_positions))
            right = []
            for rows_of, labels in zip(torch.split(features, 512), torch.split(packed.labels, 512), strict=True):
                # Rows beyond the tokenizer have no token and are no answer (TRAPS T14).
                logits = decoder(rows_of)[:, : len(encoder.tokenizer)].float()
                nats += float(functional.cross_entropy(logits, labels, reduction="sum"))
                right.append((logits.argmax(dim=-1) == labels).cpu().numpy())
            words_of = np.concatenate([query.words for query in group])
            for first, end in words_of[~np.concatenate(right)]:
                recovered[first:end] = False
            done += len(group)
            bar.update(done)
    return nats


def _groups(queries: Sequence[Query]) -> Iterable[list[Query]]:
    group: list[Query] = []
    for query in queries:
        if group and sum(len(q.ids) for q in group) + len(query.ids) > _ROW_TOKENS:
            yield group
            group = []
        group.append(query)
    if group:
        yield group


def _pack(queries: Sequence[Query], encoder: Encoder) -> Packed:
    row = pack([q.ids for q in queries], encoder.first_position, encoder.global_ids)
    offsets = row.cu_seqlens[:-1].tolist()
    where = np.concatenate([q.positions + o for q, o in zip(queries, offsets, strict=True)])
    return row.with_labels(np.concatenate([q.labels for q in queries]), where)
