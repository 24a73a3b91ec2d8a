"""`adapt select --prompts` and `--answers`: labels of a language model, spread by a fine-tuned encoder."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Permission
from medlingua.languages.annotations import Example
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError, shown
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes import machine
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.candidate import passes_of
from medlingua.recipes.evaluation.finetune import fit, in_batches
from medlingua.recipes.evaluation.heads import task_model
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.settings import Eval
from medlingua.recipes.text.annotation import Answers, Column, Schema, prompts, sampled
from medlingua.reports.read import write_whole
from sklearn.metrics import accuracy_score, cohen_kappa_score

_LEAST = 20  # answers: 14 to learn from, 2 to choose by, 4 to be held against
_TEST, _DEV = 0.2, 0.1


class Spread(NamedTuple):
    """A column of labels for texts by id, with the probability of each."""

    column: Column
    labels: dict[str, str]
    probabilities: dict[str, float]


def write_prompts(documents: Iterator[Document], schema: Schema, count: int, file: Path) -> str:
    """What a language model is asked on a sample of texts, as JSONL. Returns a line on what was written."""
    if file.exists():
        raise InputError(f"--prompts {file} exists; give the name of another file")
    with progress("sampling", None) as bar:
        chosen = sampled(_counted(documents, bar), count)
    if not chosen:
        raise InputError("--prompts: the corpora have no text")
    file.parent.mkdir(parents=True, exist_ok=True)
    records = prompts(chosen, schema)
    write_whole(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    columns = ", ".join(column.name for column in schema.columns)
    return f"{file}: {len(chosen):,} prompts that ask for {columns}"


def _counted(documents: Iterator[Document], bar: Any) -> Iterator[Document]:
    for number, document in enumerate(documents, 1):
        bar.update(number, f"{number:,} texts")
        yield document


def spread(
    documents: Sequence[Document], answers: Answers, schema: Schema, base: str, lang: str, spacy: str,
    settings: Eval, allow: tuple[Permission, ...],
) -> Iterator[Spread]:  # fmt: skip
    """Fine-tune the base on the answers, a column at a time, and label all texts.

    Agreement with answers that were not learnt from is said: accuracy, Cohen's kappa, and the accuracy of the most
    frequent value. InputError for too few answers, or answers on other texts.
    """
    by_id = {document.id: document for document in documents}
    if len(by_id) < len(documents):
        raise InputError("--answers: two texts of the corpora have the same id; give one corpus at a time")
    if unknown := [id for id in answers.labels if id not in by_id]:
        raise InputError(
            f"--answers: {len(unknown):,} of {len(answers.labels):,} are on texts that the corpora do not have, the "
            f"first is '{shown(unknown[0])}'; give the same corpora, and --paragraphs as for the prompts"
        )
    if answers.wrong:
        counts = ", ".join(f"{n:,} {what}" for what, n in sorted(answers.wrong.items()))
        say(f"--answers: {sum(answers.wrong.values()):,} hold no answer and are left out: {counts}")
    if len(answers.labels) < _LEAST:
        raise InputError(f"--answers: {len(answers.labels)} answers; at least {_LEAST} are needed to learn from")
    for column in schema.columns:
        yield _spread_column(column, documents, answers, base, lang, spacy, settings, allow)


def _spread_column(
    column: Column, documents: Sequence[Document], answers: Answers, base: str, lang: str, spacy: str,
    settings: Eval, allow: tuple[Permission, ...],
) -> Spread:  # fmt: skip
    task = _task(column, documents, answers, lang)
    if len(task.labels) < 2:
        raise InputError(
            f"--answers: {column.name} has one value alone, '{task.labels[0]}'; leave it out of the schema"
        )
    encoder = encoders.load(base, head="fresh", allow=allow)
    encoder.model.to(machine.device())
    model = task_model(task, encoder, spacy, settings)
    passes = passes_of(encoder, machine.precision_of("auto", encoder.device))
    with progress(f"learning {column.name}", 1.0) as bar:
        fitted = fit(encoder, model, settings, 0, passes, bar.update, restore=False)
    gold = [str(example.gold) for example in task.test]
    predicted = ["".join(labels) for labels in fitted.decided]  # one each
    accuracy, kappa = accuracy_score(gold, predicted), cohen_kappa_score(gold, predicted)
    common = max(Counter(gold).values()) / len(gold)
    say(
        f"{column.name}: learnt from {len(task.train):,} answers; on {len(gold):,} others accuracy {accuracy:.3f}, "
        f"Cohen's kappa {kappa:.3f} (the most frequent value alone: {common:.3f})"
    )
    labels, probabilities = {}, {}
    encoder.model.eval()
    with progress(f"{column.name} of all texts", len(documents)) as bar, torch.no_grad(), passes.autocast():
        for start in range(0, len(documents), settings.batch_documents * 8):
            part = documents[start : start + settings.batch_documents * 8]
            encoded = [model.encode(Example(d.id, d, task.labels[0])) for d in part]
            shares = in_batches(
                encoded,
                settings,
                lambda group: model.predict(token_states(encoder, [e.document for e in group]), group),
            )
            for document, share in zip(part, shares, strict=True):
                labels[document.id] = task.labels[int(share.argmax())]
                probabilities[document.id] = float(share.max())
            bar.update(start + len(part))
    return Spread(column, labels, probabilities)


def _task(column: Column, documents: Sequence[Document], answers: Answers, lang: str) -> Task:
    """The answers on a column as a task; paragraphs of one document are in one part."""
    parts: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for document in documents:
        if document.id in answers.labels:
            label = answers.labels[document.id][column.name]
            parts[_part_of(document.id)].append(Example(document.id, document, label))
    for part in ("dev", "test"):  # few documents may leave one empty
        if not parts[part]:
            parts[part].append(parts["train"].pop())
    spec = TaskSpec(name=column.name, kind="classification")
    return Task(spec, lang, tuple(parts["train"]), tuple(parts["dev"]), tuple(parts["test"]))


def _part_of(id: str) -> str:
    digest = hashlib.blake2b(id.partition("#")[0].encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return "test" if place < _TEST else "dev" if place < _TEST + _DEV else "train"


def value_of(column: Column, label: str) -> float | str:
    """A label as a cell: a number where all values of the column are numbers, so that a filter can compare it."""
    try:
        return {value: float(value) for value in column.values}[label]
    except ValueError:
        return label
