"""CoNLL: a token and its tag a line."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..annotations import Example, Span, tidy
from ..documents import Document
from ..errors import InputError
from ..files import read_lines

BARE = "entity"  # the label of tags that name none: B, I, O
TAG = re.compile(r"O|[BIESULM](?:-(?P<label>.+))?")  # BIO, BIOES, BILOU, BMES
_BORDER = "-DOCSTART-"
DAMAGED = "lines that are not UTF-8, whose wrong bytes are read as U+FFFD: {n}"
SPACED = "tokens with a space inside: {n}"
NO_TOKEN = "tags left out, which have no token: {n}"

Row = tuple[int, list[str]]  # the line's number and its cells; no cells: a blank line


def read_conll(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    document_start: str | None = None,
    label_column: int | None = None,
    repair: bool = False,
) -> Iterator[Example]:
    """A token and its tag a line, with other columns or without, tabs or spaces between them, plain or packed.

    `label_column` (from 1) is that of the tags; without it, it is the one column that holds tags alone. Tags are BIO
    (an I that continues nothing begins a span, so IOB1 is read too), BIOES, BILOU or BMES; B, I and O without a label
    stand for "entity". A blank line ends a document. Several -DOCSTART- lines divide the documents instead; with
    `document_start` a document begins at each block whose text starts with it. Blank lines inside become newlines.
    They end every span. The text is the tokens joined by spaces. Comments (CoNLL-U Plus) are left out.

    `repair`, for two columns: bytes that are not UTF-8 become U+FFFD, the tag is what follows the last space of a
    line, as its token may hold others, and a tag without a token is left out. `notes` counts each, and what `tidy`
    changes.

    InputError for lines with different numbers of columns, where `label_column` does not say which is meant, and
    where several columns or none could be the tags.
    """
    rows = _without_comments(list(_repaired(path, Counter() if notes is None else notes) if repair else _rows(path)))
    column = _column(rows, path, label_column)
    documents: list[list[list[tuple[str, str]]]] = []
    firsts: list[int] = []
    borders = sum(bool(cells) and cells[0] == _BORDER for _, cells in rows) > 1  # one alone divides nothing
    begin = True
    for number, block in _blocks(rows, column, path):
        text = " ".join(token for token, _ in block)
        if not block:
            begin = True
        elif begin or not (borders or document_start) or (document_start and text.startswith(document_start)):
            documents.append([block])
            firsts.append(number)
            begin = False
        else:
            documents[-1].append(block)
    if not documents:
        raise InputError(f"{path}: no tokens in it; give a file with a token and its tag a line")
    for number, blocks in zip(firsts, documents, strict=True):
        yield entities_document(blocks, f"{path.name}:{number}", source, notes)


def _rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        bare = line.rstrip("\r\n")
        # Split at the tab first: a token may be white space itself, such as a no-break space.
        cells = bare.split("\t") if "\t" in bare else bare.split()
        yield number, [cell.strip() or cell for cell in cells] if bare.strip() else []


def _repaired(path: Path, notes: Counter[str]) -> Iterator[Row]:
    damaged: list[int] = []
    for number, line in enumerate(read_lines(path, damaged), 1):
        cells = line.rsplit(maxsplit=1)
        if len(cells) == 1 and TAG.fullmatch(cells[0]):
            notes[NO_TOKEN] += 1
            continue
        notes[SPACED] += len(cells) > 1 and len(cells[0].split()) > 1
        yield number, [cells[0].strip(), cells[1]] if len(cells) > 1 else cells
    notes[DAMAGED] += len(damaged)
    for line_of_notes in (DAMAGED, SPACED):
        if not notes[line_of_notes]:
            del notes[line_of_notes]


def _without_comments(rows: list[Row]) -> list[Row]:
    """A comment begins with # where a sentence may begin, and its last word is no tag."""
    remaining = []
    first = True
    for number, cells in rows:
        if first and cells and cells[0].startswith("#") and not (len(cells) > 1 and TAG.fullmatch(cells[-1])):
            continue
        first = not cells
        remaining.append((number, cells))
    return remaining


def _column(rows: list[Row], path: Path, label_column: int | None) -> int:
    """The index of the column with the tags."""
    full = [(number, cells) for number, cells in rows if cells and cells[0] != _BORDER]
    if not full:
        return 1
    if label_column is not None:
        column = label_column - 1
        bad = next((n for n, cells in full if column < 1 or len(cells) <= column), None)
        if bad is not None:
            raise InputError(
                f"{path}, line {bad}: no column {label_column}; correct label_column, which is from 2 on"
            )
        return column
    first, width = full[0][0], len(full[0][1])
    for number, others in full:
        if len(others) != width:
            raise InputError(
                f"{path}, line {number}: {len(others)} columns, and line {first} has {width}; separate them by tabs "
                "where a cell holds a space, or name the column of the tags in the options: label_column = 2"
            )
    tags = [i for i in range(1, width) if all(TAG.fullmatch(cells[i]) for _, cells in full)]
    if len(tags) > 1:
        listed = " and ".join(str(i + 1) for i in tags)
        raise InputError(
            f"{path}: columns {listed} hold tags; name the right one: options = {{ label_column = {tags[-1] + 1} }}"
        )
    return tags[0] if tags else width - 1


def _blocks(rows: list[Row], column: int, path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """(token, tag) lists between blank lines, each with the number of its first line; an empty list is a border."""
    block: list[tuple[str, str]] = []
    first = 0
    for number, cells in [*rows, (0, [])]:
        border = bool(cells) and cells[0] == _BORDER
        if (border or not cells) and block:
            yield first, block
            block = []
        if border:
            yield number, []
        elif cells:
            if len(cells) <= max(column, 1) or not cells[0] or not TAG.fullmatch(cells[column]):
                raise InputError(
                    f"{path}, line {number}: not a token and, in column {column + 1}, its tag (O, B-X, I-X, E-X, S-X)"
                    "; correct the line, or name the column of the tags in the options: label_column",
                    text="\t".join(cells),
                )
            first = first if block else number
            block.append((cells[0], cells[column]))


def entities_document(
    blocks: list[list[tuple[str, str]]], identity: str, source: str, notes: Counter[str] | None
) -> Example:
    """Blocks of tokens and BIO tags as a document: tokens joined by spaces, blocks by newlines."""
    lines: list[str] = []
    spans: list[Span] = []
    position = 0
    for block in blocks:
        spans += _spans(block, position)
        lines.append(" ".join(token for token, _ in block))
        position += len(lines[-1]) + 1
    document = Document(identity, "\n".join(lines), source)
    return Example(identity, document, tidy(spans, document.text, notes))


def _spans(block: list[tuple[str, str]], position: int) -> Iterator[Span]:
    """The spans of one block whose first token begins at `position`."""
    label, start, end = "", 0, 0
    for token, tag in block:
        match = TAG.fullmatch(tag)
        assert match is not None
        kind, of = tag[0], match["label"] or BARE
        if label and (kind in "OBSU" or of != label):
            yield Span.of(start, end, label)
            label = ""
        if kind != "O" and not label:
            label, start = of, position
        end = position + len(token)
        if label and kind in "ESUL":
            yield Span.of(start, end, label)
            label = ""
        position = end + 1
    if label:
        yield Span.of(start, end, label)
