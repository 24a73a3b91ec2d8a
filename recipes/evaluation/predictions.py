"""Entities that another system found, by their offsets: the lines that predictions/ has, scored as any model's."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from medlingua.adapters.encoder import Permission
from medlingua.languages.annotations import Span, tidy
from medlingua.languages.errors import InputError, shown
from medlingua.languages.files import parsed_json, read_text
from medlingua.languages.pack import load_pack
from medlingua.languages.task import Task
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.results import score_spans
from medlingua.recipes.text.task_set import find_tasks
from medlingua.reports.compare import write_comparison
from medlingua.reports.read import read_scores


def score_predictions(
    file: Path, lang: str, name: str, data: str | None, called: str, allow: tuple[Permission, ...], folder: Path
) -> Path:
    """Score a file of predictions and add it to `folder`. name: of the task. Returns the report's path."""
    pack = load_pack(lang)
    (task,) = find_tasks(pack, Path(data) if data else None, (name,), allow).tasks
    if task.spec.kind != "ner":
        raise InputError(f"task {name} is of kind {task.spec.kind}; predictions by offsets are of ner tasks")
    spans = read_predictions(file, task)
    if any(row.model == called and row.task == name for row in read_scores(folder / "results.jsonl")):
        raise InputError(f"{folder} has scores of '{called}' on {name} already: take another --name or --out")
    folder.mkdir(parents=True, exist_ok=True)
    score_spans(folder, called, task, pack.spacy, spans, f"read from {file.name}")
    return write_comparison(folder)


def read_predictions(path: Path, task: Task) -> list[tuple[Span, ...]]:
    """The spans of each test document: {"id": ..., "predicted": [{"fragments": [[start, end], ...], "label": ...}]}
    a line, in any order, with a "text" where offsets are to be checked; a first line without an id tells of the file.

    White space at the ends and between fragments is treated as in gold (`annotations.tidy`).
    Labels that the task lacks are counted and said; they are wrong, and kept. InputError for ids that are not those
    of the test documents, each once, and for offsets outside the text or with another text there.
    """
    if not path.is_file():
        raise InputError(f"predictions {path}: no such file")
    texts = {example.id: example.document.text for example in task.test}
    spans_of: dict[str, tuple[Span, ...]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        record = _record(line, where)
        if number == 1 and "id" not in record and "protocol" in record:
            if record.get("task") != task.spec.name:
                raise InputError(f"{where}: predictions of task {record.get('task')}, not of {task.spec.name}")
            continue
        name = str(record.get("id"))
        if name not in texts:
            raise InputError(
                f"{where}: id '{shown(name)}' is no test document of task {task.spec.name}, whose ids are like "
                f"'{shown(task.test[0].id)}'; give predictions of the same division"
            )
        if name in spans_of:
            raise InputError(f"{where}: id '{shown(name)}' comes twice; keep one line")
        predicted = record.get("predicted")
        if not isinstance(predicted, list):
            raise InputError(f'{where}: no list "predicted"; write [] where nothing was found')
        spans_of[name] = tidy((_span(item, texts[name], where) for item in predicted), texts[name])
    if absent := [name for name in texts if name not in spans_of]:
        raise InputError(
            f"{path}: {len(absent):,} of {len(texts):,} test documents lack a line, the first is '{shown(absent[0])}'"
            '; give each one, with "predicted": [] where nothing was found'
        )
    known = {*task.labels, *task.unseen}
    other = Counter(span.label for spans in spans_of.values() for span in spans if span.label not in known)
    if other:
        counts = ", ".join(f"{label} ({n})" for label, n in sorted(other.items()))
        say(f"predictions {path.name}: labels that the task lacks, all wrong: {counts}")
    return [spans_of[name] for name in texts]


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = parsed_json(line, where)
    except json.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        raise InputError(f'{where}: not {{"id": ..., "predicted": [...]}}', text=line[:200])
    return record


def _span(item: Any, text: str, where: str) -> Span:
    try:
        fragments = tuple((int(start), int(end)) for start, end in item["fragments"])
        span = Span(fragments, str(item["label"]))
    except (TypeError, ValueError, KeyError, OverflowError) as error:  # the last of Infinity
        raise InputError(
            f'{where}: a prediction is not {{"fragments": [[start, end], ...], "label": ...}}',
            text=json.dumps(item, ensure_ascii=False)[:200],
        ) from error
    offsets = ";".join(f"{start} {end}" for start, end in fragments)
    ends = [0, *(place for fragment in fragments for place in fragment)]
    if not fragments or ends != sorted(ends) or any(a == b for a, b in fragments) or ends[-1] > len(text):
        raise InputError(
            f"{where}: offsets {offsets} are not in order inside a text of {len(text):,} characters; they "
            "count characters of the text as the task has it, the end not included"
        )
    expected = item.get("text", span.surface(text))
    if expected != span.surface(text):
        raise InputError(
            f"{where}: offsets {offsets} give other words than the prediction says; they count bytes, tokens or "
            "another edition of the text",
            text=f"{span.surface(text)!r}, and the prediction says {expected!r}",
        )
    return span
