"""Questions that leave a model no room for their documents: named before anything is trained, or cut where asked."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError, shown
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.reading import fitting_question

CUT = "long questions cut"  # in the protocol


def check_questions(models: Mapping[str, str], tasks: Iterable[Task], allow: Iterable[Permission]) -> None:
    """InputError for the first question that is too long for one of the models (name -> folder or hub id)."""
    asking = [task for task in tasks if any(question_of(example, task) for example in _examples(task))]
    for name, where in models.items() if asking else ():
        encoder = encoders.load(where, head="fresh", allow=allow)
        for task in asking:
            long = [e for e in _examples(task) if _cut(e, task, encoder) is not e]
            if long:
                raise InputError(
                    f"task {task.spec.name}: {len(long):,} of {len(_examples(task)):,} questions leave {name} too "
                    f"little room for their documents (it reads {encoder.length:,} tokens), the first is "
                    f"{shown(long[0].id)}. Take a model that reads more, or cut them: --set eval.long_questions=cut",
                    text=question_of(long[0], task)[:200],
                )


def cut_questions(task: Task, encoder: Encoder) -> tuple[Task, int]:
    """The task with questions as long as the encoder can hold with a quarter of its length for the document, and how
    many were cut."""
    train, dev, test = (tuple(_cut(e, task, encoder) for e in part) for part in (task.train, task.dev, task.test))
    changed = sum(a is not b for a, b in zip((*train, *dev, *test), _examples(task), strict=True))
    folds = tuple(cut_questions(fold, encoder)[0] for fold in task.folds)
    return replace(task, train=train, dev=dev, test=test, folds=folds), changed


def question_of(example: Example, task: Task) -> str:
    """What opens every window: of a choice it is the document, and each option is read after it."""
    return example.document.text if task.spec.kind == "choice" else example.question


def _cut(example: Example, task: Task, encoder: Encoder) -> Example:
    question = question_of(example, task)
    shorter = fitting_question(encoder, question)
    if shorter == question:
        return example
    if task.spec.kind == "choice":
        return replace(example, document=replace(example.document, text=shorter))
    return replace(example, question=shorter)


def _examples(task: Task) -> tuple[Example, ...]:
    return (*task.train, *task.dev, *task.test)
