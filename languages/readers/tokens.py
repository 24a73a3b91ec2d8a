"""Tokens and their tags: parts of speech, cues and scopes of negation, whatever each token has one of."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..annotations import Example, Span
from ..documents import Document
from ..errors import InputError
from ..files import read_lines

_BORDER = "-DOCSTART-"
_NO_TOKEN = re.compile(r"\d+[-.]\d+")  # CoNLL-U: the number of a contraction, or of an ellipsis

Token = tuple[str, str]  # and its tag


def tagged_document(name: str, blocks: Iterable[list[Token]], source: str) -> Example:
    """Tokens joined by spaces, blocks by newlines; each token is a span whose label is its tag."""
    text, spans = "", list[Span]()
    for block in blocks:
        text += "\n" if text else ""
        for number, (token, tag) in enumerate(block):
            text += " " if number else ""
            spans.append(Span.of(len(text), len(text) + len(token), tag))
            text += token
    return Example(name, Document(name, text, source), tuple(spans))


def read_tokens(
    path: Path, *, source: str, word_column: int = 1, label_column: int | None = None
) -> Iterator[Example]:
    """A token and its tag a line, plain or packed, with any other columns, tabs or spaces between them.

    Columns count from 1; without `label_column` the last one holds the tags, which may be any words. A blank line
    ends a document, unless several -DOCSTART- lines divide them; blank lines inside then become newlines. In a file
    with tabs, lines without one that begin with # are comments, and numbers such as 3-4 and 5.1 in the first column
    are no tokens (CoNLL-U; with `word_column` 2 or more). InputError for a line that lacks one of the two columns.
    """
    documents: list[tuple[int, list[list[Token]]]] = []
    lines = [(number, line.rstrip("\r\n")) for number, line in enumerate(read_lines(path), 1)]
    tabs = any("\t" in line for _, line in lines)
    borders = sum(line.startswith(_BORDER) for _, line in lines) > 1
    begin = new_block = True
    for number, line in lines:
        border = line.startswith(_BORDER)
        if border or not line.strip():
            new_block = True
            begin = begin or border or not borders
            continue
        token = _token(line, tabs, word_column, label_column, f"{path}, line {number}")
        if token is None:
            continue
        if begin:
            documents.append((number, []))
        if begin or new_block:
            documents[-1][1].append([])
        begin = new_block = False
        documents[-1][1][-1].append(token)
    if not documents:
        raise InputError(f"{path}: no tokens in it; give a file with a token and its tag a line")
    for number, blocks in documents:
        yield tagged_document(f"{path.name}:{number}", blocks, source)


def _token(line: str, tabs: bool, word_column: int, label_column: int | None, place: str) -> Token | None:
    cells = line.split("\t") if tabs else line.split()
    if tabs and len(cells) == 1 and line.startswith("#"):
        return None
    if word_column > 1 and _NO_TOKEN.fullmatch(cells[0]):
        return None
    column = label_column or len(cells)
    if column == word_column or max(column, word_column) > len(cells):
        raise InputError(
            f"{place}: {len(cells)} columns, and the token is in column {word_column}, its tag in column {column}; "
            "correct the line, or word_column and label_column in the options",
            text=line,
        )
    token, tag = cells[word_column - 1].strip(), cells[column - 1].strip()
    if not token or not tag:
        raise InputError(f"{place}: an empty token or tag; correct the line", text=line)
    return token, tag
