"""A labelled task as three disjoint parts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .annotations import Example, Gold
from .pack import TaskSpec

_PAIRED = ("pairs", "similarity")


@dataclass(frozen=True, slots=True)
class Task:
    """Examples to learn from (train), to choose by (dev) and to score once (test).

    folds: tasks of their own whose test parts make up the test part of this one, which then has no other part.
    train_language: of train and dev, where it is another one. excluded: cases of them that are in test, too.
    notes: a line each on what the reader changed or left out. terminology: codes and terms, of normalization.
    label_set: the labels where there are no examples, as of a fine-tuned model that reads new text.
    """

    spec: TaskSpec
    language: str
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    synthetic: bool = False
    folds: tuple["Task", ...] = ()
    train_language: str = ""
    excluded: int = 0
    notes: tuple[str, ...] = ()
    terminology: tuple[tuple[str, str], ...] = ()
    label_set: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of train and dev, sorted: what a model can learn. See `unseen` for the rest."""
        if self.label_set:
            return self.label_set
        if self.folds:
            return tuple(sorted({label for fold in self.folds for label in fold.labels}))
        return tuple(sorted(_count((*self.train, *self.dev))))

    @property
    def unseen(self) -> Mapping[str, int]:
        """Labels that only test has, with their counts. They stay in its gold: every one is missed."""
        known = set(self.labels)
        return {label: n for label, n in sorted(_count(self.test).items()) if label not in known}


def texts_of(task: Task, example: Example) -> tuple[str, ...]:
    """The texts of an example that must not be learnt before they are tested: its document and, of a pair, the other
    text. What is asked of a passage is not among them: the same question comes with many."""
    if task.spec.kind in _PAIRED:
        return (example.document.text, example.question)
    return (example.document.text,)


def labels_of(gold: Gold) -> tuple[str, ...]:
    """The labels of one gold, one a span or set member; a value has none."""
    if isinstance(gold, float):
        return ()
    if isinstance(gold, str):
        return (gold,)
    return tuple(item if isinstance(item, str) else item.label for item in gold)


def _count(examples: Iterable[Example]) -> Counter[str]:
    return Counter(label for example in examples for label in labels_of(example.gold))
