"""The stream of training: which document comes when, with which masks. A pure function of the seed.

Nothing here keeps a random state: order comes from (seed, phase, pass), masks from (seed, phase, pass,
document), so a resumed run sees what the uninterrupted one would have seen (TRAPS O6, O16).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from medlingua.adapters.packed import Packed, pack
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import WITHOUT_CORPUS, Phase
from medlingua.recipes.text.shards import Shard, mixture_of
from medlingua.recipes.training.objectives import Masker, NextToken
from medlingua.recipes.training.schedules import BatchWarmup, mask_rate

_STRETCH = 4  # contexts that a long document is read in one go, at least


@dataclass(frozen=True, slots=True)
class Place:
    """Where a phase's stream stands: the next chunk of the next document, or stretch of one, of a pass."""

    passed: int = 0
    document: int = 0
    chunk: int = 0


class Chunk(NamedTuple):
    """A piece of a document as the model reads it: ids with specials; where it predicts, and what is true there."""

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    after: Place


@dataclass(frozen=True, slots=True)
class Frame:
    """What wraps a chunk: the special ids around it, and where it may be cut (True for ids ending a sentence)."""

    first: int
    last: int
    sentence_ends: np.ndarray
    context: int


def frame_of(tokenizer: Any, context: int) -> Frame:
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    ends = np.array([bool(p) and p.rstrip("▁Ġ")[-1:] in {".", "!", "?", "…", "Ċ", "\n"} for p in pieces])
    return Frame(tokenizer.cls_token_id, tokenizer.sep_token_id, ends, context)


def cut_points(ids: np.ndarray, frame: Frame) -> list[int]:
    """Ends of a document's chunks: after a sentence in the last third of the context, or where it is full."""
    room = frame.context - 2
    ends, start = [], 0
    while len(ids) - start > room:
        candidates = np.flatnonzero(frame.sentence_ends[ids[start + room - room // 3 : start + room]])
        start += room - room // 3 + int(candidates[-1]) + 1 if len(candidates) else room
        ends.append(start)
    return [*ends, len(ids)]


def stretches(lengths: np.ndarray, context: int) -> np.ndarray:
    """How many stretches documents of so many tokens are read in, each at its own place of a pass.

    A statute or a book is longer than a thousand steps of a run; read in one go it would be all that the optimizer
    sees for as long. What fits into eight contexts stays whole.
    """
    counts: np.ndarray = np.maximum(1, lengths // (_STRETCH * context))
    return counts


def stretch_of(ids: np.ndarray, number: int, frame: Frame) -> tuple[int, int]:
    """(start, end) of one of the stretches, whose borders lie after a sentence where one ends in the last third of a
    context before the even share. ids: of the whole document, as it lies in the shard."""
    count = int(stretches(np.array(len(ids)), frame.context))
    ends = []
    for k in (number, number + 1):
        even = len(ids) * k // count
        window = (frame.context - 2) // 3 if 0 < k < count else 0
        sentence = np.flatnonzero(frame.sentence_ends[ids[even - window : even]])
        ends.append(even - window + int(sentence[-1]) + 1 if len(sentence) else even)
    return ends[0], ends[1]


class Share(NamedTuple):
    """A corpus's part in a phase: the documents that its filter lets pass, int64, and how often each comes a pass."""

    shard: Shard
    documents: np.ndarray
    repeat: float

    @property
    def tokens(self) -> int:
        """Of the documents, each read once, with the two special tokens around it."""
        return int(np.diff(self.shard.starts)[self.documents].sum()) + 2 * len(self.documents)


def shares_of(shards: tuple[Shard, ...], phase: Phase) -> list[Share]:
    """What each corpus gives to a pass of a phase. InputError where that is nothing."""
    once = [
        Share(shard, np.flatnonzero(shard.accepts & np.uint64(1 << shard.filters.index(m.filter))), 1.0)
        for shard, m in mixture_of(shards, phase.mixture)
    ]
    mixture = [m for _, m in mixture_of(shards, phase.mixture)]
    tokens = [int(np.diff(share.shard.starts)[share.documents].sum()) for share in once]
    if not sum(tokens):
        raise InputError("the corpora of this phase have no token to train on")
    weights = [m.weight for m in mixture]
    if phase.sampling_exponent is not None:
        if any(weights):
            raise InputError("mixture: weights, or data.sampling_exponent that computes them: give one of the two")
        weights = [float(n) ** phase.sampling_exponent if n else 0.0 for n in tokens]
    if not any(weights):
        if sum(m.repeat * len(share.documents) for m, share in zip(mixture, once, strict=True)) < 1:
            raise InputError("mixture: the repeat factors leave less than one document a pass")
        return [share._replace(repeat=m.repeat) for share, m in zip(once, mixture, strict=True)]
    if None in weights:
        raise InputError("mixture: give every corpus a weight, or none")
    whole, total = sum(tokens), sum(w for w in weights if w)
    repeats = [(w or 0.0) / total * whole / max(1, n) for w, n in zip(weights, tokens, strict=True)]
    return [share._replace(repeat=repeat) for share, repeat in zip(once, repeats, strict=True)]


def pass_tokens(shards: tuple[Shard, ...], phase: Phase) -> int:
    """Tokens of one pass of a phase over its corpora; 0 for a phase that reads none."""
    if phase.kind in WITHOUT_CORPUS or not phase.tokens:
        return 0
    return round(sum(share.repeat * share.tokens for share in shares_of(shards, phase)))


class Stream:
    """Chunks of one phase, from any place on, without end."""

    def __init__(
        self,
        shards: tuple[Shard, ...],
        phase: Phase,
        number: int,
        seed: int,
        frame: Frame,
        targets: Masker | NextToken,
    ) -> None:
        self._shares = shares_of(shards, phase)
        self._phase = phase
        self._seed, self._number = seed, number
        self._frame, self._targets = frame, targets
        # Each of them is predicted at its own place, or at the one before it.
        self._offset = 0 if isinstance(targets, NextToken) else 1
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, passed: int) -> np.ndarray:
        """(n, 3) int64: (part, document, stretch) in the order of a pass, repeats included."""
        if self._order is None or self._order[0] != passed:
            rng = np.random.default_rng([self._seed, self._number, passed])
            rows = []
            for part, share in enumerate(self._shares):
                times = int(share.repeat) + (rng.random(len(share.documents)) < share.repeat % 1)
                chosen = np.repeat(share.documents, times)
                lengths = np.diff(share.shard.starts)[chosen]
                counts = stretches(lengths, self._frame.context)
                first = np.repeat(np.cumsum(counts) - counts, counts)
                numbers = np.arange(counts.sum()) - first
                rows.append(np.stack([np.full(len(numbers), part), np.repeat(chosen, counts), numbers], axis=1))
            listed = np.concatenate(rows)
            self._order = (passed, listed[rng.permutation(len(listed))])
        return self._order[1]

    def chunks(self, place: Place, read: int = 0) -> Iterator[Chunk]:
        """From a place on, before which so many tokens of the phase were read."""
        while True:
            order = self.order(place.passed)
            for at in range(place.document, len(order)):
                for chunk in self._chunks_of(
                    place.passed, at, order, place.chunk if at == place.document else 0, read
                ):
                    read += len(chunk.ids)
                    yield chunk
            place = Place(place.passed + 1)

    def _targets_after(self, read: int) -> Masker | NextToken:
        """What is predicted of a document before which so many tokens were read."""
        if isinstance(self._targets, NextToken) or self._phase.mask_rate_end is None:
            return self._targets
        return replace(self._targets, rate=mask_rate(self._phase, read))

    def _chunks_of(self, passed: int, at: int, order: np.ndarray, skip: int, read: int) -> Iterator[Chunk]:
        part, document, number = order[at].tolist()
        shard = self._shares[part].shard
        begin, finish = shard.starts[document], shard.starts[document + 1]
        start, end = stretch_of(shard.tokens[begin:finish], number, self._frame)
        begin, finish = begin + start, begin + end
        ids = shard.tokens[begin:finish].astype(np.int64)
        starts = None if shard.word_starts is None else shard.word_starts[begin:finish]
        # Made from what names the document, at a third of default_rng's cost, which shows on short documents.
        # `at` too: a document that a pass repeats gets other masks each time, and so does each stretch of one.
        place, key = (0, self._number, passed, at), (self._seed, int(shard.keys[document]))
        rng = np.random.Generator(np.random.Philox(counter=place, key=key))
        ends = cut_points(ids, self._frame)
        if skip:  # read in part: its masks were drawn before that part
            read -= ends[skip - 1] + 2 * skip
        shown, predicted = self._targets_after(read)(ids, starts, rng)
        last = at == len(order) - 1
        for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            final = number == len(ends) - 1
            after = Place(passed, at, number + 1) if not final else Place(passed, at + 1)
            if final and last:
                after = Place(passed + 1)
            if number < skip:
                continue
            inside = predicted if len(ends) == 1 else predicted[(predicted >= start) & (predicted < end)]
            framed = np.empty(end - start + 2, dtype=np.int64)
            framed[0], framed[1:-1], framed[-1] = self._frame.first, shown[start:end], self._frame.last
            yield Chunk(framed, inside - start + self._offset, ids[inside], after)


class Batch(NamedTuple):
    """One optimizer step: its forward passes, the tokens it reads, what it predicts, where the stream stands.

    Of several processes each has its own forward passes, by number, of so many in all; the rest they share.
    """

    micro: tuple[Packed, ...]
    tokens: int
    targets: int
    after: Place
    numbers: tuple[int, ...] = ()  # of `micro` among all; empty: all are here
    passes: int = 0
    spare: tuple[Packed, ...] = ()  # what to go along with while a process with more passes does its last


def halved(batch: Batch) -> Batch:
    """The same step in forward passes of half the documents each. InputError where one document is all of a pass."""
    micro: list[Packed] = []
    numbers: list[int] = []
    for number, packed in zip(batch.numbers or range(len(batch.micro)), batch.micro, strict=True):
        if packed.documents == 1:
            raise InputError(
                f"a forward pass of one document, {len(packed.ids):,} tokens, does not fit into the GPU's memory: "
                "lower train.context, or set train.checkpoint_layers = true"
            )
        micro += packed.split()
        numbers += [2 * number, 2 * number + 1]
    return batch._replace(micro=tuple(micro), numbers=tuple(numbers))


class Fill(NamedTuple):
    """Rows of one length, which a compiled model wants: padding documents of at most `context` tokens fill them up.

    They have no labels, so that they count nowhere.
    """

    pad_id: int
    context: int


class Chunks(Protocol):
    """Whatever gives chunks from any place on, without end."""

    def chunks(self, place: Place, read: int = 0) -> Iterator[Chunk]: ...


def batches(
    stream: Chunks,
    place: Place,
    batch_tokens: int,
    micro_tokens: int,
    first_position: int,
    global_ids: tuple[int, ...] = (),
    rank: int = 0,
    size: int = 1,
    fill: Fill | None = None,
    read: int = 0,
    warmup: BatchWarmup | None = None,
) -> Iterator[Batch]:
    """Chunks packed into steps of at most batch_tokens; no chunk is cut or left out.

    global_ids: pieces with Longformer's global attention. rank, size: of `size` processes that go through the same
    stream, the forward passes of this one. fill: rows are filled up to micro_tokens. read: tokens of the phase before
    the place. warmup: steps begin smaller.
    """
    waiting: list[Chunk] = []
    tokens = 0
    for chunk in stream.chunks(place, read):
        most = batch_tokens if warmup is None else warmup.tokens(read)
        if waiting and tokens + len(chunk.ids) > most:
            yield _batch(waiting, micro_tokens, first_position, global_ids, rank, size, fill)
            read += tokens
            waiting, tokens = [], 0
        waiting.append(chunk)
        tokens += len(chunk.ids)


def _batch(
    chunks: list[Chunk],
    micro_tokens: int,
    first_position: int,
    global_ids: tuple[int, ...],
    rank: int,
    size: int,
    fill: Fill | None,
) -> Batch:
    def packed(group: list[Chunk]) -> Packed:
        return _packed(group, first_position, global_ids, micro_tokens, fill)

    groups: list[list[Chunk]] = [[]]
    tokens = 0
    for chunk in chunks:
        if groups[-1] and tokens + len(chunk.ids) > micro_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(chunk)
        tokens += len(chunk.ids)
    shares = dealt([sum(len(c.ids) for c in group) for group in groups], size)
    mine = shares[rank]
    idle = max(map(len, shares)) - len(mine)
    spare = (packed(min(groups, key=len)),) * idle if idle else ()
    return Batch(
        tuple(packed(groups[number]) for number in mine),
        sum(len(c.ids) for c in chunks),
        sum(len(c.labels) for c in chunks),
        chunks[-1].after,
        tuple(mine),
        len(groups),
        spare,
    )


def dealt(tokens: Sequence[int], size: int) -> list[list[int]]:
    """The forward passes, of so many tokens each, that each of `size` processes does; the longest are given first."""
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for number in sorted(range(len(tokens)), key=lambda n: -tokens[n]):
        least = loads.index(min(loads))
        shares[least].append(number)
        loads[least] += tokens[number]
    return [sorted(share) for share in shares]


def _packed(
    chunks: list[Chunk], first_position: int, global_ids: tuple[int, ...], micro_tokens: int, fill: Fill | None
) -> Packed:
    documents = [c.ids for c in chunks]
    if fill is not None:
        documents += _padding(micro_tokens - sum(map(len, documents)), fill)
    row = pack(documents, first_position, global_ids)
    offsets = row.cu_seqlens.tolist()
    where = np.concatenate([c.positions + offset for c, offset in zip(chunks, offsets, strict=False)])
    labels = np.concatenate([c.labels for c in chunks])
    return row.with_labels(labels, where)


def _padding(tokens: int, fill: Fill) -> list[np.ndarray]:
    """Documents of padding, so many tokens in all."""
    lengths = [min(fill.context, tokens - start) for start in range(0, tokens, fill.context)]
    return [np.full(length, fill.pad_id, dtype=np.int64) for length in lengths]
