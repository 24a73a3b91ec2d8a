"""Rows of results.jsonl and files of predictions/, from whoever predicted."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from medlingua.languages.annotations import Span
from medlingua.languages.task import Task
from medlingua.languages.words import words
from medlingua.recipes.evaluation.cache import Cell
from medlingua.recipes.evaluation.provenance import record
from medlingua.recipes.evaluation.tasks.ner import Ner, all_scores, tallies_of
from medlingua.reports.bootstrap import Tally
from medlingua.reports.read import append_row, write_whole
from medlingua.reports.rows import Score


class Scored(Protocol):
    """What a score says of how it came about."""

    protocol: str
    main_metric: str
    tally: Tally
    task: Task


class _External:
    """Entities of another system."""

    def __init__(self, task: Task) -> None:
        self.task, self.protocol, self.main_metric, self.tally = task, Ner.protocol, Ner.main_metric, Ner.tally


def score_spans(folder: Path, name: str, task: Task, spacy: str, spans: list[tuple[Span, ...]], note: str) -> None:
    """Score another system's spans on the test documents of a NER task, into results.jsonl and predictions/.

    They count as one seed: how another draw would come out is not known.
    """
    record(folder, (task,))
    system = _External(task)
    scores = all_scores(task.test, spans, [words(example.document.text, spacy) for example in task.test])
    predicted = [[plain(span) for span in of] for of in spans]
    tallies = tallies_of(task.test, spans).astype(float).tolist()
    write_predictions(folder / "predictions", name, system, 0, Cell(0, {}, {}, scores, predicted, tallies))
    rows = (score_row(system, name, metric, value, 0, note) for metric, value in scores.items())
    append_row(folder / "results.jsonl", *rows)


def score_row(
    model: Scored,
    name: str,
    metric: str,
    value: float,
    seed: int | None,
    note: str,
    split: Literal["dev", "test"] = "test",
) -> Score:
    task = model.task
    examples = task.dev if split == "dev" else task.test
    return Score(
        model=name,
        task=task.spec.name,
        language=task.language,
        split=split,
        metric=metric,
        protocol=model.protocol,
        value=value,
        seed=seed,
        examples=len(examples),
        gold=sum(len(set(_items(e.gold))) for e in examples),
        synthetic=task.synthetic,
        note=note,
    )


def write_predictions(folder: Path, name: str, model: Scored, seed: int, cell: Cell) -> None:
    """predictions/<task>-<model>-<seed>.jsonl: dev's choices first, then a line a test document."""
    folder.mkdir(exist_ok=True)
    head = {
        "task": model.task.spec.name, "language": model.task.language, "model": name, "seed": seed,
        "protocol": model.protocol, "metric": model.main_metric, "tally": model.tally,
    }  # fmt: skip
    lines = [json.dumps({**head, "epoch": cell.epoch, "chosen": cell.chosen, "dev": cell.dev})]
    for example, predicted, tally in zip(model.task.test, cell.predicted, cell.tallies, strict=True):
        count = len(example.document.text.split())
        row = {"id": example.id, "words": count, "predicted": predicted, "tally": tally}
        lines.append(json.dumps(row, ensure_ascii=False))
    write_whole(folder / f"{model.task.spec.name}-{file_name(name)}-{seed}.jsonl", "\n".join(lines) + "\n")


def file_name(model: str) -> str:
    """A model's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in model)


def plain(item: Any) -> Any:
    """A span, label or value as JSON."""
    return {"fragments": item.fragments, "label": item.label} if isinstance(item, Span) else item


def in_order(predicted: Iterable[Any]) -> list[Any]:
    """Predictions of a document in one order; answers keep theirs, the best first."""
    if isinstance(predicted, list):
        return predicted
    return sorted(
        predicted, key=lambda item: (item.start, item.end, item.label) if isinstance(item, Span) else (0, 0, item)
    )


def _items(gold: Any) -> Iterable[Any]:
    return [gold] if isinstance(gold, str | float) else gold
