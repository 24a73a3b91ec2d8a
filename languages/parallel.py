"""Tasks whose train and dev are in one language and test in another, on texts that are parallel case by case."""

from collections.abc import Callable
from dataclasses import replace

from .annotations import Example
from .errors import InputError
from .overlap import OverlapCheck
from .task import Task, texts_of

RUN = 13  # words in a row that two texts share only where they tell the same case


def with_train_of(own: Task, other: Task) -> Task:
    """`own` with train and dev of `other`, its parallel in another language; test stays.

    The n-th case of a part is the same case in both. Cases whose text shares a run of 13 words with a test text, or
    has all of a shorter one, in either language, are left out of train and dev, and counted: a translation of what is
    tested teaches it.
    InputError where the parts have other lengths, so that cases are not parallel, or another label set.
    """
    where = f"task {own.spec.name}"
    tested, tested_elsewhere = shares_test_text(own), shares_test_text(other)
    parts: dict[str, tuple[Example, ...]] = {}
    for part in ("train", "dev"):
        own_part: tuple[Example, ...] = getattr(own, part)
        other_part: tuple[Example, ...] = getattr(other, part)
        if len(own_part) != len(other_part):
            raise InputError(
                f"{where}: {len(own_part)} cases in {part} and {len(other_part)} in {other.spec.name}; tasks that "
                "are trained in another language are parallel case by case, so give files of one edition"
            )
        parts[part] = tuple(
            replace(there, id=f"{other.language}:{there.id}")
            for here, there in zip(own_part, other_part, strict=True)
            if not tested(own, here) and not tested_elsewhere(other, there)
        )
        if not parts[part]:
            raise InputError(f"{where}: every case of {part} shares text with test; nothing is left to learn from")
    if other.labels != own.labels:
        raise InputError(
            f"{where}: its {len(own.labels)} labels are not the {len(other.labels)} of {other.spec.name}; give "
            "files of one edition",
            text=f"{', '.join(own.labels)}, and {', '.join(other.labels)}",
        )
    excluded = len(own.train) + len(own.dev) - sum(map(len, parts.values()))
    return replace(own, train=parts["train"], dev=parts["dev"], train_language=other.language, excluded=excluded)


def shares_test_text(task: Task) -> Callable[[Task, Example], bool]:
    """Whether an example of a task has 13 words in a row of what `task` tests, or all words of a shorter text of it,
    as `OverlapCheck` compares them."""
    tested = (text for example in task.test for text in texts_of(task, example))
    check = OverlapCheck({task.spec.name: tested}, RUN)
    return lambda of, example: any(check.tasks_of(text) for text in texts_of(of, example))
