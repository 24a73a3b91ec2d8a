"""Negation and speculation of sentences, in the columns of their tokens."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..annotations import Example
from ..documents import Document
from ..errors import InputError
from ..files import read_lines
from .tokens import tagged_document

_COLUMNS = 5  # of a line, at least: sentence, number, word, lemma, part of speech
_NONE = "***"  # the last column where a sentence has no cue
_SHORT = "lines left out, which have fewer than five columns: {n}"
_UNITS = ("sentence", "pos", "neg", "spec")


class _Word(NamedTuple):
    """tag: the part of speech. role: "cue", "scope" or "O". cued: whether its sentence has a cue."""

    text: str
    tag: str
    role: str
    cued: bool


def read_cues(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    corpus: str = "CAS",
    unit: str = "sentence",
) -> Iterator[Example]:
    """CAS and ESSAI (Dalloux et al. 2021): `corpus`_neg.txt and `corpus`_spec.txt in a folder.

    Lines are like those of *SEM 2012: id of the sentence, number, word, lemma and part of speech, divided by tabs,
    then the cue and the scope that the word is in (B_... and I_..., else "_"), or "***" in a sentence without a cue.
    A word that a tab divides (100 000) has two cells, as has its lemma.

    `unit` "sentence": one label a sentence, "negation", "speculation", "negation_speculation" or "neutral"; "pos":
    the part of speech of each word; "neg" and "spec": for each word of that file "cue", "scope" or "O", and "cue" for
    a cue inside a scope. `notes` counts lines that are left out, as they are too short.
    """
    if unit not in _UNITS:
        raise InputError(f"{path}: unit is '{unit}'; known: {', '.join(sorted(_UNITS))}")
    notes = Counter() if notes is None else notes
    words: dict[str, list[_Word]] = {}
    labels: dict[str, list[str]] = {}
    for suffix, label in (("neg", "negation"), ("spec", "speculation")):
        if unit in ("neg", "spec") and suffix != unit:
            continue
        file = path / f"{corpus}_{suffix}.txt"
        if not file.is_file():
            raise InputError(f"{path}: no {file.name} in it; give the folder of the corpus' two files")
        for name, of in _sentences(file, notes):
            words.setdefault(name, of)
            labels.setdefault(name, [])
            if any(word.cued for word in of):
                labels[name].append(label)
    if not words:
        raise InputError(f"{path}: no lines of five columns in the files of {corpus}; copy them again")
    for name, of in words.items():
        if unit == "sentence":
            text = " ".join(word.text for word in of)
            yield Example(name, Document(name, text, source), "_".join(labels[name]) or "neutral")
        else:
            tags = [(word.text, word.tag if unit == "pos" else word.role) for word in of]
            yield tagged_document(name, [tags], source)


def _sentences(file: Path, notes: Counter[str]) -> Iterator[tuple[str, list[_Word]]]:
    """Each sentence: its id and its words."""
    name, words = "", list[_Word]()
    for line in read_lines(file):
        cells = line.rstrip("\r\n").split("\t")
        if line.strip() and len(cells) < _COLUMNS:
            notes[_SHORT] += 1
        if len(cells) < _COLUMNS:
            continue
        if cells[0] != name and words:
            yield name, words
            words = []
        name = cells[0]
        words.append(_word(cells))
    if words:
        yield name, words


def _word(cells: list[str]) -> _Word:
    cued = len(cells) > _COLUMNS and cells[-1] != _NONE
    marks = min(2 if cued else 1, len(cells) - _COLUMNS)
    divided = len(cells) - marks >= _COLUMNS + 2
    text, tag = (" ".join(cells[2:4]), cells[6]) if divided else (cells[2], cells[4])
    inside = [mark[:1] in ("B", "I") for mark in cells[len(cells) - marks :]]
    role = "O"
    if cued and any(inside):
        role = "cue" if len(inside) > 1 and inside[0] else "scope"
    return _Word(text.strip(), tag.strip(), role, cued)
