"""Rows of tables as spreadsheets and databases write them: commas, semicolons or tabs, quoted or not."""

import csv
import re
import sys
from collections.abc import Iterable, Iterator

from . import files
from .errors import InputError
from .files import CR_ALONE, File, read_lines, too_large

# The csv module refuses fields above 128 KiB by default; a document is often longer.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')

Record = tuple[int, list[str]]  # the number of the line that it ends on, and its cells


def read_rows(file: File, *, delimiter: str | None, header: bool = True) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a delimited file with the line each ends on; without a header the columns are "0", "1"...

    `delimiter` None: what a first line `sep=;` says (Excel writes it), a tab in .tsv, else the comma, the semicolon
    (of spreadsheets in France, Spain and Germany) or the tab, whichever the first line has most of. Cells are quoted
    as the csv module reads it. In a table with tabs, which is often written without quoting, a quotation mark that
    does not enclose a whole cell is text.
    """
    lines = read_lines(file)
    first = next(lines, "")
    before = 0
    if match := _SEP_LINE.fullmatch(first):
        delimiter, before = delimiter or match[1], 1
        first = next(lines, "")
    delimiter = delimiter or _delimiter(file.name, first)
    records = _tabbed(_chain(first, lines), file) if delimiter == "\t" else _quoted(_chain(first, lines), delimiter)
    columns: list[str] | None = None
    number = 0
    try:
        for number, cells in records:
            if columns is None:
                columns = cells if header else [str(index) for index in range(len(cells))]
                if len(set(columns)) < len(columns):
                    raise InputError(
                        f"{file}, line {number + before}: two columns have the same name; rename one of them",
                        text=", ".join(columns),
                    )
                if header:
                    continue
            if len(cells) != len(columns):
                raise InputError(
                    f"{file}, line {number + before}: {len(cells)} cells where there are {len(columns)} columns "
                    f"(the delimiter is taken to be a {_NAMES.get(delimiter, delimiter)}); quote the cell that holds "
                    "it, or complete the row"
                )
            yield number + before, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        if "new-line character" in str(error):
            raise InputError(f"{file}, after line {number + before}: {CR_ALONE}") from error
        raise InputError(
            f"{file}, after line {number + before}: not a whole table ({error}); the file is truncated or a quote "
            f"is not closed"
        ) from error


def _delimiter(name: str, first: str) -> str:
    if ".tsv" in name.lower():
        return "\t"
    return max(",;\t", key=first.count)  # the comma where there is none


def _chain(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _quoted(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _tabbed(lines: Iterable[str], file: File) -> Iterator[Record]:
    """Records of a table with tabs. Where each line of a quoted record would be a row by itself, each is one: the
    quotes are text, and csv would make one row of all lines between them."""
    consumed: list[str] = []

    def tapped() -> Iterator[str]:
        size = 0
        for line in lines:
            size = size + len(line) if consumed else len(line)
            if size > files.LARGEST:
                raise too_large(f"{file}: a quoted cell")
            consumed.append(line)
            yield line

    number = width = 0
    for cells in csv.reader(tapped(), delimiter="\t"):
        rows = [line.rstrip("\r\n").split("\t") for line in consumed]
        width = width or len(cells)
        if all(len(row) == width for row in rows) and (width > 1 or len(rows) == 1):
            for row in rows:
                number += 1
                yield number, [_without_quotes(cell) for cell in row]
        else:
            number += len(rows)
            if cells:
                yield number, next(csv.reader(consumed, delimiter="\t", strict=True))
        consumed.clear()


def _without_quotes(cell: str) -> str:
    match = _QUOTED.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell
