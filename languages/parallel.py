"""Tasks whose train and dev are in one language and test in another, on texts that are parallel case by case."""

from collections.abc import Iterable
from dataclasses import replace

from .annotations import Example
from .errors import InputError
from .task import Task
from .words import compared_words

RUN = 13  # words in a row that two texts share only where they tell the same case


def with_train_of(own: Task, other: Task) -> Task:
    """`own` with train and dev of `other`, its parallel in another language; test stays.

    The n-th case of a part is the same case in both. Cases whose text shares a run of 13 words with a test text,
    in either language, are left out of train and dev, and counted: a translation of what is tested teaches it.
    InputError where the parts have other lengths, so that cases are not parallel, or another label set.
    """
    where = f"task {own.spec.name}"
    tested, elsewhere = (runs_of_words(example.document.text for example in task.test) for task in (own, other))
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
            if tested.isdisjoint(runs_of_words([here.document.text]))
            and elsewhere.isdisjoint(runs_of_words([there.document.text]))
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


def runs_of_words(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """All runs of 13 words of the texts, as `compared_words` gives them; a shorter text is one run."""
    word_runs = set()
    for text in texts:
        words = compared_words(text)
        word_runs |= {tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))}
    return word_runs
