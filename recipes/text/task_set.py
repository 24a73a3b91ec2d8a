"""Which tasks a run scores and checks its text against: the pack's under the data root, or synthetic ones."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medlingua.languages.cases import synthetic_tasks
from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import Pack, TaskSpec
from medlingua.languages.task import Task, texts_of
from medlingua.languages.tasks import available, read_task

_SEED = 7  # of the synthetic tasks: the same ones for every run
_SIZES = (120, 30, 60)  # train, dev, test cases: what two cores fine-tune on in seconds
_WORDS = (40, 120)
_LONG = "synthetic_long_"
_LONG_SIZES = (60, 20, 40)
_LONG_WORDS = (450, 700)  # more tokens than short models read


class TaskSet(NamedTuple):
    """tasks: to be scored. test_texts: by task, of every real task that the text is checked against, each once, both
    of a pair. unchecked: names of the pack's other tasks, whose files are not there or cannot be read. left_out: a
    line each on tasks that may not be used or cannot be read. warm_start: the task of eval.warm_start."""

    tasks: tuple[Task, ...]
    test_texts: dict[str, list[str]]
    unchecked: tuple[str, ...]
    left_out: tuple[str, ...]
    warm_start: Task | None = None


def find_tasks(
    pack: Pack,
    root: Path | None,
    requested: str | tuple[str, ...],
    allow: tuple[str, ...],
    warm_start: str = "",
    synthetic_text: bool = False,
    check_overlap: bool = False,
) -> TaskSet:
    """requested: "all", "none" or names. synthetic_text: whether a run trains on synthetic cases; "all" then means
    synthetic tasks where the data root has none. check_overlap: whether a run trains on text, which is checked
    against all tasks under the data root; else only what is requested is read.

    InputError for an unknown name, and for a named task whose files are missing or broken. Any other task that cannot
    be read stops nothing: a line in left_out says why.
    """
    names = requested if isinstance(requested, tuple) else ()
    synthetic = _synthetic(pack)
    long = _long(pack, synthetic) if any(name.startswith(_LONG) for name in names) else {}
    known = [*synthetic, *long, *(spec.name for spec in pack.tasks), *pack.broken_tasks]
    for name in names:
        if name in pack.broken_tasks:
            raise InputError(f"task {name}: {pack.broken_tasks[name]}")
        if name not in known:
            raise InputError(
                f"unknown task '{name}' of language {pack.code} ({nearest(name, known)}); adapt tasks lists them"
            )
    specs = {spec.name: spec for spec in pack.tasks}
    tasks: dict[str, Task] = {}
    for name in names:
        if name in specs:
            if root is None:
                raise InputError(
                    f"task {name} lies under a data root: say where with --data ROOT, or choose others: eval.tasks"
                )
            tasks[name] = read_task(specs[name], root, pack.code)
    left_out = []
    if check_overlap or requested == "all":
        left_out += [f"task {name} is left out: {problem}" for name, problem in pack.broken_tasks.items()]
    # A task that is learnt in another language tests on the same documents: read where it is named.
    listed = [spec for spec in pack.tasks if spec.learn_from is None or spec.name in names]
    for spec in listed if check_overlap or requested == "all" else ():
        if root is None or spec.name in tasks or not available(spec, root):
            continue
        try:
            tasks[spec.name] = read_task(spec, root, pack.code)
        except InputError as error:
            left_out.append(f"task {spec.name} is left out, which cannot be read: {error}")
    chosen: list[Task] = [{**synthetic, **long, **tasks}[name] for name in names]
    if requested == "all":
        for name, task in tasks.items():
            if reason := _restriction(task.spec, allow):
                left_out.append(
                    f"task {name} is left out ({reason}): --allow non-commercial, or name it in eval.tasks"
                )
            else:
                chosen.append(task)
        if not chosen and synthetic_text:
            chosen = list(synthetic.values())
    # Synthetic tasks are other cases of the corpus's own grammar: they share sentences by design.
    return TaskSet(
        tuple(chosen),
        {name: _distinct_test_texts(task) for name, task in tasks.items()},
        (*(spec.name for spec in listed if spec.name not in tasks), *pack.broken_tasks),
        tuple(left_out),
        find_tasks(pack, root, (warm_start,), allow).tasks[0] if warm_start else None,
    )


def _distinct_test_texts(task: Task) -> list[str]:
    return list(dict.fromkeys(text for example in task.test for text in texts_of(task, example)))


def _synthetic(pack: Pack) -> dict[str, Task]:
    if not (pack.folder / "cases.toml").exists():
        return {}
    return {task.spec.name: task for task in synthetic_tasks(pack, _SEED, _SIZES, _WORDS)}


def _long(pack: Pack, short: dict[str, Task]) -> dict[str, Task]:
    """The same tasks on long cases, scored where they are named."""
    tasks = {}
    for task in synthetic_tasks(pack, _SEED + 1, _LONG_SIZES, _LONG_WORDS) if short else ():
        name = _LONG + task.spec.name.removeprefix("synthetic_")
        tasks[name] = replace(task, spec=task.spec.model_copy(update={"name": name, "long": True}))
    return tasks


def _restriction(spec: TaskSpec, allow: tuple[str, ...]) -> str:
    return "non-commercial use only" if spec.non_commercial and "non-commercial" not in allow else ""
