"""Concepts of i2b2: lines of a .con next to a .txt, in lines and words."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..annotations import Example, Span, tidy
from ..archives import files_below
from ..documents import Document
from ..errors import InputError
from ..files import decode

_CONCEPT = re.compile(r'c="(?P<words>.*)" (\d+):(\d+) (\d+):(\d+)\|\|t="(?P<label>[^"]+)".*')
_WORD = re.compile(r"\S+")


def read_concepts(
    path: Path, *, source: str, notes: Counter[str] | None = None, texts: str = ""
) -> Iterator[Example]:
    """i2b2 2010 (Uzuner et al. 2011): NAME.con, `c="chest pain" 13:2 13:3||t="problem"`, and NAME.txt.

    Both lie below `path`, or the texts in the folder `texts` next to it. Lines count from 1, words, which white space
    divides, from 0. The words of a concept are checked, whatever their case: the files have them in lower case.
    """
    files = dict(files_below(path, (".con", ".txt")))
    if texts and Path(texts).name != texts:
        raise InputError(f"{path}: texts is '{texts}', which is no name of a folder next to {path.name}")
    if texts and (path.parent / texts).is_dir():
        files = dict(files_below(path.parent / texts, (".txt",))) | files
    by_name = {PurePosixPath(name).stem: name for name in files if name.endswith(".txt")}
    concepts = sorted(name for name in files if name.endswith(".con"))
    if not concepts:
        raise InputError(f"{path}: no .con in it, the concepts; give the folder of a part")
    for name in concepts:
        identity = PurePosixPath(name).stem
        if identity not in by_name:
            raise InputError(
                f"{path}: {name} has no {identity}.txt; add it, or name the folder of texts in the options"
            )
        text = decode(files[by_name[identity]], f"{path}: {by_name[identity]}")
        lines = decode(files[name], f"{path}: {name}").split("\n")
        spans = list(_spans(lines, text, f"{path}: {name}"))
        yield Example(identity, Document(identity, text, source), tidy(spans, text, notes))


def _spans(lines: list[str], text: str, where: str) -> Iterator[Span]:
    words, start = [], 0
    for line in text.split("\n"):
        words.append([(start + m.start(), start + m.end()) for m in _WORD.finditer(line)])
        start += len(line) + 1
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        match = _CONCEPT.fullmatch(line.strip())
        if match is None:
            raise InputError(f'{place}: not a concept such as c="pain" 13:2 13:2||t="problem"', text=line.strip())
        try:
            first_line, first, last_line, last = (int(match[group]) for group in range(2, 6))
            if min(first_line, last_line) < 1:
                raise IndexError
            span = Span.of(words[first_line - 1][first][0], words[last_line - 1][last][1], match["label"])
        except (IndexError, ValueError) as error:  # a number of thousands of digits is a ValueError
            raise InputError(f"{place}: lines and words beyond those of the text; take the original one") from error
        if text[span.start : span.end].casefold().split() != match["words"].casefold().split():
            raise InputError(
                f"{place}: gives other words than the text has there; take the original text",
                text=f"{text[span.start : span.end]!r} and {match['words']!r}",
            )
        yield span
