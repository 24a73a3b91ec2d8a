"""Gold in a table, and its texts in files: offsets of mentions, or codes of documents."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..annotations import NO_CODE, Example, Gold, Span, placed, tidy
from ..archives import files_below
from ..delimited import read_rows
from ..documents import Document
from ..errors import InputError, shown
from ..files import decode, missing_column, read_lines

Names = str | tuple[str, ...]

_TEXTS = ("text_files", "text_files.zip")
_ABOVE = 2  # folders above the given one, in which tables and texts are looked for
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
    no_code: tuple[str, ...] = (),
    misplaced: str = "refuse",
) -> Iterator[Example]:
    """Mentions by their offsets in a table with tabs, one a row, next to a folder or archive of .txt files.

    `path` is a folder with the `tables` (patterns), or one table; `texts` the first of these that is there, or a
    pattern. Both are looked for in the folder, else in the two above it, whose tables may tell of other documents,
    too. Of a folder all texts are read, of one table those that it names. The other options name
    columns, the first of several that is there ("0", "1" and so on without a header). `offsets` names one column with
    all fragments, "0 4;8 12", in the place of `start` and `end`. `labels` names those that count; without it all do.
    `no_code` names what stands in the place of a code where there is none; such mentions are left out, and counted.
    `misplaced` as in `placed`. A row with "-" as offsets has no mention.
    """
    spans: dict[str, list[Span]] = defaultdict(list)
    files, names, of = _read(path, tables, texts, document, header)
    for row, place, name in of:
        mentions = _pairs(row[offsets], place) if offsets in row else _pair(row, start, end, place)
        span = Span(mentions, _cell(row, label, place)) if mentions else None
        if span is not None and span.label in no_code:
            if notes is not None:
                notes[NO_CODE] += 1
        elif span is not None and (not labels or span.label in labels):
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
    separator: str | None = None,
    capitals: bool = False,
    single: bool = False,
    listed: bool = False,
) -> Iterator[Example]:
    """Codes of documents in a table with tabs, one a row, next to a folder or archive of .txt files.

    `path`, `tables`, `texts` and columns as in `read_offsets`: of a folder a document without a row has no codes, of
    one table its documents alone are read. `separator` is between several codes of a row. `capitals`: codes are
    written in capitals, as ICD-10 prints them. `single`: one label a document, not a set. `listed`: the path is a
    list of the documents to read, an id a line, next to tables and texts of others, too.
    """
    codes: dict[str, set[str]] = defaultdict(set)
    files, names, of = _read(path, tables, texts, document, header, listed)
    for row, place, name in of:
        cell = _cell(row, code, place)
        values = [value.strip() for value in (cell.split(separator) if separator else [cell])]
        codes[name].update(value.upper() if capitals else value for value in values if value)
    for name in names:
        gold: Gold = frozenset(codes[name])
        if single:
            if len(codes[name]) != 1:
                raise InputError(f"{path}: {len(codes[name])} labels for {shown(name)}, not one; take 'single' out")
            (gold,) = codes[name]
        yield Example(name, Document(name, files[name], source), gold)


Row = tuple[dict[str, str], str, str]  # the cells, the place in the file, the name of the document


def _read(
    path: Path, tables: Names, texts: Names, document: Names, header: bool, listed: bool = False
) -> tuple[dict[str, str], list[str], list[Row]]:
    """The texts, the names of the documents to read, and the rows of the tables."""
    one_table = path.is_file() and not listed
    folder = path if path.is_dir() else path.parent
    inside, places = (folder, [path]) if one_table else _places(folder, tables, "the table")
    files = dict(_texts(folder, texts))
    chosen = set(files)
    if listed:
        chosen = {line.strip() for line in read_lines(path) if line.strip()}
        if absent := chosen - set(files):
            raise InputError(f"{path}: {len(absent)} of {len(chosen)} documents have no text", text=min(absent))
    rows: list[Row] = []
    for table in places:
        for number, row in read_rows(table, delimiter="\t", header=header):
            place = f"{table}, line {number}"
            name = _cell(row, document, place).removesuffix(".txt").removesuffix(".ann")
            if name in chosen:
                rows.append((row, place, name))
            elif not listed and inside == folder:
                raise InputError(
                    f"{place}: a row needs the name of a document, and that has no text in {folder}", text=name
                )
    return files, sorted({name for _, _, name in rows} if one_table else chosen), rows


def _places(folder: Path, patterns: Names, what: str) -> tuple[Path, list[Path]]:
    """All files that match every pattern, and the folder where they are: the given one, or one of two above it."""
    names = (patterns,) if isinstance(patterns, str) else patterns
    for place in (folder, *list(folder.parents)[:_ABOVE]):
        matching = [sorted(f for f in place.glob(name) if not f.name.startswith(".")) for name in names]
        if all(matching):
            return place, [file for files in matching for file in files]
    raise InputError(
        f"{folder}: no {' and '.join(names)} in it, {what}; give a split's folder, or name it in options"
    )


def _texts(folder: Path, names: Names) -> Iterator[tuple[str, str]]:
    """The texts of the first name that is there (of all that match it), by their names without .txt."""
    options = (names,) if isinstance(names, str) else names
    around = (folder, *list(folder.parents)[:_ABOVE])
    places = next((files for place in around for name in options if (files := sorted(place.glob(name)))), [])
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
