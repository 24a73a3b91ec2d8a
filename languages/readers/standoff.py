"""Gold in a table, and its texts in files: offsets of mentions, or codes of documents."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..annotations import Example, Gold, Span, placed, tidy
from ..archives import files_below
from ..delimited import read_rows
from ..documents import Document
from ..errors import InputError, shown
from ..files import decode, missing_column

Names = str | tuple[str, ...]

_TEXTS = ("text_files", "text_files.zip")
_NOTHING = "-"  # in the place of offsets: a document without mentions (ProfNER)


def read_offsets(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    tables: Names = "*.tsv",
    texts: Names = _TEXTS,
    document: Names = "filename",
    start: Names = "start",
    end: Names = "end",
    offsets: str = "",
    label: Names = "label",
    words: Names = "text",
    header: bool = True,
    labels: tuple[str, ...] = (),
    misplaced: str = "refuse",
) -> Iterator[Example]:
    """Mentions by their offsets in a table with tabs, one a row, next to a folder or archive of .txt files.

    `path` is a folder with the `tables` (patterns), or one table; `texts` the first of these that is there, from that
    folder, or a pattern. Of a folder all texts are read, of one table those that it names. The other options name
    columns, the first of several that is there ("0", "1" and so on without a header). `offsets` names one column with
    all fragments, "0 4;8 12", in the place of `start` and `end`. `labels` names those that count; without it all do.
    `misplaced` as in `placed`. A row with "-" as offsets has no mention.
    """
    spans: dict[str, list[Span]] = defaultdict(list)
    files, names, of = _read(path, tables, texts, document, header)
    for row, place, name in of:
        mentions = _pairs(row[offsets], place) if offsets in row else _pair(row, start, end, place)
        span = Span(mentions, _cell(row, label, place)) if mentions else None
        if span is not None and (not labels or span.label in labels):
            expected = _cell(row, words, place)
            spans[name].append(placed(span, files[name], expected, place, notes, misplaced))
    for name in names:
        text = files[name]
        yield Example(name, Document(name, text, source), tidy(spans[name], text, notes))


def read_codes(
    path: Path,
    *,
    source: str,
    tables: Names = "*.tsv",
    texts: Names = _TEXTS,
    document: Names = "0",
    code: Names = "1",
    header: bool = False,
    capitals: bool = False,
    single: bool = False,
) -> Iterator[Example]:
    """Codes of documents in a table with tabs, one a row, next to a folder or archive of .txt files.

    `path`, `tables`, `texts` and columns as in `read_offsets`: of a folder a document without a row has no codes, of
    one table its documents alone are read. `capitals`: codes are written in capitals, as ICD-10 prints them.
    `single`: one label a document, not a set.
    """
    codes: dict[str, set[str]] = defaultdict(set)
    files, names, of = _read(path, tables, texts, document, header)
    for row, place, name in of:
        value = _cell(row, code, place).strip()
        codes[name].add(value.upper() if capitals else value)
    for name in names:
        gold: Gold = frozenset(codes[name])
        if single:
            if len(codes[name]) != 1:
                raise InputError(f"{path}: {len(codes[name])} labels for {shown(name)}, not one; take 'single' out")
            (gold,) = codes[name]
        yield Example(name, Document(name, files[name], source), gold)


Row = tuple[dict[str, str], str, str]  # the cells, the place in the file, the name of the document


def _read(
    path: Path, tables: Names, texts: Names, document: Names, header: bool
) -> tuple[dict[str, str], list[str], list[Row]]:
    """The texts, the names of the documents to read, and the rows of the tables."""
    folder = path if path.is_dir() else path.parent
    listed = [path] if path.is_file() else _tables(folder, tables)
    files = dict(_texts(folder, texts))
    rows: list[Row] = []
    for table in listed:
        for number, row in read_rows(table, delimiter="\t", header=header):
            place = f"{table}, line {number}"
            name = _cell(row, document, place).removesuffix(".txt")
            if name not in files:
                raise InputError(
                    f"{place}: a row needs the name of a document, and that has no text in {folder}", text=name
                )
            rows.append((row, place, name))
    return files, sorted(files if path.is_dir() else {name for _, _, name in rows}), rows


def _tables(folder: Path, patterns: Names) -> list[Path]:
    listed: list[Path] = []
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        matching = sorted(file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith("."))
        if not matching:
            raise InputError(f"{folder}: no table {pattern} in it; give a split's folder, or name it in the options")
        listed += matching
    return listed


def _texts(folder: Path, names: Names) -> Iterator[tuple[str, str]]:
    """The texts of the first name that is there (of all that match it), by their names without .txt."""
    options = (names,) if isinstance(names, str) else names
    places = next((found for name in options if (found := sorted(folder.glob(name)))), [])
    if not places:
        raise InputError(f"{folder}: neither {' nor '.join(options)} in it, the texts; give a split's folder")
    for place in places:
        for name, raw in files_below(place, (".txt",)):
            yield PurePosixPath(name).stem, decode(raw, f"{place}: {name}")


def _cell(row: dict[str, str], columns: Names, place: str) -> str:
    options = (columns,) if isinstance(columns, str) else columns
    name = next((name for name in options if name in row), None)
    if name is None:
        raise missing_column(options[0], row, place)
    return row[name]


def _pair(row: dict[str, str], start: Names, end: Names, place: str) -> tuple[tuple[int, int], ...]:
    cells = [_cell(row, start, place).strip(), _cell(row, end, place).strip()]
    return () if cells[0] == _NOTHING else _pairs(" ".join(cells), place)


def _pairs(cell: str, place: str) -> tuple[tuple[int, int], ...]:
    try:
        fragments = [tuple(map(int, fragment.split())) for fragment in cell.split(";")]
        return tuple((start, end) for start, end in fragments)
    except ValueError as error:
        raise InputError(
            f"{place}: no offsets such as 0 4 or 0 4;8 12; correct them, or name their column"
        ) from error
