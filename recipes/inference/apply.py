"""`adapt apply`: files of notes annotated by a fine-tuned model, in the format of another tool.

What is written is taken up again after a stop: apply.json in the output folder says how many notes are done.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from medlingua.adapters.encoder import Permission
from medlingua.languages import writers
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.writers import Annotated, Format
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.saved_task import TaskRecord, read_record, width_of
from medlingua.recipes.inference.annotator import OF_TWO, Annotation, Annotator, annotation_of, batches
from medlingua.recipes.inference.notes import (
    QUESTION,
    Notes,
    Progress,
    at_work,
    check_parts,
    lost,
    progress_in,
    question_of,
    read_notes,
)
from medlingua.reports.read import write_whole
from spacy.tokens import DocBin

_WITHOUT_SPANS = ("classification", "multilabel", "relations", "pairs", "choice", "similarity")
_ONE_FILE = ("jsonl", "csv", "conll")
_SHOWN = 100  # notes of the page


def apply(
    model: Path,
    paths: Sequence[str],
    form: Format,
    text_field: str | None,
    allow: tuple[Permission, ...],
    folder: Path,
    show_text: bool = False,
    skip_unreadable: bool = False,
) -> Path:
    """Annotate the notes of files, folders or patterns into `folder`, which is returned.

    A stopped call goes on where it was, with the same result. show_text: also a page with the entities in the first
    notes, as displaCy draws them. skip_unreadable: text files and rows that cannot be read are left out, and
    unreadable.txt says which. In brat, names.jsonl has the ids of notes whose files would have one name.

    InputError for a model without a record of its task, notes that cannot be read, a format that cannot hold what the
    model predicts, and a folder with annotations by another model, of other notes or in another format; then nothing
    is written.
    """
    record = read_record(model)
    _check_format(form, record)
    notes = read_notes(
        tuple(paths),
        text_field,
        width_of(model),
        lambda document: _check_question(document, record),
        one_file_each=form == "brat",
        skip_unreadable=skip_unreadable,
        of_two=record.task.kind in OF_TWO,
    )
    annotate = Annotator(model, allow=allow)
    about = {"model": annotate.digest, "format": form, "notes": notes.digest}
    state = progress_in(folder, "apply.json", about)
    _check_written(notes, form, folder, state)
    if record.probability_warning:
        say(f"{model}: {record.probability_warning}")
    if state.done == notes.count:
        say(f"{folder}: all {notes.count:,} notes are annotated already")
        return folder
    with at_work(state):
        _write_lists(notes, folder)
        _annotate(annotate, notes, form, folder, state, show_text)
    what = "labels" if record.task.kind in _WITHOUT_SPANS else "entities"
    amount = f"{state.annotations:,} {what}" if state.annotations else "nothing was found"
    say(f"{folder}: {amount} in {notes.count:,} notes, {notes.characters:,} characters (task {record.task.name})")
    return folder


def _write_lists(notes: Notes, folder: Path) -> None:
    """Which notes are left out, and which have a file of another name."""
    if notes.unreadable:
        file = folder / "unreadable.txt"
        write_whole(file, "".join(f"{line}\n" for line in notes.unreadable))
        say(f"{len(notes.unreadable):,} notes cannot be read and are left out; {file} says which, and why")
    if notes.names:
        file = folder / "names.jsonl"
        lines = [json.dumps({"file": name, "id": id}, ensure_ascii=False) for id, name in notes.names.items()]
        write_whole(file, "".join(f"{line}\n" for line in lines))
        say(f"{len(notes.names):,} notes would be files of the same names; {file} says which is which")


def _check_format(form: Format, record: TaskRecord) -> None:
    kind, name = record.task.kind, record.task.name
    if kind in _WITHOUT_SPANS and form in ("brat", "conll"):
        raise InputError(f"--format {form} holds spans, and {name} ({kind}) has none: take jsonl, csv or docbin")
    if kind == "ner" and record.settings.ner_head == "spans" and form == "conll":
        raise InputError(
            f"--format conll cannot hold entities inside each other, which this model predicts ({name}, span head): "
            "take brat, jsonl, csv or docbin"
        )
    if kind == "answers" and form == "conll":
        raise InputError(
            f"--format conll cannot hold answers that overlap, as the ranked ones of {name} do: take brat, jsonl, "
            "csv or docbin"
        )
    if kind == "choice":
        raise InputError(f"{name} is a choice between options, which notes do not have: use medlingua.Annotator")


def _check_question(document: Document, record: TaskRecord) -> None:
    if record.task.kind in OF_TWO and not question_of(document):
        raise InputError(
            f"{document.id}: no '{QUESTION}'; {record.task.name} ({record.task.kind}) is about a text and a "
            f"question, or another text: give JSONL or CSV with a column '{QUESTION}'"
        )


def _annotate(
    annotate: Annotator, notes: Notes, form: Format, folder: Path, state: Progress, show_text: bool
) -> None:
    """Annotate what is left, batch by batch."""
    record, kind = annotate.record, annotate.record.task.kind
    whole = folder / f"annotations.{form}" if form in _ONE_FILE else None
    if whole is not None and not state.done:
        whole.write_text(_header(form, record), encoding="utf-8")
        state.size = whole.stat().st_size
    waiting = (_example(document) for number, document in enumerate(notes) if number >= state.done)
    with progress(f"annotating {notes.count:,} notes", notes.characters, before=state.characters) as bar:
        for examples in batches(waiting):
            predictions = annotate.predict(examples)
            annotated = [
                _annotated(example, annotation_of(example.document.text, prediction, kind), kind)
                for example, prediction in zip(examples, predictions, strict=True)
            ]
            if show_text and not state.done:
                _write_page(annotated[:_SHOWN], record, folder)
            if whole is not None:
                _append(whole, annotated, form, record, state)
            else:
                _write_files(annotated, form, record, folder, state.done, notes.names)
            state.done += len(examples)
            state.characters += sum(len(example.document.text) for example in examples)
            state.annotations += sum(map(_count, annotated))
            state.save()
            bar.update(state.characters, f"{state.done:,} notes, {state.annotations:,} found")


def _check_written(notes: Notes, form: Format, folder: Path, state: Progress) -> None:
    """InputError where what an earlier call wrote is no longer whole."""
    if form in _ONE_FILE:
        file = folder / f"annotations.{form}"
        if state.done and not (file.is_file() and file.stat().st_size >= state.size):
            raise lost(file, state)
    elif form == "docbin":
        check_parts(state, lambda first: _docs(folder, first), lambda file: len(DocBin().from_disk(file)))
    else:
        for document in islice(notes, state.done):
            for file in _brat_files(folder, document.id, notes.names):
                if not file.is_file():
                    raise lost(file, state)


def _append(whole: Path, annotated: Sequence[Annotated], form: Format, record: TaskRecord, state: Progress) -> None:
    with whole.open("r+b") as file:
        file.truncate(state.size)  # what a stopped call left behind what is known to be whole
        file.seek(state.size)
        file.write("".join(_text(note, form, record) for note in annotated).encode())
        state.size = file.tell()


def _text(note: Annotated, form: Format, record: TaskRecord) -> str:
    if form == "conll":
        return writers.conll(note, record.spacy, bio=record.task.kind != "tagging")
    return writers.csv_rows(note) if form == "csv" else writers.json_line(note)


def _write_files(
    annotated: Sequence[Annotated],
    form: Format,
    record: TaskRecord,
    folder: Path,
    first: int,
    names: Mapping[str, str],
) -> None:
    if form == "docbin":
        nested = record.settings.ner_head == "spans" or record.task.kind == "answers"
        write_whole(_docs(folder, first), writers.docbin(annotated, record.spacy, nested))
        return
    for note in annotated:
        text, annotations = _brat_files(folder, note.id, names)
        text.parent.mkdir(parents=True, exist_ok=True)
        write_whole(text, note.text)
        write_whole(annotations, writers.brat(note))


def _docs(folder: Path, first: int) -> Path:
    return folder / f"annotations-{first:09d}.spacy"


def _brat_files(folder: Path, id: str, names: Mapping[str, str]) -> tuple[Path, Path]:
    path = folder / (names.get(id) or writers.file_name(id))
    return path.with_name(f"{path.name}.txt"), path.with_name(f"{path.name}.ann")


def _write_page(annotated: Sequence[Annotated], record: TaskRecord, folder: Path) -> None:
    write_whole(folder / "annotations.html", writers.page(annotated, f"{record.task.name}, first notes"))


def _header(form: Format, record: TaskRecord) -> str:
    if form != "csv":
        return ""
    kind = record.task.kind
    columns = "value" if kind == "similarity" else "labels" if kind in _WITHOUT_SPANS else "entities"
    return ",".join(writers.CSV_COLUMNS[columns]) + "\n"


def _example(document: Document) -> Example:
    return Example(document.id, document, (), question=question_of(document))


def _annotated(example: Example, annotation: Annotation, kind: str) -> Annotated:
    shares = dict(annotation.probabilities)
    return Annotated(
        example.id,
        example.document.text,
        tuple((Span(e.fragments, e.label), e.probability) for e in annotation.entities),
        tuple((label, shares.get(label)) for label in annotation.labels) if kind in _WITHOUT_SPANS else None,
        annotation.value,
    )


def _count(annotated: Annotated) -> int:
    return len(annotated.entities) + len(annotated.labels or ()) + (annotated.value is not None)
