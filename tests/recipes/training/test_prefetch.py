"""Batches made ahead by a thread: the same ones, their errors, and no thread that is left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch
from medlingua.recipes.training.batches import Batch, Place, batches
from medlingua.recipes.training.prefetch import prefetched

from .test_batches import documents_of, shard, stream_of


def some(count: int) -> list[Batch]:
    stream = batches(stream_of(shard(documents_of([7, 30, 12, 25]))), Place(), 64, 64, 0)
    return [next(stream) for _ in range(count)]


def threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


def test_the_same_batches_come_in_the_same_order() -> None:
    expected = some(9)
    received = list(prefetched(iter(expected)))
    assert [b.after for b in received] == [b.after for b in expected]
    for a, b in zip(received, expected, strict=True):
        assert torch.equal(a.micro[0].ids, b.micro[0].ids)
    assert threads() == 0


def test_an_error_while_a_batch_is_built_is_raised_where_it_is_used() -> None:
    def broken() -> Iterator[Batch]:
        yield from some(2)
        raise OSError("the corpus is gone")

    stream = prefetched(broken())
    next(stream), next(stream)
    with pytest.raises(OSError, match="the corpus is gone"):
        next(stream)
    assert threads() == 0


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    def endless() -> Iterator[Batch]:
        while True:
            yield from some(1)

    stream = prefetched(endless())
    next(stream)
    assert threads() == 1
    stream.close()  # type: ignore[attr-defined]
    assert threads() == 0
