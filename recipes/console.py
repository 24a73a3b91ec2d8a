"""What a run says while it works: lines and progress on standard error, so that output can be piped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    console.print(line, markup=False)


class Bar:
    """One progress bar. `update(done, note)` moves it; done in the unit of `total`."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Bar]:
    """A bar with time left; on a pipe or in a log a line at the end instead of a moving bar."""
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
        yield Bar(bar, bar.add_task(what, total=total, note=""))
