"""Negation and speculation of sentences, in the columns of their tokens."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..annotations import Example
from ..documents import Document
from ..errors import InputError
from ..files import read_lines

_COLUMNS = 5  # of a line, at least: sentence, number, word, lemma, part of speech
_NONE = "***"  # the last column where a sentence has no cue
_SHORT = "lines left out, which have fewer than five columns: {n}"


def read_cues(
    path: Path, *, source: str, notes: Counter[str] | None = None, corpus: str = "CAS"
) -> Iterator[Example]:
    """CAS and ESSAI (Dalloux et al. 2021): `corpus`_neg.txt and `corpus`_spec.txt in a folder.

    Lines are those of *SEM 2012: id of the sentence, number, word, lemma and part of speech, divided by tabs, then
    cues and scopes; "***" stands there for a sentence without any. The label is "negation", "speculation",
    "negation_speculation" or "neutral". `notes` counts lines that are left out, as they are too short.
    """
    words: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for suffix, label in (("neg", "negation"), ("spec", "speculation")):
        file = path / f"{corpus}_{suffix}.txt"
        if not file.is_file():
            raise InputError(f"{path}: no {file.name} in it; give the folder of the corpus' two files")
        for name, tokens, has_cue in _sentences(file, Counter() if notes is None else notes):
            words.setdefault(name, tokens)
            labels.setdefault(name, [])
            if has_cue:
                labels[name].append(label)
    if not words:
        raise InputError(f"{path}: no lines of five columns in the files of {corpus}; copy them again")
    for name, tokens in words.items():
        yield Example(name, Document(name, " ".join(tokens), source), "_".join(labels[name]) or "neutral")


def _sentences(file: Path, notes: Counter[str]) -> Iterator[tuple[str, list[str], bool]]:
    """Each sentence: its id, its words, and whether it has a cue."""
    name, tokens, has_cue = "", list[str](), False
    for line in read_lines(file):
        cells = line.rstrip("\r\n").split("\t")
        if line.strip() and len(cells) < _COLUMNS:
            notes[_SHORT] += 1
        if len(cells) < _COLUMNS:
            continue
        if cells[0] != name and tokens:
            yield name, tokens, has_cue
            tokens, has_cue = [], False
        name = cells[0]
        tokens.append(cells[2])
        has_cue = has_cue or (len(cells) > _COLUMNS and cells[-1] != _NONE)
    if tokens:
        yield name, tokens, has_cue
