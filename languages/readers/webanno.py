"""WebAnno TSV 3, as WebAnno and INCEpTION export it."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..annotations import UNLABELLED, Example, Span, checked, tidy
from ..archives import files_below
from ..documents import Document
from ..errors import InputError
from ..files import decode
from ..offsets import converter

_TOKEN = re.compile(r"\d+-\d+(?:\.\d+)?")
_RANGE = re.compile(r"(\d{1,12})-(\d{1,12})")
_VALUE = re.compile(r"((?:\\.|[^\\|\[])+)(?:\[(\d+)\])?(?:\||$)")  # of a cell with several
_ESCAPED = re.compile(r"\\(.)")
_LARGEST_GAP = 100_000  # characters between two sentences


@dataclass(frozen=True, slots=True)
class _Token:
    line: int
    start: int
    end: int
    surface: str
    value: str  # the cell of the layer's feature, as it is written


def read_webanno(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    layer: str = "NamedEntity",
    feature: str = "value",
) -> Iterator[Example]:
    """A document a .tsv of WebAnno TSV 3, in a folder or an archive; its offsets count UTF-16 units.

    `layer` is the type of the annotations, with or without its namespace; `feature` holds the label. The text is that
    of the #Text lines at the places of their tokens; what was between sentences is not in the file, and is a newline
    here. Every token is checked against the text. Annotations without a label are left out and counted in `notes`.
    """
    notes = Counter() if notes is None else notes
    count = 0
    for name, raw in files_below(path, (".tsv",)):
        place = f"{path}: {name}"
        lines = decode(raw, place).removeprefix("\ufeff").split("\n")
        if not lines[0].startswith("#FORMAT=WebAnno TSV 3"):
            raise InputError(f"{place}: no WebAnno TSV 3 (its first line says the format); export it again")
        column = _column(lines, layer, feature, place)
        sentences = list(_sentences(lines, column, place))
        text = _text(sentences, place)
        convert = converter(text, place, "utf-16")
        tokens = [token for _, of in sentences for token in of]
        for token in tokens:
            span = Span.of(convert(token.start), convert(token.end), "token")
            checked(span, text, token.surface, f"{place}, line {token.line}")
        spans = [
            Span.of(convert(start), convert(end), label)
            for start, end, label in _annotations(tokens, notes)
            if start <= end
        ]
        identity = name.rpartition(".")[0]
        count += 1
        yield Example(identity, Document(identity, text, source), tidy(spans, text, notes))
    if not count:
        raise InputError(f"{path}: no .tsv in it; give a folder of WebAnno's or INCEpTION's export")


def _column(lines: list[str], layer: str, feature: str, place: str) -> int:
    """The column of the feature: each layer has one for each of its features, or one if it has none."""
    column = 3
    known = []
    for line in lines:
        if not line.startswith(("#T_SP=", "#T_CH=", "#T_RL=")):
            continue
        kind, *features = line.rstrip("\r").partition("=")[2].split("|")
        if line.startswith("#T_SP="):
            names = [name for name in features if name.isidentifier() and kind.rpartition(".")[2].isidentifier()]
            known += [f"{kind.rpartition('.')[2]} ({name})" for name in names]
            if (kind == layer or kind.rpartition(".")[2] == layer) and feature in features:
                return column + features.index(feature)
        column += max(1, len(features))
    raise InputError(
        f"{place}: no layer '{layer}' with a feature '{feature}'; it has {', '.join(known) or 'none'}; name them in "
        "the options: layer, feature"
    )


def _sentences(lines: list[str], column: int, place: str) -> Iterator[tuple[str, list[_Token]]]:
    """The text of each sentence and its tokens."""
    text: list[str] = []
    tokens: list[_Token] = []
    for number, line in enumerate([*lines, ""], 1):
        bare = line.rstrip("\r")
        if bare.startswith("#Text="):
            text.append(_plain(bare.removeprefix("#Text=")))
        elif _TOKEN.match(bare):
            cells = bare.split("\t")
            at = _RANGE.fullmatch(cells[1]) if len(cells) > column else None
            if at is None:
                raise InputError(f"{place}, line {number}: not a token with its offsets and layers", text=bare)
            tokens.append(_Token(number, int(at[1]), int(at[2]), _plain(cells[2]), cells[column]))
        elif not bare.startswith("#") and bare.strip():
            raise InputError(f"{place}, line {number}: neither a token nor a comment; export it again", text=bare)
        elif not bare.strip() and (text or tokens):
            if not text or not tokens:
                raise InputError(
                    f"{place}, line {number}: a sentence without its text or its tokens; export it again"
                )
            yield "\n".join(text), tokens
            text, tokens = [], []


def _text(sentences: list[tuple[str, list[_Token]]], place: str) -> str:
    """The document's text: each sentence where its first token is."""
    parts: list[str] = []
    length = 0  # in UTF-16 units
    for text, tokens in sentences:
        before = text.find(tokens[0].surface)
        start = tokens[0].start - (_units(text[:before]) if before > 0 else 0)
        if not 0 <= start - length <= _LARGEST_GAP:
            raise InputError(f"{place}, line {tokens[0].line}: a sentence at offset {start} after one to {length}")
        parts += [" " * (start - length - 1), "\n" * (start > length), text]
        length = start + _units(text)
    return "".join(parts)


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _annotations(tokens: list[_Token], notes: Counter[str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, label): values with the same number belong to one annotation, others to their token alone."""
    numbered: dict[str, tuple[int, int, str]] = {}
    for token in tokens:
        for match in _VALUE.finditer(token.value):
            value, number = _plain(match[1]), match[2]
            if match[1] == "_":
                continue
            if match[1] == "*":
                value = ""
            if number is None:
                if value:
                    yield token.start, token.end, value
                else:
                    notes[UNLABELLED] += 1
                continue
            start, end, _ = numbered.get(number, (token.start, token.end, value))
            numbered[number] = min(start, token.start), max(end, token.end), value
    for start, end, value in numbered.values():
        if value:
            yield start, end, value
        else:
            notes[UNLABELLED] += 1


def _plain(text: str) -> str:
    """Without escapes."""
    return _ESCAPED.sub(lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]), text)
