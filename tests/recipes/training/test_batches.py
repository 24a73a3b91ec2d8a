"""The stream: every token once a pass, in an order and with masks that the seed alone decides."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Mixture, Phase
from medlingua.recipes.text.shards import Shard
from medlingua.recipes.training.batches import Chunk, Frame, Place, Stream, batches, cut_points, frame_of, stretch_of
from medlingua.recipes.training.objectives import Masker, masker

VOCABULARY, FIRST, LAST, MASK, END = 1_000, 2, 3, 4, 10
SPECIAL = np.arange(VOCABULARY) < 5
REPLACEMENTS = np.arange(5, VOCABULARY)


def frame(context: int) -> Frame:
    return Frame(FIRST, LAST, np.arange(VOCABULARY) == END, context)


def masks(rate: float = 0.15, unit: Any = "piece") -> Masker:
    return Masker(unit, rate, MASK, SPECIAL, REPLACEMENTS)


def shard(
    documents: list[np.ndarray], name: str = "notes", accepts: list[int] | None = None, filters: Any = ("",)
) -> Shard:
    starts = np.concatenate([[0], np.cumsum([len(d) for d in documents])]).astype(np.int64)
    return Shard(
        name,
        np.concatenate(documents).astype(np.uint16),
        starts,
        np.arange(1, len(documents) + 1, dtype=np.uint64),
        np.array(accepts or [1] * len(documents), dtype=np.uint64),
        None,
        filters,
    )


def documents_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, VOCABULARY, length) for length in lengths]


def stream_of(
    *shards: Shard, context: int = 32, seed: int = 0, mixture: tuple[Mixture, ...] = (), rate: float = 0.15
) -> Stream:
    return Stream(shards, Phase(tokens=1, mixture=mixture), 0, seed, frame(context), masks(rate))


def a_pass(stream: Stream, place: Place | None = None) -> list[Chunk]:
    begin = place or Place()
    return list(_until_pass_ends(stream, begin))


def _until_pass_ends(stream: Stream, place: Place) -> Any:
    for chunk in stream.chunks(place):
        yield chunk
        if chunk.after.passed != place.passed:
            return


def truth(chunk: Chunk) -> np.ndarray:
    """The chunk's own tokens, without what wraps it, with the hidden ones restored."""
    ids = chunk.ids.copy()
    ids[chunk.positions] = chunk.labels
    return ids[1:-1]


def equal(left: Chunk, right: Chunk) -> bool:
    return left.after == right.after and all(np.array_equal(a, b) for a, b in zip(left[:3], right[:3], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 120), min_size=1, max_size=25),
    context=st.integers(10, 40),
    seed=st.integers(0, 9),
)
def test_O7_no_token_is_lost_or_doubled_in_a_pass(lengths: list[int], context: int, seed: int) -> None:
    documents = documents_of(lengths, seed)
    stream = stream_of(shard(documents), context=context, seed=seed)
    at, by_stretch = 0, defaultdict(list)
    for chunk in a_pass(stream):
        assert len(chunk.ids) <= context
        assert chunk.ids[0] == FIRST
        assert chunk.ids[-1] == LAST
        _, document, stretch = stream.order(0)[at].tolist()
        by_stretch[document, stretch].append(truth(chunk))
        at += chunk.after.chunk == 0
    for number, document in enumerate(documents):
        read = [np.concatenate(by_stretch[key]) for key in sorted(by_stretch) if key[0] == number]
        assert np.array_equal(np.concatenate(read), document)
        assert len(read) == max(1, len(document) // (4 * context))


def test_a_book_among_notes_is_read_here_and_there() -> None:
    """In stretches of four to eight contexts, cut after sentences, between which other documents come."""
    documents = documents_of([20_000, *[60] * 300])
    book = documents[0]
    book[9::10] = END
    stream = stream_of(shard(documents), context=32)
    runs = [key == 0 for key in stream.order(0)[:, 1].tolist()]
    longest = max(sum(1 for _ in group) for is_book, group in itertools.groupby(runs) if is_book)
    assert longest < 15
    assert sum(runs) == 20_000 // 128
    borders = [stretch_of(book, number, frame(32)) for number in range(sum(runs))]
    assert [start for start, _ in borders[1:]] == [end for _, end in borders[:-1]]
    assert all(book[end - 1] == END for _, end in borders[:-1])
    assert all(128 - 11 <= end - start < 256 for start, end in borders)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=15),
    step=st.integers(40, 200),
    micro=st.integers(33, 100),
)
def test_O7_batches_hold_the_stream_and_nothing_else(lengths: list[int], step: int, micro: int) -> None:
    stream = stream_of(shard(documents_of(lengths)))
    built = list(itertools.islice(batches(stream, Place(), step, micro, 0), 8))
    chunks = list(
        itertools.islice(stream.chunks(Place()), sum(len(m.cu_seqlens) - 1 for b in built for m in b.micro))
    )
    rows = [m.ids.numpy() for b in built for m in b.micro]
    assert np.array_equal(np.concatenate(rows), np.concatenate([c.ids for c in chunks]))
    labels = [m.labels.numpy() for b in built for m in b.micro]
    assert np.array_equal(np.concatenate(labels), np.concatenate([c.labels for c in chunks]))
    for batch in built:
        assert batch.tokens == sum(len(m.ids) for m in batch.micro) <= step
        assert batch.targets == sum(len(m.labels) for m in batch.micro)
        assert all(len(m.ids) <= micro for m in batch.micro)
    assert built[-1].after == chunks[-1].after


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=15),
    step=st.integers(20, 200),
    micro=st.integers(10, 80),
    size=st.integers(2, 4),
)
def test_processes_share_a_step_without_overlap_or_loss(lengths: list[int], step: int, micro: int, size: int) -> None:
    def steps(*who: int) -> list[Any]:
        stream = stream_of(shard(documents_of(lengths)))
        return list(itertools.islice(batches(stream, Place(), step, micro, 0, (), *who), 6))

    for whole, *parts in zip(steps(), *(steps(rank, size) for rank in range(size)), strict=True):
        assert {(p.tokens, p.targets, p.after, p.passes) for p in parts} == {
            (whole.tokens, whole.targets, whole.after, len(whole.micro))
        }
        shared = {n: m for part in parts for n, m in zip(part.numbers, part.micro, strict=True)}
        assert sum(len(part.numbers) for part in parts) == len(shared) == len(whole.micro)
        assert all((shared[n].ids == m.ids).all() for n, m in enumerate(whole.micro))
        assert sum(not part.micro for part in parts) == max(0, size - len(whole.micro))


def test_a_document_is_cut_after_a_sentence_where_one_ends_late_enough() -> None:
    ids = np.full(50, 20)
    ids[[3, 22, 27]] = END
    assert cut_points(ids, frame(32)) == [28, 50]


def test_a_document_without_sentences_is_cut_where_the_context_is_full() -> None:
    assert cut_points(np.full(70, 20), frame(32)) == [30, 60, 70]


def test_the_frame_knows_the_tokenizer(encoder: Encoder) -> None:
    tokenizer_frame = frame_of(encoder.tokenizer, 64)
    tokenizer = encoder.tokenizer
    assert (tokenizer_frame.first, tokenizer_frame.last) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer_frame.sentence_ends[tokenizer.convert_tokens_to_ids(".")]
    assert not tokenizer_frame.sentence_ends[tokenizer.convert_tokens_to_ids(",")]


def test_O6_two_passes_differ_in_order_and_masks() -> None:
    stream = stream_of(shard(documents_of([30] * 40)))
    first, second = a_pass(stream), a_pass(stream, Place(1))
    assert not np.array_equal(stream.order(0), stream.order(1))

    def masks_by_document(chunks: list[Chunk]) -> dict[bytes, bytes]:
        return {truth(c).tobytes(): c.positions.tobytes() for c in chunks}

    one, other = masks_by_document(first), masks_by_document(second)
    assert one.keys() == other.keys()
    assert sum(one[key] == other[key] for key in one) < 5


def test_O6_masks_and_order_are_the_seeds() -> None:
    notes = shard(documents_of([30] * 40))
    one, same, other = (a_pass(stream_of(notes, seed=seed)) for seed in (1, 1, 2))
    assert all(map(equal, one, same))
    assert not all(map(equal, one, other))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=12), stop=st.integers(0, 60))
def test_O16_a_resumed_place_gives_the_chunks_that_would_have_come(lengths: list[int], stop: int) -> None:
    notes = shard(documents_of(lengths))
    chunks = list(itertools.islice(stream_of(notes).chunks(Place()), stop + 6))
    resumed = itertools.islice(stream_of(notes).chunks(chunks[stop].after), 5)
    assert all(map(equal, chunks[stop + 1 :], resumed))


def test_O6_a_repeated_document_gets_other_masks() -> None:
    notes = shard(documents_of([40]))
    twice = a_pass(stream_of(notes, context=64, mixture=(Mixture(corpus="notes", repeat=2),)))
    assert len(twice) == 2
    assert np.array_equal(truth(twice[0]), truth(twice[1]))
    assert not np.array_equal(twice[0].positions, twice[1].positions)


def test_half_a_repeat_takes_half_the_documents_others_each_pass() -> None:
    notes = shard(documents_of([5] * 1_000))
    stream = stream_of(notes, mixture=(Mixture(corpus="notes", repeat=0.5),))
    first, second = ({int(d) for _, d, _ in stream.order(passed)} for passed in (0, 1))
    assert 420 < len(first) < 580
    assert first != second


def test_weights_are_shares_of_the_tokens_of_a_pass() -> None:
    small, large = shard(documents_of([20] * 50), "small"), shard(documents_of([20] * 950), "large")
    mixture = (Mixture(corpus="small", weight=1), Mixture(corpus="large", weight=3))
    parts = stream_of(small, large, mixture=mixture).order(0)[:, 0]
    assert np.mean(parts == 0) == pytest.approx(0.25, abs=0.04)


def test_repeats_with_an_empty_pass_are_refused_not_waited_for() -> None:
    with pytest.raises(InputError, match="less than one document a pass"):
        stream_of(shard(documents_of([5] * 3)), mixture=(Mixture(corpus="notes", repeat=0.01),))


def test_a_weight_for_some_corpora_only_is_refused() -> None:
    one, other = shard(documents_of([5]), "one"), shard(documents_of([5]), "other")
    with pytest.raises(InputError, match="every corpus a weight"):
        stream_of(one, other, mixture=(Mixture(corpus="one", weight=1), Mixture(corpus="other")))


def test_a_filter_keeps_the_documents_it_takes() -> None:
    documents = documents_of([12] * 6)
    notes = shard(documents, accepts=[1, 3, 1, 3, 1, 1], filters=("", "x > 1"))
    chunks = a_pass(stream_of(notes, mixture=(Mixture(corpus="notes", filter="x > 1"),)))
    assert {tuple(truth(c).tolist()) for c in chunks} == {tuple(documents[i].tolist()) for i in (1, 3)}


@pytest.mark.parametrize("length", [1, 2, 7, 16, 64, 1_001])
@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_O4_the_share_is_exact_in_each_document(length: int, rate: float) -> None:
    ids = np.arange(length) % 900 + 5
    for seed in range(20):
        _, chosen = masks(rate)(ids, None, np.random.default_rng(seed))
        assert len(chosen) == len(set(chosen.tolist())) == max(1, round(rate * length))


def test_O5_specials_are_neither_masked_nor_drawn() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, 100_000)
    shown, chosen = masks(0.9)(ids, None, rng)
    assert not SPECIAL[ids[chosen]].any()
    changed = chosen[(shown[chosen] != MASK) & (shown[chosen] != ids[chosen])]
    assert len(changed) > 5_000
    assert not SPECIAL[shown[changed]].any()
    assert np.array_equal(np.delete(shown, chosen), np.delete(ids, chosen))


def test_O5_the_masker_of_a_tokenizer_knows_its_specials(encoder: Encoder) -> None:
    built = masker(encoder.tokenizer, "piece", 0.15)
    specials = set(encoder.tokenizer.all_special_ids)
    assert set(np.flatnonzero(built.special).tolist()) == specials
    assert not specials & set(built.replacements.tolist())


def test_eighty_ten_ten() -> None:
    ids = np.full(700_000, 500)
    shown, chosen = masks(0.15)(ids, None, np.random.default_rng(3))
    assert len(chosen) > 100_000
    hidden, unchanged = np.mean(shown[chosen] == MASK), np.mean(shown[chosen] == 500)
    assert hidden == pytest.approx(0.8, abs=0.005)
    assert unchanged == pytest.approx(0.1, abs=0.005)


def test_whole_words_are_hidden_whole() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 5, 400)
    starts = np.zeros(sizes.sum(), dtype=np.bool_)
    starts[np.concatenate([[0], np.cumsum(sizes)[:-1]])] = True
    word = np.cumsum(starts)
    _, chosen = masks(0.15, "word")(rng.integers(5, VOCABULARY, len(starts)), starts, rng)
    assert np.array_equal(np.flatnonzero(np.isin(word, word[chosen])), chosen)
    assert len(chosen) == pytest.approx(0.15 * len(starts), abs=4)
