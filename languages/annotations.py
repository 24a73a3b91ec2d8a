"""Labelled text: spans with checked character offsets, label sets, single labels; one reader a format."""

import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from . import files
from .documents import Document, read_rows
from .errors import InputError
from .files import decode, missing_column, parsed_json, read_lines, read_text, too_large


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open character ranges of one mention, in order, and its label; nested spans are separate."""

    fragments: tuple[tuple[int, int], ...]
    label: str

    @classmethod
    def of(cls, start: int, end: int, label: str) -> "Span":
        return cls(((start, end),), label)

    @property
    def start(self) -> int:
        return self.fragments[0][0]

    @property
    def end(self) -> int:
        return self.fragments[-1][1]

    @property
    def discontinuous(self) -> bool:
        return len(self.fragments) > 1

    def surface(self, text: str) -> str:
        """The words of the span in `text`, fragments joined by a space."""
        return " ".join(text[start:end] for start, end in self.fragments)


Gold = tuple[Span, ...] | frozenset[str] | str | float


@dataclass(frozen=True, slots=True)
class Example:
    """A document with its gold: spans (ner), a set of labels (multilabel), one label (classification, pairs), the
    names of the right options (choice), or a value (similarity).

    question: what is asked of the document, or the other text of a pair. options: (name, text) of a choice.
    """

    id: str
    document: Document
    gold: Gold
    question: str = ""
    options: tuple[tuple[str, str], ...] = ()


def checked(span: Span, text: str, expected: str, where: str) -> Span:
    """The span, if its offsets give the annotated string; else an InputError with both as its text."""
    inside = all(0 <= start < end <= len(text) for start, end in span.fragments)
    surface = span.surface(text) if inside else ""
    if not inside or surface != expected:
        offsets = ";".join(f"{start} {end}" for start, end in span.fragments)
        raise InputError(
            f"{where}: offsets {offsets} ({span.label}) give other words than the annotation says "
            f"(the text has {len(text)} characters); the text was changed after annotation (newlines, "
            f"byte order mark, Unicode form) or the offsets count something else: take the original text",
            text=f"{surface!r}, and the annotation says {expected!r}",
        )
    return span


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(set(spans)))


# --- brat -------------------------------------------------------------------------------------------

# A UMLS semantic group, or several: "CHEM", "OBJC|CHEM". A few Mantra notes have it one field early.
_NOTE_GROUP = re.compile(r'"([A-Z]{4}(?:\|[A-Z]{4})*)"')


def read_brat(path: Path, *, source: str, label_from: str = "type", skip: tuple[str, ...] = ()) -> Iterator[Example]:
    """Pairs of .txt and .ann in a folder (with its subfolders and archives), a .zip or a .tar.gz.

    Text is taken as it is: no newline is translated, a byte order mark stays one character. `label_from`
    "type" takes the type of the span; "note_group" the semantic group in its `#` note, the last quoted
    field that is one (Mantra; a note with two groups gives two labels). A span that carries several
    concepts of one label is one span. Spans keep their fragments; text-bound lines alone are read
    (relations and events are not entities). `skip` names documents to leave out.
    """
    if label_from not in ("type", "note_group"):
        raise InputError(f"{path}: label_from is '{label_from}'; known: note_group, type")
    files: dict[str, bytes] = {}
    for name, raw in _brat_files(path):
        if name in files:
            raise InputError(f"{path}: {name} occurs twice, in the folder and in an archive; take one out")
        files[name] = raw
    if absent := [name for name in skip if f"{name}.txt" not in files]:
        raise InputError(f"{path}: skip names '{absent[0]}', which is not there; correct the option")
    texts = sorted(name for name in files if name.endswith(".txt") and name[:-4] not in skip)
    if not texts:
        raise InputError(f"{path}: no .txt with .ann in it; give the folder or archive of a brat task")
    for name in files:
        if name.endswith(".ann") and f"{name[:-4]}.txt" not in files:
            raise InputError(f"{path}: {name} has no .txt next to it; add its text or take it out")
    for name in texts:
        annotations = f"{name[:-4]}.ann"
        if annotations not in files:
            raise InputError(f"{path}: {name} has no .ann next to it; add one (empty if nothing is annotated)")
        document = Document(name[:-4], decode(files[name], f"{path}: {name}"), source)
        lines = decode(files[annotations], f"{path}: {annotations}").split("\n")
        spans = _brat_spans(lines, document.text, f"{path}: {annotations}", label_from)
        yield Example(document.id, document, in_order(spans))


def _brat_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names below `path` (in an archive: as they are there) and their bytes."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix in (".txt", ".ann"):
                yield file.relative_to(path).as_posix(), file.read_bytes()
            elif file.name.endswith((".zip", ".tar.gz")):
                yield from _brat_files(file)
    elif path.name.endswith((".zip", ".tar.gz")):
        yield from read_archive(path, (".txt", ".ann"))
    else:
        raise InputError(f"{path}: no such folder, .zip or .tar.gz; check the path")


def read_archive(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the members of a .zip or .tar.gz that end in `suffixes`."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if entry.filename.endswith(suffixes):
                        if entry.file_size > files.LARGEST:
                            raise too_large(f"{path}: {entry.filename}")
                        yield entry.filename, archive.read(entry)
        else:
            with tarfile.open(path, "r:gz") as tar:
                for member in tar:
                    matches = member.name.endswith(suffixes)
                    if matches and member.size > files.LARGEST:
                        raise too_large(f"{path}: {member.name}")
                    handle = tar.extractfile(member) if matches else None
                    if handle is not None:
                        yield member.name, handle.read()
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path}: truncated or damaged archive ({error}); copy it again") from error


def _brat_spans(lines: list[str], text: str, where: str, label_from: str) -> Iterator[Span]:
    groups: dict[str, list[str]] = {}
    if label_from == "note_group":
        for line in lines:
            cells = line.rstrip("\r").split("\t")
            quoted = _NOTE_GROUP.findall(cells[-1])
            if line.startswith("#") and len(cells) == 3 and quoted:
                groups[cells[1].split(" ")[-1]] = quoted[-1].split("|")
    for number, line in enumerate(lines, 1):
        if not line.startswith("T"):
            continue
        place = f"{where}, line {number}"
        cells = line.rstrip("\r").split("\t", 2)
        try:
            mention, (label, offsets), expected = cells[0], cells[1].split(" ", 1), cells[2]
            fragments = [tuple(map(int, pair.split(" "))) for pair in offsets.split(";")]
            pairs = tuple((start, end) for start, end in fragments)
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{place}: not a text-bound annotation ({line.rstrip()!r}); expected "
                f"'T1<tab>LABEL start end[;start end]<tab>text'"
            ) from error
        if label_from == "note_group" and mention not in groups:
            raise InputError(f"{place}: {mention} has no # note with its semantic group; add it")
        for name in groups[mention] if label_from == "note_group" else [label]:
            yield checked(Span(pairs, name), text, expected, place)


# --- CoNLL ------------------------------------------------------------------------------------------


def read_conll(path: Path, *, source: str, document_start: str | None = None) -> Iterator[Example]:
    """`token label` lines (tab or spaces, two or three columns, the third ignored), plain or packed.

    A blank line ends a document; with `document_start` a document begins at each block whose text starts
    with it, and blank lines inside become newlines. The text is the tokens joined by spaces, offsets are
    made for it. Labels are O, B-X, I-X; an I-X that continues nothing begins a span (as seqeval reads it),
    and a blank line ends every span.
    """
    blocks: list[list[tuple[str, str]]] = []
    first = 1
    for number, block in _blocks(path):
        starts = document_start is None or " ".join(token for token, _ in block).startswith(document_start)
        if blocks and starts:
            yield _conll_example(blocks, f"{path.name}:{first}", source)
            blocks = []
        if not blocks:
            first = number
        blocks.append(block)
    if not blocks:
        raise InputError(f"{path}: no tokens in it; give a file of 'token label' lines")
    yield _conll_example(blocks, f"{path.name}:{first}", source)


def _blocks(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """The (token, label) lists between blank lines, each with the number of its first line."""
    block: list[tuple[str, str]] = []
    number = 0
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            if block:
                yield number - len(block), block
            block = []
            continue
        cells = line.strip().split("\t") if "\t" in line.strip() else line.split()
        if len(cells) not in (2, 3) or not re.fullmatch(r"O|[BI]-\S+", cells[1].strip()):
            raise InputError(
                f"{path}, line {number}: {line.strip()!r} is not 'token label' with a label O, B-X or I-X; "
                f"correct the line"
            )
        block.append((cells[0].strip(), cells[1].strip()))
    if block:
        yield number + 1 - len(block), block


def _conll_example(blocks: list[list[tuple[str, str]]], identity: str, source: str) -> Example:
    parts: list[str] = []
    spans: list[Span] = []
    position = 0
    for block in blocks:
        start, label = 0, "O"
        end = position
        for token, tag in [*block, ("", "O")]:
            if label != "O" and tag != f"I-{label}":
                spans.append(Span.of(start, end, label))
                label = "O"
            if tag != "O" and label == "O":
                start, label = position, tag[2:]
            end = position + len(token)
            position = end + 1
        position -= 1  # the closing tag is no token
        parts.append(" ".join(token for token, _ in block))
    document = Document(identity, "\n".join(parts), source)
    return Example(identity, document, in_order(spans))


# --- tables and JSON --------------------------------------------------------------------------------


def read_table(
    path: Path,
    *,
    source: str,
    text: str | tuple[str, ...] = "text",
    id: str | None = None,
    labels: str = "label",
    label_separator: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    question: str | None = None,
) -> Iterator[Example]:
    """One document a row of a delimited file, plain or packed, with or without a byte order mark.

    `text` may name several columns: they are joined by a newline. `question` names the other text of a pair.
    Without `id` a document is named by file and line. With `label_separator` the gold is a set of labels, else one
    label. The other columns go to the document's meta. Without a header the columns are named "0", "1" and so on.
    """
    columns = (text,) if isinstance(text, str) else tuple(text)
    for number, row in read_rows(path, delimiter=delimiter, header=header):
        place = f"{path}, line {number}"
        for name in (*columns, labels, *(name for name in (id, question) if name)):
            if name not in row:
                raise missing_column(name, row, place)
        if label_separator is None:
            gold: Gold = _one_label(row[labels], labels, place)
        else:
            gold = frozenset(label.strip() for label in row[labels].split(label_separator) if label.strip())
        identity = row[id] if id else f"{path.name}:{number}"
        used = {*columns, labels, *(name for name in (id, question) if name)}
        meta = {name: value for name, value in row.items() if name not in used}
        document = Document(identity, "\n".join(row[name] for name in columns), source, meta)
        yield Example(identity, document, gold, question=row[question] if question else "")


def _one_label(value: object, column: str, place: str) -> str:
    label = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not label:
        raise InputError(f"{place}: no label in '{column}' ({value!r}); give the row one or take it out")
    return label


def read_json(
    path: Path, *, source: str, text: str = "text", id: str = "id", labels: str = "labels"
) -> Iterator[Example]:
    """A JSON list of objects, or JSON lines, plain or packed.

    `labels` holds one string or number (one label), a list of strings (a set of labels), or a list of
    spans `{"start": 0, "end": 5, "label": "X", "text": "toux"}` whose text is checked against the document.
    """
    for number, row in _json_rows(path):
        place = f"{path}, {number}"
        for name in (text, labels):
            if name not in row:
                raise missing_column(name, row, place)
        if not isinstance(row[text], str):
            raise InputError(f"{place}: '{text}' holds {type(row[text]).__name__}, not text; correct it")
        identity = str(row.get(id, f"{path.name}:{number}"))
        document = Document(identity, row[text], source)
        yield Example(identity, document, _json_gold(row[labels], labels, row[text], place))


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    numbered: Iterator[tuple[str, str]]
    if ".jsonl" in path.name or ".ndjson" in path.name:
        numbered = ((f"line {n}", line) for n, line in enumerate(read_lines(path), 1) if line.strip())
    else:
        numbered = iter([("the file", read_text(path).removeprefix("\ufeff"))])
    for place, raw in numbered:
        try:
            value = parsed_json(raw, f"{path}, {place}")
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, {place}: not JSON ({error.msg} at line {error.lineno}, column {error.colno}); "
                f"the file may be truncated"
            ) from error
        rows = value if isinstance(value, list) and place == "the file" else [value]
        for index, row in enumerate(rows, 1):
            where = f"entry {index}" if place == "the file" else place
            if not isinstance(row, dict):
                raise InputError(f"{path}, {where}: a JSON {type(row).__name__}, not an object; correct it")
            yield where, row


def _json_gold(value: object, column: str, text: str, place: str) -> Gold:
    if not isinstance(value, list):
        return _one_label(value, column, place)
    if all(isinstance(item, str) for item in value):
        return frozenset(value)
    spans = []
    for item in value:
        try:
            span = Span.of(int(item["start"]), int(item["end"]), str(item["label"]))
            expected = str(item["text"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{place}: {item!r} in '{column}' is neither a label nor a span (start, end, label, text)"
            ) from error
        spans.append(checked(span, text, expected, place))
    return in_order(spans)


# --- CodiEsp ----------------------------------------------------------------------------------------


def read_codiesp(path: Path, *, source: str) -> Iterator[Example]:
    """Diagnosis codes (`*D.tsv`, no header: document, code) of the texts in text_files/ or text_files.zip.

    Codes are given in capitals, as ICD-10 prints them. A document without a row has no codes.
    """
    tables = sorted(path.glob("*D.tsv"))
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} files end in D.tsv, not one; give a split's folder")
    texts = dict(_codiesp_texts(path))
    codes: dict[str, set[str]] = {name: set() for name in texts}
    for number, row in read_rows(tables[0], delimiter="\t", header=False):
        if row["0"] not in codes:
            raise InputError(f"{tables[0]}, line {number}: document '{row['0']}' has no text in {path}")
        codes[row["0"]].add(row["1"].upper())
    for name in sorted(texts):
        yield Example(name, Document(name, texts[name], source), frozenset(codes[name]))


def _codiesp_texts(path: Path) -> Iterator[tuple[str, str]]:
    folder, archive = path / "text_files", path / "text_files.zip"
    if folder.is_dir():
        yield from ((file.stem, read_text(file)) for file in sorted(folder.glob("*.txt")))
    elif archive.is_file():
        for name, raw in read_archive(archive, (".txt",)):
            yield PurePosixPath(name).stem, decode(raw, f"{archive}: {name}")
    else:
        raise InputError(f"{path}: neither text_files/ nor text_files.zip in it; give a split's folder")
