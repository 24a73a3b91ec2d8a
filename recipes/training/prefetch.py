"""Batches made ahead by a thread, in memory from which a GPU copies while it computes."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue

import torch
from medlingua.recipes.training.batches import Batch

_AHEAD = 2  # batches
_POLL = 0.1  # seconds between two looks at whether the other side has ended


def _pinned(batch: Batch) -> Batch:
    if not torch.cuda.is_available():
        return batch
    return batch._replace(micro=tuple(packed.pinned() for packed in batch.micro))


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches in the same order, in pinned memory; what making them raises is raised here."""
    queue: Queue[Batch | BaseException | None] = Queue(_AHEAD)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not closed.is_set():
            try:
                queue.put(item, timeout=_POLL)
                break
            except Full:
                continue

    def fill() -> None:
        try:
            for batch in batches:
                put(_pinned(batch))
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=fill, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_POLL)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
