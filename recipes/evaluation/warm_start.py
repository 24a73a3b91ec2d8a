"""A task learnt after another one, as questions on few documents are after SQuAD (BioBERT's BioASQ runs)."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.languages.parallel import runs
from medlingua.languages.task import Task
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.finetune import TaskModel, fit
from medlingua.recipes.settings import Eval

_NO_LABELS = ("answers", "choice", "similarity")  # kinds whose heads fit every task of the kind


def without_tested(first: Task, task: Task) -> Task:
    """`first` without the documents of train and dev that share 13 words in a row with what `task` tests; they are
    counted and said. InputError where nothing is left, and for a task that has folds."""
    if first.folds:
        raise InputError(f"eval.warm_start {first.spec.name}: a task in folds has no one train set; take another")
    tested = runs(example.document.text for example in task.test)
    parts = {
        part: tuple(e for e in getattr(first, part) if tested.isdisjoint(runs([e.document.text])))
        for part in ("train", "dev")
    }
    dropped = len(first.train) + len(first.dev) - sum(map(len, parts.values()))
    if dropped:
        say(f"warm start of {task.spec.name}: {dropped:,} documents of {first.spec.name} are left out, test has them")
    if not all(parts.values()):
        raise InputError(
            f"eval.warm_start {first.spec.name}: {task.spec.name} tests its documents, so nothing is left to learn"
        )
    return replace(first, train=parts["train"], dev=parts["dev"])


@contextmanager
def warm(
    encoder: Encoder,
    model: TaskModel,
    first: TaskModel | None,
    settings: Eval,
    seed: int,
    autocast: Callable[[], Any],
    what: str,
) -> Iterator[bool]:
    """The encoder as it is after `first`, put back at the end. Gives whether the head is fresh: it is kept where both
    tasks are of one kind and of the same labels."""  # fmt: skip
    if first is None:
        yield True
        return
    before = copy.deepcopy(encoder.model.state_dict())
    with progress(f"{what}, after {first.task.spec.name}", 1.0) as bar:
        fit(encoder, first, settings, seed, autocast, bar.update, last=False, restore=False)
    same = first.task.spec.kind == model.task.spec.kind
    fresh = not same or (model.task.spec.kind not in _NO_LABELS and first.task.labels != model.task.labels)
    if not fresh:
        model.head.load_state_dict(first.head.state_dict())
    try:
        yield fresh
    finally:
        encoder.model.load_state_dict(before)
