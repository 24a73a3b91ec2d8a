"""Tasks learnt in one language and tested in another, on texts that are parallel case by case."""

from collections.abc import Iterable
from dataclasses import replace

from .annotations import Example
from .errors import InputError
from .task import Task
from .words import compared_words

RUN = 13  # words in a row that two texts share only where they tell the same case


def learnt_on(own: Task, other: Task) -> Task:
    """`own` with train and dev of `other`, its parallel in another language; test stays.

    The n-th case of a part is the same case in both. Cases whose text shares a run of 13 words with a test text,
    in either language, are left out of train and dev, and counted: a translation of what is tested teaches it.
    InputError where the parts have other lengths, so that cases are not parallel, or another label set.
    """
    where = f"task {own.spec.name}"
    tested, elsewhere = (runs(example.document.text for example in task.test) for task in (own, other))
    parts: dict[str, tuple[Example, ...]] = {}
    for part in ("train", "dev"):
        ours: tuple[Example, ...] = getattr(own, part)
        theirs: tuple[Example, ...] = getattr(other, part)
        if len(ours) != len(theirs):
            raise InputError(
                f"{where}: {len(ours)} cases in {part} and {len(theirs)} in {other.spec.name}; tasks learnt in "
                "another language are parallel case by case, so give files of one edition"
            )
        parts[part] = tuple(
            replace(there, id=f"{other.language}:{there.id}")
            for here, there in zip(ours, theirs, strict=True)
            if tested.isdisjoint(runs([here.document.text])) and elsewhere.isdisjoint(runs([there.document.text]))
        )
        if not parts[part]:
            raise InputError(f"{where}: every case of {part} shares text with test; nothing is left to learn from")
    if other.labels != own.labels:
        raise InputError(
            f"{where}: its {len(own.labels)} labels are not the {len(other.labels)} of {other.spec.name}; give "
            "files of one edition",
            text=f"{', '.join(own.labels)}, and {', '.join(other.labels)}",
        )
    left_out = len(own.train) + len(own.dev) - sum(map(len, parts.values()))
    return replace(own, train=parts["train"], dev=parts["dev"], learnt_on=other.language, left_out=left_out)


def runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """All runs of 13 words of the texts, as `compared_words` gives them; a shorter text is one run."""
    word_runs = set()
    for text in texts:
        words = compared_words(text)
        word_runs |= {tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))}
    return word_runs
