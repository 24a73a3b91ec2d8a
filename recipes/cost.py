"""What a run costs, over all the processes that did a part of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medlingua.recipes import machine
from medlingua.recipes.folder import CLAIM, write
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.reports.rows import CostRow, Row

_FILE = "cost.partial.json"


class Spent(Row):
    """What was spent so far. energy_joules: None where a part was not measured."""

    seconds: float = 0.0
    energy_joules: float | None = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """The cost of a run in this process. earlier: of those before it. began: by the clock of this process, seconds.
    joules: of the machine's counter at that time, if it has one."""

    folder: Path
    earlier: Spent
    began: float
    joules: float | None

    def spent(self) -> Spent:
        """By this process and those before it: seconds and energy add up, memory is the most of any."""
        before, now, earlier = self.joules, machine.energy_joules(), self.earlier
        energy = None
        if before is not None and now is not None and earlier.energy_joules is not None:
            energy = earlier.energy_joules + now - before
        return Spent(
            seconds=earlier.seconds + time.perf_counter() - self.began,
            energy_joules=energy,
            peak_memory_bytes=max(earlier.peak_memory_bytes, machine.peak_memory_bytes()),
        )

    def save(self) -> None:
        """For the process that goes on. A folder that holds nothing but its settings may still be given back."""
        files = {path.name for path in self.folder.iterdir()}
        if files - CLAIM and "cost.json" not in files:
            write(self.folder / _FILE, self.spent())

    def finish(self, state: Checkpoint) -> None:
        """cost.json, from all parts."""
        spent = self.spent()
        row = CostRow(
            seconds=max(spent.seconds, state.seconds),  # a folder copied without its cost knows its training alone
            train_seconds=state.seconds,
            tokens=state.tokens,
            tokens_per_second=state.tokens / state.seconds if state.seconds else 0.0,
            peak_memory_bytes=spent.peak_memory_bytes,
            energy_joules=spent.energy_joules,
            resumed=state.resumed,
        )
        write(self.folder / "cost.json", row)
        (self.folder / _FILE).unlink(missing_ok=True)


@contextmanager
def metered(folder: Path) -> Iterator[Meter]:
    """A meter that goes on from the processes before it; what it has is saved where this one is stopped or fails."""
    file = folder / _FILE
    earlier = Spent.model_validate_json(file.read_text(encoding="utf-8")) if file.exists() else Spent()
    meter = Meter(folder, earlier, time.perf_counter(), machine.energy_joules())
    try:
        yield meter
    except BaseException:
        meter.save()
        raise
