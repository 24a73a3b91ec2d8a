"""brat's standoff: a .txt and an .ann a document."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..annotations import NO_CODE, Example, Span, placed, tidy
from ..archives import files_below
from ..documents import Document
from ..errors import InputError
from ..files import decode

# A UMLS semantic group, or several: "CHEM", "OBJC|CHEM". A few Mantra notes have it one field early.
_NOTE_GROUP = re.compile(r'"([A-Z]{4}(?:\|[A-Z]{4})*)"')
Mention = tuple[str, str, Span]  # its id, the place of its line, and the span with its type
_KNOWN = re.compile(r"[TREAMNF]\S*\t|[*#]")  # how a line of an .ann begins


def read_brat(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    label_from: str = "type",
    skip: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    lines: bool = False,
    misplaced: str = "refuse",
    codes: str = ".+",
) -> Iterator[Example]:
    """Pairs of .txt and .ann in a folder (with its subfolders and archives), a .zip or a .tar.gz.

    The text is taken as it is: no newline is translated, a byte order mark stays one character; that of an .ann is
    stripped. `label_from` "type" takes the type of the span; "note_group" the semantic group in its `#` note, the
    last quoted field that is one (Mantra; a note with two groups gives two labels); "note" the whole note, a code
    (CANTEMIST): where no note matches the regular expression `codes`, the mention is left out, and counted. A span
    that carries several concepts of one label is one span. Text-bound lines alone are read (relations and events are
    not entities); a line that begins with nothing brat knows is an InputError. `skip` names documents to leave out; a
    pattern with * may match none. `labels` names those that count (of codes their types); without it all do. `lines`:
    each line of a text is a document of its own. `misplaced` as in `placed`. `notes` counts what `placed` and `tidy`
    change.
    """
    if label_from not in ("type", "note", "note_group"):
        raise InputError(f"{path}: label_from is '{label_from}'; known: note, note_group, type")
    try:
        pattern = re.compile(codes)
    except re.error as error:
        raise InputError(f"{path}: codes is '{codes}', which is no regular expression ({error})") from error
    for document, annotated, place in annotated_documents(path, source, skip):
        mentions = mentions_in(annotated, document.text, place, notes, misplaced)
        spans: Iterable[Span]
        if label_from == "type":
            spans = (span for _, _, span in mentions if not labels or span.label in labels)
        elif label_from == "note_group":
            spans = _by_group(mentions, _notes(annotated), labels)
        else:
            spans = _by_code(mentions, _notes(annotated), labels, pattern, notes)
        gold = tidy(spans, document.text, notes)
        if lines:
            yield from _by_line(document, gold, place)
        else:
            yield Example(document.id, document, gold)


def annotated_documents(
    path: Path, source: str, skip: tuple[str, ...] = ()
) -> Iterator[tuple[Document, list[str], str]]:
    """The documents of a brat folder or archive by name, each with the lines of its .ann and their place."""
    files: dict[str, bytes] = {}
    for name, raw in files_below(path, (".txt", ".ann")):
        if name in files:
            raise InputError(f"{path}: {name} occurs twice, in the folder and in an archive; take one out")
        files[name] = raw
    if absent := [name for name in skip if "*" not in name and f"{name}.txt" not in files]:
        raise InputError(f"{path}: skip names '{absent[0]}', which is not there; correct the option")
    texts = sorted(name for name in files if name.endswith(".txt") and not _skipped(name, skip))
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
        annotated = decode(files[annotations], f"{path}: {annotations}").removeprefix("\ufeff").split("\n")
        yield document, annotated, f"{path}: {annotations}"


def _skipped(name: str, skip: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name[:-4], pattern) for pattern in skip)


def _by_line(document: Document, spans: tuple[Span, ...], where: str) -> Iterator[Example]:
    """Each line that is not blank as a document, with the spans in it. InputError for a span that crosses lines."""
    starts = [span.start for span in spans]
    start = 0
    for number, line in enumerate(document.text.split("\n"), 1):
        end = start + len(line)
        inside = spans[bisect_left(starts, start) : bisect_left(starts, end)]
        if any(span.end > end for span in inside):
            raise InputError(
                f"{where}: a span goes beyond line {number} of the text; take 'lines' out of the options"
            )
        if line.strip():
            name = f"{document.id}:{number}"
            moved = tuple(
                Span(tuple((begin - start, finish - start) for begin, finish in span.fragments), span.label)
                for span in inside
            )
            yield Example(name, Document(name, line, document.source, {"document": document.id}), moved)
        start = end + 1


def mentions_in(
    lines: list[str], text: str, where: str, notes: Counter[str] | None = None, misplaced: str = "refuse"
) -> Iterator[Mention]:
    """The text-bound annotations of an .ann, checked as `placed` does."""
    for number, line in enumerate(lines, 1):
        place = f"{where}, line {number}"
        if line.strip() and not _KNOWN.match(line):
            raise InputError(
                f"{place}: begins with none of T, R, E, A, M, N, * and #, as brat's lines do; correct it or take it "
                "out",
                text=line.rstrip(),
            )
        if not line.startswith("T"):
            continue
        cells = line.rstrip("\r").split("\t", 2)
        try:
            mention, (label, offsets), expected = cells[0], cells[1].split(" ", 1), cells[2]
            fragments = [tuple(map(int, pair.split(" "))) for pair in offsets.split(";")]
            pairs = tuple((start, end) for start, end in fragments)
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{place}: not a text-bound annotation; expected 'T1<tab>LABEL start end[;start end]<tab>text'",
                text=line.rstrip(),
            ) from error
        yield mention, place, placed(Span(pairs, label), text, expected, place, notes, misplaced)


def _notes(lines: list[str]) -> dict[str, list[str]]:
    """The notes of each annotation, by its id."""
    notes: dict[str, list[str]] = {}
    for line in lines:
        cells = line.rstrip("\r").split("\t")
        if line.startswith("#") and len(cells) == 3:
            notes.setdefault(cells[1].split(" ")[-1], []).append(cells[2])
    return notes


def _by_group(mentions: Iterable[Mention], notes_of: dict[str, list[str]], labels: tuple[str, ...]) -> Iterator[Span]:
    """Spans by the semantic groups that their last note with one gives."""
    for mention, place, span in mentions:
        groups = [quoted[-1] for note in notes_of.get(mention, ()) if (quoted := _NOTE_GROUP.findall(note))]
        if not groups:
            raise InputError(f"{place}: no # note gives its semantic group; add one")
        for name in groups[-1].split("|"):
            if not labels or name in labels:
                yield replace(span, label=name)


def _by_code(
    mentions: Iterable[Mention],
    notes_of: dict[str, list[str]],
    types: tuple[str, ...],
    pattern: re.Pattern[str],
    notes: Counter[str] | None,
) -> Iterator[Span]:
    """Spans of the types by the codes that their notes are."""
    for mention, _, span in mentions:
        if types and span.label not in types:
            continue
        codes = [note.strip() for note in notes_of.get(mention, ()) if pattern.fullmatch(note.strip())]
        if not codes and notes is not None:
            notes[NO_CODE] += 1
        for code in codes:
            yield replace(span, label=code)
