"""One run in its folder: what every step of it is given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medlingua.recipes.settings import Run
from medlingua.recipes.text.inputs import Inputs
from medlingua.recipes.training.processes import Processes
from medlingua.recipes.training.term_lists import TermLists
from medlingua.reports.rows import EvalRow

OnEvaluation = Callable[[EvalRow], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One run in its folder. base: a folder or hub id, "" where nothing is given."""

    inputs: Inputs
    base: str
    folder: Path
    processes: Processes
    on_evaluation: OnEvaluation | None
    terms: TermLists

    @property
    def run(self) -> Run:
        return self.inputs.run

    def with_run(self, run: Run) -> "Job":
        return replace(self, inputs=replace(self.inputs, run=run))

    @property
    def source(self) -> str:
        """The model before a conversion: the base, or the base with another vocabulary."""
        changed = self.folder / "vocabulary"
        return str(changed) if changed.exists() else self.base
