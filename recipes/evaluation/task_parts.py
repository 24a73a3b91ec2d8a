"""Rows of tasks.jsonl: what the tasks of an evaluation hold, in words and in each model's tokens."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from medlingua.languages.annotations import Example
from medlingua.languages.task import Task
from medlingua.languages.task_statistics import Lengths, parts_of, shared, statistics_of, texts_of
from medlingua.reports.rows import TaskPartRow, TextLengths

_LABELS = 50  # that are written, the most frequent; of codes there are thousands

Shared = dict[str, dict[str, int]]  # by part: texts in common with "train of other"


def shared_parts(tasks: Sequence[Task]) -> dict[str, Shared]:
    """By task, the texts that its parts have in common with the parts of the others of its language."""
    texts = {task.spec.name: texts_of(task) for task in tasks}
    counts: dict[str, Shared] = {name: {} for name in texts}
    for task in tasks:
        for other in tasks:
            if other is task or other.language != task.language:
                continue
            for (part, elsewhere), count in shared(texts[task.spec.name], texts[other.spec.name]).items():
                counts[task.spec.name].setdefault(part, {})[f"{elsewhere} of {other.spec.name}"] = count
    return counts


def part_rows(task: Task, model: str, tokenizer: Any, shared_by_part: Shared) -> list[TaskPartRow]:
    return [
        _row(task, part, examples, model, tokenizer, shared_by_part.get(part, {}))
        for part, examples in parts_of(task).items()
    ]


def _row(
    task: Task, part: str, examples: Sequence[Example], model: str, tokenizer: Any, shared_texts: dict[str, int]
) -> TaskPartRow:
    statistics = statistics_of(examples)
    texts = {example.document.text for example in examples}
    tokens = Lengths.of(len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    return TaskPartRow(
        task=task.spec.name,
        language=task.language,
        kind=task.spec.kind,
        part=part,
        examples=statistics.examples,
        texts=statistics.documents,
        words=_lengths(statistics.lengths),
        tokens={model: _lengths(tokens)},
        labels=dict(list(statistics.labels.items())[:_LABELS]),
        kinds=len(statistics.labels),
        without_gold=statistics.without_gold,
        spans=statistics.spans,
        nested=statistics.nested,
        discontinuous=statistics.discontinuous,
        shared=shared_texts,
    )


def _lengths(of: Lengths) -> TextLengths:
    return TextLengths(**asdict(of))
