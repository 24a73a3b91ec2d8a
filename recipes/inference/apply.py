"""`adapt apply`: files of notes annotated by a fine-tuned model, in the format of another tool.

What is written is taken up again after a stop: apply.json in the output folder says how many notes are done and how
long each file was then.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from medlingua.adapters.encoder import Permission
from medlingua.languages import writers
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document, read_documents
from medlingua.languages.errors import InputError, shown
from medlingua.languages.folders import files_of
from medlingua.languages.writers import Annotated, Format
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.saved_task import TaskRecord, read_record
from medlingua.recipes.folder import alone, digest
from medlingua.recipes.inference.annotator import Annotation, Annotator, annotation_of, batches
from medlingua.reports.read import write_whole

_STATE = "apply.json"
_QUESTION = "question"  # column of the question, or of the other text of a pair
_BYTES_A_CHARACTER = 60  # of memory for words, tokens and their states, and as much again for each 32 of the width
_WITHOUT_SPANS = ("classification", "multilabel", "relations", "pairs", "choice", "similarity")


@dataclass(frozen=True, slots=True)
class Notes:
    """What is annotated. count, characters: of all files. digest: changes with any of them."""

    paths: tuple[str, ...]
    text_field: str | None
    count: int
    characters: int
    digest: str

    def __iter__(self) -> Iterator[Document]:
        return _documents(self.paths, self.text_field)


def apply(
    model: Path,
    paths: Sequence[str],
    form: Format,
    text_field: str | None,
    allow: tuple[Permission, ...],
    folder: Path,
) -> Path:
    """Annotate the notes of files, folders or patterns into `folder`, which is returned.

    All notes are read once before anything is written. A stopped call goes on where it was, with the same result.
    InputError for a model without a record of its task, notes that cannot be read, a format that cannot hold what the
    model predicts, and a folder with annotations by another model, of other notes or in another format.
    """
    record = read_record(model)
    _check_format(form, record)
    notes = _read_all(tuple(paths), text_field, record, model)
    about = {"model": digest(model / "model.safetensors"), "format": form, "notes": notes.digest}
    state = _state(folder, about)
    if state["done"] == notes.count:
        say(f"{folder}: all {notes.count:,} notes are annotated already")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _STATE, json.dumps(state, indent=2) + "\n")
    with alone(folder):
        annotate = Annotator(model, allow=allow)
        found = _annotate(annotate, notes, form, folder, state)
    if not found:
        say(f"{folder}: nothing was found in any of {notes.count:,} notes (task {record.task.name})")
    return folder


def _check_format(form: Format, record: TaskRecord) -> None:
    kind, name = record.task.kind, record.task.name
    if kind in _WITHOUT_SPANS and form in ("brat", "conll"):
        raise InputError(f"--format {form} holds spans, and {name} ({kind}) has none: take jsonl, csv or docbin")
    if kind == "ner" and record.settings.ner_head == "spans" and form == "conll":
        raise InputError(
            f"--format conll cannot hold entities inside each other, which this model predicts ({name}, span head): "
            "take brat, jsonl, csv or docbin"
        )
    if kind == "choice":
        raise InputError(
            f"{name} is a choice between options, which files of notes do not have: use medlingua.Annotator"
        )


def _documents(paths: Sequence[str], text_field: str | None) -> Iterator[Document]:
    for path in paths:
        yield from read_documents(path, source="notes", text_field=text_field)


def _read_all(paths: tuple[str, ...], text_field: str | None, record: TaskRecord, model: Path) -> Notes:
    """Read all notes once: they are counted, and what cannot be read is found before anything is written."""
    width = int(json.loads((model / "config.json").read_text(encoding="utf-8"))["hidden_size"])
    most = int(psutil.virtual_memory().available / (_BYTES_A_CHARACTER * (1 + width / 32)))
    for path in paths:
        for file in files_of(path).files:
            if file.suffix.lower() in (".txt", ".md") and file.stat().st_size > 4 * most:
                raise _too_long(str(file), file.stat().st_size, most)
    names: dict[str, str] = {}
    count = characters = 0
    digests = hashlib.blake2b(digest_size=16)
    with progress("reading the notes", None) as bar:
        for document in _documents(paths, text_field):
            if len(document.text) > most:
                raise _too_long(document.id, len(document.text), most)
            if record.task.kind in ("pairs", "answers", "similarity") and not document.meta.get(_QUESTION):
                raise InputError(
                    f"{document.id}: no '{_QUESTION}'; {record.task.name} ({record.task.kind}) is about a text and a "
                    f"question, or another text: give JSONL or CSV with a column '{_QUESTION}'"
                )
            name = writers.file_name(document.id).casefold()
            if name in names:
                raise InputError(
                    f"notes '{shown(names[name])}' and '{shown(document.id)}' would have one name in the output: "
                    "give them other ids, or annotate them one after the other"
                )
            names[name] = document.id
            count += 1
            characters += len(document.text)
            digests.update(f"{document.id}\0{len(document.text)}\0".encode())
            digests.update(document.text.encode())
            bar.update(count, f"{count:,} notes")
    return Notes(paths, text_field, count, characters, digests.hexdigest())


def _too_long(name: str, size: int, most: int) -> InputError:
    return InputError(
        f"{name}: a note of {size:,} characters does not fit in memory (at most {most:,} now); divide it, "
        "or use a machine with more"
    )


def _state(folder: Path, about: dict[str, str]) -> dict[str, Any]:
    """How far an earlier call came; InputError for a folder of other annotations or other files."""
    file = folder / _STATE
    if not file.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is not empty and holds no annotations of adapt apply: give another --out")
        return {**about, "done": 0, "characters": 0, "size": 0, "found": 0}
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        differing = [key for key, value in about.items() if state[key] != value]
        _ = state["done"] + state["characters"] + state["size"] + state["found"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: give another --out, or remove {folder}") from error
    if differing:
        which = {"model": "by another model", "format": "in another format", "notes": "of other notes"}
        raise InputError(
            f"{folder} holds annotations {' and '.join(which[key] for key in differing)}: give another --out, or "
            "remove it"
        )
    return state


def _annotate(annotate: Annotator, notes: Notes, form: Format, folder: Path, state: dict[str, Any]) -> int:
    """Annotate what is left, batch by batch; returns the number of entities or labels that were found in all."""
    done = int(state["done"])
    record = annotate.record
    whole = folder / f"annotations.{form}" if form in ("jsonl", "csv", "conll") else None
    if whole is not None and not done:
        whole.write_text(_header(form, record), encoding="utf-8")
        state["size"] = whole.stat().st_size
    waiting = (document for number, document in enumerate(notes) if number >= done)
    with progress(f"annotating {notes.count:,} notes", notes.characters, before=state["characters"]) as bar:
        for examples in batches(map(_example, waiting)):
            predictions = annotate.predict(examples)
            annotated = [
                _annotated(example, annotation_of(example.document.text, prediction, record.task.kind))
                for example, prediction in zip(examples, predictions, strict=True)
            ]
            if whole is not None:
                with whole.open("r+b") as file:
                    file.truncate(state["size"])  # what a stopped call left behind what is known to be whole
                    file.seek(state["size"])
                    file.write("".join(_text(note, form, record) for note in annotated).encode())
                    state["size"] = file.tell()
            else:
                _write_files(annotated, form, record, folder, done)
            done += len(examples)
            state["done"], state["found"] = done, state["found"] + sum(map(_found, annotated))
            state["characters"] += sum(len(example.document.text) for example in examples)
            write_whole(folder / _STATE, json.dumps(state, indent=2) + "\n")
            bar.update(state["characters"], f"{done:,} notes, {state['found']:,} found")
    return int(state["found"])


def _text(note: Annotated, form: Format, record: TaskRecord) -> str:
    if form == "conll":
        return writers.conll(note, record.spacy)
    return writers.csv_rows(note) if form == "csv" else writers.json_line(note)


def _write_files(annotated: Sequence[Annotated], form: Format, record: TaskRecord, folder: Path, first: int) -> None:
    if form == "docbin":
        nested = record.settings.ner_head == "spans"
        write_whole(folder / f"annotations-{first:09d}.spacy", writers.docbin(annotated, record.spacy, nested))
        return
    for note in annotated:
        path = folder / writers.file_name(note.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path.with_name(f"{path.name}.txt"), note.text)
        write_whole(path.with_name(f"{path.name}.ann"), writers.brat(note))


def _header(form: Format, record: TaskRecord) -> str:
    if form != "csv":
        return ""
    kind = record.task.kind
    columns = "value" if kind == "similarity" else "labels" if kind in _WITHOUT_SPANS else "entities"
    return ",".join(writers.CSV_COLUMNS[columns]) + "\n"


def _example(document: Document) -> Example:
    return Example(document.id, document, (), question=str(document.meta.get(_QUESTION) or ""))


def _annotated(example: Example, annotation: Annotation) -> Annotated:
    shares = dict(annotation.probabilities)
    return Annotated(
        example.id,
        example.document.text,
        tuple((Span(e.fragments, e.label), e.probability) for e in annotation.entities),
        tuple((label, shares.get(label)) for label in annotation.labels),
        annotation.value,
    )


def _found(annotated: Annotated) -> int:
    return len(annotated.entities) + len(annotated.labels) + (annotated.value is not None)
