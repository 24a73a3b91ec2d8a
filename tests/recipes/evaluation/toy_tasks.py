"""Small tasks for tests: entities, and labels of texts."""

from typing import Any

from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task

SPEC = TaskSpec(name="toy", kind="ner")


def example(name: str, text: str, gold: Any) -> Example:
    return Example(name, Document(name, text, "toy"), gold)


def find(text: str, *marked: tuple[str, str]) -> tuple[Span, ...]:
    return tuple(sorted(Span.of(text.index(w), text.index(w) + len(w), label) for w, label in marked))


def ner_task(count: int = 6) -> Task:
    text = "Le patient souffre de fièvre jaune aiguë. Il prend du paracétamol."
    flat = find(text, ("fièvre jaune", "DISO"), ("paracétamol", "CHEM"))
    nested = (*flat, *find(text, ("fièvre", "DISO")))
    parts = [tuple(example(f"{p}{i}", text, flat) for i in range(count)) for p in ("train", "dev")]
    return Task(SPEC, "fr", parts[0], parts[1], (example("t", text, nested), example("u", text, flat)))


def label_task(kind: Any = "multilabel") -> Task:
    def gold(number: int) -> Any:
        labels = {"coeur"} if number % 3 else {"coeur", "foie"}
        return frozenset(labels) if kind == "multilabel" else sorted(labels)[-1]

    def part(name: str, count: int) -> tuple[Example, ...]:
        return tuple(example(f"{name}{i}", f"Note {i} du patient.", gold(i)) for i in range(count))

    return Task(TaskSpec(name="toy", kind=kind), "fr", part("train", 12), part("dev", 6), part("test", 6))
