"""A task learnt after another one, as questions on few documents are after SQuAD (BioBERT's BioASQ runs), and what a
model may have learnt of a task before."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.lineage import Lineage
from medlingua.languages.pack import Overlap
from medlingua.languages.parallel import shares_test_text
from medlingua.languages.task import Task
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.finetune import Passes, TaskModel, fit
from medlingua.recipes.settings import Eval

_NO_LABELS = ("answers", "choice", "similarity")  # kinds whose heads fit every task of the kind


def without_tested(first: Task, task: Task, overlaps: Sequence[Overlap] = ()) -> Task:
    """`first` without the examples of train and dev that have 13 words in a row of what `task` tests, or all of a
    shorter text of it; their number is reported. Where `overlaps` says that the two hold the same documents, those
    with the id of a tested one are left out too: a translation shares no words. InputError where nothing is left, and
    for a task with folds."""
    if first.folds:
        raise InputError(f"eval.warm_start {first.spec.name}: a task in folds has no one train set; take another")
    tested = shares_test_text(task)
    known = next((overlap for overlap in overlaps if overlap.holds(first.spec.name, task.spec.name)), None)
    ids = {_case(example) for example in task.test} if known else set()
    parts = {
        part: tuple(e for e in getattr(first, part) if not tested(first, e) and _case(e) not in ids)
        for part in ("train", "dev")
    }
    dropped = len(first.train) + len(first.dev) - sum(map(len, parts.values()))
    if known:
        say(
            f"{first.spec.name} and {task.spec.name} hold the same documents: {known.reason} {dropped:,} documents "
            f"of {first.spec.name} that {task.spec.name} tests are left out of the warm start"
        )
    elif dropped:
        say(f"warm start of {task.spec.name}: {dropped:,} documents of {first.spec.name} are left out, test has them")
    if not all(parts.values()):
        raise InputError(
            f"eval.warm_start {first.spec.name}: {task.spec.name} tests its documents, so nothing is left to learn"
        )
    return replace(first, train=parts["train"], dev=parts["dev"])


def overlap_lines(model: str, lineage: Lineage, task: Task, overlaps: Sequence[Overlap]) -> list[str]:
    """A line for each corpus that a model was trained on and that is known to hold documents of a task."""
    trained = (
        corpus if step.language == task.language else f"{step.language}/{corpus}"
        for step in lineage.steps
        for corpus in step.corpora
    )
    return [
        f"{model} was trained on {corpus}, which has documents of {task.spec.name}: {overlap.reason} A run leaves "
        "out those that share words with a test part at hand, not translations"
        for corpus in dict.fromkeys(trained)
        for overlap in overlaps
        if overlap.holds(corpus, task.spec.name)
    ]


def _case(example: Example) -> str:
    """The id of a case without the folders that it lies in."""
    return PurePosixPath(example.id).name


@contextmanager
def warm(
    encoder: Encoder,
    model: TaskModel,
    first: TaskModel | None,
    settings: Eval,
    seed: int,
    passes: Passes,
    what: str,
) -> Iterator[bool]:
    """The encoder as it is after `first`, put back at the end. Gives whether the head is fresh: it is kept where both
    tasks are of one kind and of the same labels."""  # fmt: skip
    if first is None:
        yield True
        return
    before = copy.deepcopy(encoder.model.state_dict())
    with progress(f"{what}, after {first.task.spec.name}", 1.0) as bar:
        fit(encoder, first, settings, seed, passes, bar.update, last=False, restore=False)
    same = first.task.spec.kind == model.task.spec.kind
    fresh = not same or (model.task.spec.kind not in _NO_LABELS and first.task.labels != model.task.labels)
    if not fresh:
        model.head.load_state_dict(first.head.state_dict())
    try:
        yield fresh
    finally:
        encoder.model.load_state_dict(before)
