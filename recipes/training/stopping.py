"""Requests to stop: signals that a training loop hears between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from medlingua.recipes.console import say


class Interrupted(Exception):
    """SIGTERM, SIGUSR1 or Ctrl-C: the state is saved, and the same command resumes the run."""


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that SIGTERM, SIGUSR1 and Ctrl-C set while the context is open.

    Ctrl-C keeps being ignored where it was, as in the background of a script. A second Ctrl-C does what it did
    before. Only the main thread can hear signals; in any other one the event is never set.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    ctrl_c = signal.getsignal(signal.SIGINT)
    ignored = ctrl_c is signal.SIG_IGN

    def request(number: int, frame: FrameType | None) -> None:
        requested.set()
        signal.signal(signal.SIGINT, ctrl_c)
        say("saving, then stopping" + ("" if ignored else " (Ctrl-C again stops at once)"))

    signals = {signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)}  # Windows has no SIGUSR1
    if not ignored:
        signals.add(signal.SIGINT)
    before: dict[int, Any] = {number: signal.signal(number, request) for number in signals}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
