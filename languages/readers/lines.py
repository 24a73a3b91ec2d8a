"""A sentence a line, with its labels in another file; lines that begin with an id."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..annotations import Example
from ..archives import files_below
from ..documents import Document
from ..errors import InputError, shown
from ..files import decode

_ENTRY = re.compile(r"(?P<id>(?P<label>[A-Za-z]+)\d+) \+\+\+ ?(?P<text>.*)")
_NONE = "NULL"  # as eleven sentences have it; the others without a label have nothing


def read_line_labels(path: Path, *, source: str, unit: str = "document") -> Iterator[Example]:
    """Hallmarks of Cancer (Baker et al. 2016): text/NAME.txt, a sentence a line, and labels/NAME.txt, their labels.

    The labels of a sentence stand behind a "<", several joined by AND, each a path ("A--B"), whose first part is the
    label here. `unit`: "document" is a text with all labels of its sentences, "sentence" a line with its own. The
    document of a sentence is in its meta, to be divided by. InputError for a text whose lines and labels differ in
    number.
    """
    if unit not in ("document", "sentence"):
        raise InputError(f"{path}: unit is '{unit}'; known: document, sentence")
    files = {
        PurePosixPath(name).parts[-2:]: decode(raw, f"{path}: {name}") for name, raw in files_below(path, (".txt",))
    }
    names = sorted(name for folder, name in (parts for parts in files if len(parts) == 2) if folder == "text")
    if not names:
        raise InputError(
            f"{path}: no text/NAME.txt in it, next to labels/NAME.txt; give the folder of both, or a .zip"
        )
    for name in names:
        if ("labels", name) not in files:
            raise InputError(f"{path}: text/{name} has no labels/{name}; add it, empty for a text without labels")
        identity = name.removesuffix(".txt")
        sentences = files["text", name].rstrip("\n").split("\n")
        labels = [_labels(piece) for piece in files["labels", name].split("<")[1:]]
        if len(labels) != len(sentences):
            raise InputError(f"{path}: {name} has {len(sentences)} lines and labels of {len(labels)}; copy it again")
        if unit == "document":
            document = Document(identity, "\n".join(sentences), source)
            yield Example(identity, document, frozenset[str]().union(*labels))
            continue
        for number, (sentence, of_sentence) in enumerate(zip(sentences, labels, strict=True), 1):
            place = f"{identity}:{number}"
            yield Example(place, Document(place, sentence, source, {"document": identity}), of_sentence)


def _labels(piece: str) -> frozenset[str]:
    return frozenset(label.split("--")[0].strip() for label in piece.split(" AND")) - {"", _NONE}


def read_paraphrases(
    path: Path, *, source: str, questions: str = "doctor.txt", answers: str = "patient.txt", pairs: str = "d_p.txt"
) -> Iterator[Example]:
    """LabForSIMS2 (Laleye et al. 2020): questions as `HDM0010 +++ text`, whose letters are the label.

    Successive questions are paraphrases of one another, and have the same answer: the meta names it (`answer`), to be
    divided by. Answers are `P0011 +++ text`, and the pairs `HDM0010 +++ P0011`. InputError for a question without an
    answer, and for a line that is none of these.
    """
    files = {PurePosixPath(name).name: decode(raw, f"{path}: {name}") for name, raw in files_below(path, (".txt",))}
    if absent := [name for name in (questions, answers, pairs) if name not in files]:
        raise InputError(f"{path}: no {absent[0]} in it; give the folder of questions, answers and their pairs")
    texts = {entry["id"]: entry["text"].strip() for entry in _entries(files[answers], f"{path}: {answers}")}
    answer_of = {entry["id"]: entry["text"].strip() for entry in _entries(files[pairs], f"{path}: {pairs}")}
    for entry in _entries(files[questions], f"{path}: {questions}"):
        answer = texts.get(answer_of.get(entry["id"], ""))
        if answer is None:
            raise InputError(f"{path}: question {shown(entry['id'])} has no answer; copy {pairs} and {answers} again")
        document = Document(
            entry["id"], entry["text"].strip(), source, {"answer": " ".join(answer.casefold().split())}
        )
        yield Example(entry["id"], document, entry["label"])


def _entries(text: str, place: str) -> Iterator[re.Match[str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        match = _ENTRY.fullmatch(line.rstrip("\r"))
        if match is None:
            raise InputError(f"{place}, line {number}: not an id, +++ and a text; correct it", text=line.rstrip())
        yield match
