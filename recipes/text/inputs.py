"""What a run reads, decided before anything is read."""

from dataclasses import dataclass
from pathlib import Path

from medlingua.languages.pack import Pack, load_pack
from medlingua.recipes.settings import Run
from medlingua.recipes.text.sources import SYNTHETIC, Selection, select
from medlingua.recipes.text.task_set import TaskSet, find_tasks


@dataclass(frozen=True, slots=True)
class Inputs:
    """A run's settings, the pack of its language, its corpora, and the tasks that it scores or must not train on."""

    run: Run
    pack: Pack
    selection: Selection
    tasks: TaskSet


def inputs_of(run: Run) -> Inputs:
    """InputError for an unknown language, corpus or task, and for files that are named and not there."""
    pack = load_pack(run.lang)
    selection = Selection((), ()) if run.data.prepared else select(run, pack)
    root = Path(run.data.root) if run.data.root else None
    synthetic = SYNTHETIC in run.data.paths
    tasks = find_tasks(pack, root, run.eval.tasks, run.allow, run.eval.warm_start, synthetic, check_overlap=True)
    return Inputs(run, pack, selection, tasks)
