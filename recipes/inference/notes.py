"""Notes to work on, read once before anything is written, and a folder whose work can be taken up again."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from medlingua.languages import writers
from medlingua.languages.documents import Document, Skip, read_documents
from medlingua.languages.errors import InputError, reason, shown
from medlingua.languages.folders import files_of
from medlingua.recipes import machine
from medlingua.recipes.console import progress, say
from medlingua.recipes.folder import alone
from medlingua.reports.read import write_whole

# Of memory for the words and tokens of a character, and as much again for each 32 of the width: their states.
_BYTES_A_CHARACTER = 60
_BYTES_OF_A_SIGN = 4  # in UTF-8, at most
QUESTION = "question"  # the column of the question, or of the other text of a pair
_DIFFERENCES = {
    "model": "by another model",
    "format": "in another format",
    "pooling": "with another pooling",
    "notes": "of other notes",
}


@dataclass(frozen=True, slots=True)
class Notes:
    """What is worked on. count, characters: of all files. digest: changes with any of them.

    names: of the notes whose files would have one name, the name of each by its id. unreadable: a line each on notes
    that are left out; None where such a note is an error.
    """

    paths: tuple[str, ...]
    text_field: str | None
    count: int
    characters: int
    digest: str
    names: Mapping[str, str]
    unreadable: tuple[str, ...] | None

    def __iter__(self) -> Iterator[Document]:
        skip = None if self.unreadable is None else _pass  # they are known already
        return _documents(self.paths, self.text_field, skip)


def read_notes(
    paths: tuple[str, ...],
    text_field: str | None,
    width: int,
    check: Callable[[Document], None] | None = None,
    one_file_each: bool = False,
    skip_unreadable: bool = False,
    of_two: bool = False,
) -> Notes:
    """Read all notes once, so that whatever cannot be read is known before anything is written.

    width: of the model's states, which a note's tokens have to fit in memory with. check: of each note.
    one_file_each: each note becomes a file; where several would have one name, all but the first get a number.
    of_two: a note is read together with its question, or another text.
    InputError for what `read_documents` refuses, unless `skip_unreadable`, for a note that is too long, and for two
    of one id.
    """
    most = int(psutil.virtual_memory().available / (_BYTES_A_CHARACTER * (1 + width / 32)))
    for path in paths:
        listing = files_of(path)
        if listing.note:
            say(f"{path} also has files that are not read: {listing.note}")
        for file in listing.files:
            if file.suffix.lower() in (".txt", ".md") and file.stat().st_size > _BYTES_OF_A_SIGN * most:
                raise _too_long(str(file), file.stat().st_size, most)
    ids: set[str] = set()
    taken: dict[str, str] = {}  # ids by the names of their files, as file systems compare them
    repeats: Counter[str] = Counter()
    names: dict[str, str] = {}
    unreadable: list[str] = []
    skip = (lambda error: unreadable.append(str(error))) if skip_unreadable else None
    characters = blank = 0
    digest = hashlib.blake2b(digest_size=16)
    with progress("reading the notes", None) as bar:
        for document in _documents(paths, text_field, skip):
            if len(document.text) > most:
                raise _too_long(document.id, len(document.text), most)
            if check is not None:
                check(document)
            if document.id in ids:
                raise InputError(
                    f"the id '{shown(document.id)}' occurs twice among the notes: give them other ids, or take the "
                    "files one after the other"
                )
            ids.add(document.id)
            if one_file_each:
                name = writers.file_name(document.id)
                while (first := taken.setdefault(name.casefold(), document.id)) != document.id:
                    names.setdefault(first, writers.file_name(first))
                    repeats[first] += 1
                    name = f"{writers.file_name(document.id)}-{repeats[first] + 1}"
                    names[document.id] = name
            characters += len(document.text)
            blank += not document.text.strip()
            second = question_of(document) if of_two else ""
            digest.update(json.dumps([document.id, document.text, second]).encode())
            bar.update(len(ids), f"{len(ids):,} notes")
    if blank:
        say(f"{blank:,} of {len(ids):,} notes have no words")
    left_out = tuple(unreadable) if skip_unreadable else None
    return Notes(paths, text_field, len(ids), characters, digest.hexdigest(), names, left_out)


def question_of(document: Document) -> str:
    """What a note is read together with; "" where it has none."""
    return str(document.meta.get(QUESTION) or "")


def _documents(paths: tuple[str, ...], text_field: str | None, skip: Skip | None) -> Iterator[Document]:
    for path in paths:
        yield from read_documents(path, source="notes", text_field=text_field, skip=skip)


def _pass(error: InputError) -> None:
    pass


def _too_long(name: str, size: int, most: int) -> InputError:
    return InputError(
        f"{name}: a note of {size:,} characters does not fit in memory (at most {most:,} now); divide it, "
        "or use a machine with more"
    )


@dataclass(slots=True)
class Progress:
    """How far the work in a folder has come, in a file of it. done: notes; characters: of them; size: bytes of the
    output that are whole; annotations: entities or labels. about: what the work depends on."""

    file: Path
    about: dict[str, str]
    done: int = 0
    characters: int = 0
    size: int = 0
    annotations: int = 0

    def save(self) -> None:
        record = {**self.about, "done": self.done, "characters": self.characters}
        write_whole(
            self.file, json.dumps({**record, "size": self.size, "annotations": self.annotations}, indent=2) + "\n"
        )


def check_parts(state: Progress, part: Callable[[int], Path], length: Callable[[Path], int]) -> None:
    """InputError where a file of the work that is done is not there, or has not so many notes.

    part: the file by the number of its first note. length: of a file.
    """
    first = 0
    while first < state.done:
        file = part(first)
        try:
            count = length(file)
        except Exception as error:  # no file, or not one of ours
            raise lost(file, state) from error
        if not 0 < count <= state.done - first:
            raise lost(file, state)
        first += count


def lost(file: Path, state: Progress) -> InputError:
    return InputError(
        f"{file} is not as {state.file.name} says that it was written: bring it back, give another --out, or remove "
        f"{state.file.parent}"
    )


@contextmanager
def at_work(state: Progress) -> Iterator[None]:
    """The folder of the work, made, and with no other process in it. InputError where it cannot be made."""
    folder = state.file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({reason(error)}): give another --out") from error
    machine.keep_pages()
    state.save()
    with alone(folder):
        yield


def progress_in(folder: Path, name: str, about: dict[str, str]) -> Progress:
    """How far earlier work came, by the file `name` of the folder.

    InputError for a folder with other files, and for one of other work: by another model, of other notes.
    """
    file = folder / name
    if not file.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is not empty and holds no {name} of an earlier call: give another --out")
        return Progress(file, about)
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        differing = [key for key, value in about.items() if state[key] != value]
        progress = Progress(file, about, *(int(state[key]) for key in ("done", "characters", "size", "annotations")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: give another --out, or remove {folder}") from error
    if differing:
        raise InputError(
            f"{folder} holds what was written {' and '.join(_DIFFERENCES[key] for key in differing)}: give another "
            "--out, or remove it"
        )
    return progress
