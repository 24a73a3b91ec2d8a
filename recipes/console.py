"""What a run says while it works: lines and progress on standard error, so that output can be piped."""

import datetime
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Of many processes the first one speaks.
console = Console(stderr=True, soft_wrap=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")


_part = ""  # of a run, in front of its lines


def say(line: str) -> None:
    console.print(f"{_part}: {line}" if _part else line, markup=False)


@contextmanager
def part_of_run(name: str) -> Iterator[None]:
    """While open, each line begins with the name of the part of a run that it is about."""
    global _part
    before, _part = _part, name
    try:
        yield
    finally:
        _part = before


def in_part() -> bool:
    """Whether a part of a run is at work, and not the run itself."""
    return bool(_part)


_LOG_SECONDS = 30.0  # between two lines of a bar that nobody watches


class Bar:
    """One piece of work. `update(done, note)` moves it; done in the unit of `total`, `before` of it done earlier."""

    def __init__(
        self, label: str, total: float | None, show: Callable[[float, str], None] | None, before: float = 0
    ) -> None:
        self._label, self._total, self._show, self._before = label, total, show, before
        self._started = self._last_logged = time.monotonic()

    def update(self, done: float, note: str = "") -> None:
        if self._show is not None:
            self._show(done, note)
            return
        now = time.monotonic()
        if now - self._last_logged < _LOG_SECONDS or done <= self._before:
            return
        self._last_logged = now
        if self._total is None:
            say(f"{self._label}: {note}")
            return
        rate = (done - self._before) / (now - self._started)
        left = datetime.timedelta(seconds=round((self._total - done) / rate))
        say(f"{self._label}: {done / self._total:.0%}, {left} left  {note}")


@contextmanager
def progress(label: str, total: float | None, before: float = 0) -> Iterator[Bar]:
    """A moving bar with time left on a terminal; in a log, a line every half minute."""
    if not console.is_terminal:
        yield Bar(label, total, None, before)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=2,
    )
    with bar:
        task = bar.add_task(f"{_part}: {label}" if _part else label, total=total, completed=int(before), note="")
        yield Bar(label, total, lambda done, note: bar.update(task, completed=done, note=note))
