"""The device of a benchmark, and how its work is timed."""

import statistics
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
BF16 = torch.bfloat16


def attempt(work: Callable[[], Any]) -> Any:
    """What the work gives, or how it failed: the others are measured all the same."""
    try:
        return work()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[-900:], "at": traceback.format_exc()[-1_200:]}


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Median, by events on a GPU."""
    times = []
    for _ in range(repeats):
        if not ON_GPU:
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return statistics.median(times)


def synchronisations(work: Callable[[], Any]) -> int | None:
    """How often the host waits for the device."""
    if not ON_GPU:
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)
