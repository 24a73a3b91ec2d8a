"""brat's standoff: a .txt and an .ann a document."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..annotations import Example, Span, checked, tidy
from ..archives import files_below
from ..documents import Document
from ..errors import InputError
from ..files import decode

# A UMLS semantic group, or several: "CHEM", "OBJC|CHEM". A few Mantra notes have it one field early.
_NOTE_GROUP = re.compile(r'"([A-Z]{4}(?:\|[A-Z]{4})*)"')
_KNOWN = re.compile(r"[TREAMNF]\S*\t|[*#]")  # how a line of an .ann begins


def read_brat(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    label_from: str = "type",
    skip: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Pairs of .txt and .ann in a folder (with its subfolders and archives), a .zip or a .tar.gz.

    The text is taken as it is: no newline is translated, a byte order mark stays one character; that of an .ann is
    stripped. `label_from` "type" takes the type of the span; "note_group" the semantic group in its `#` note, the
    last quoted field that is one (Mantra; a note with two groups gives two labels). A span that carries several
    concepts of one label is one span. Text-bound lines alone are read (relations and events are not entities); a line
    that begins with nothing brat knows is an InputError. `skip` names documents to leave out. `notes` counts what
    `tidy` changes.
    """
    if label_from not in ("type", "note_group"):
        raise InputError(f"{path}: label_from is '{label_from}'; known: note_group, type")
    files: dict[str, bytes] = {}
    for name, raw in files_below(path, (".txt", ".ann")):
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
        lines = decode(files[annotations], f"{path}: {annotations}").removeprefix("\ufeff").split("\n")
        spans = _brat_spans(lines, document.text, f"{path}: {annotations}", label_from)
        yield Example(document.id, document, tidy(spans, document.text, notes))


def _brat_spans(lines: list[str], text: str, where: str, label_from: str) -> Iterator[Span]:
    groups = _note_groups(lines) if label_from == "note_group" else {}
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
        if label_from == "note_group" and mention not in groups:
            raise InputError(f"{place}: no # note gives its semantic group; add one")
        for name in groups[mention] if label_from == "note_group" else [label]:
            yield checked(Span(pairs, name), text, expected, place)


def _note_groups(lines: list[str]) -> dict[str, list[str]]:
    """The semantic groups that notes give, by the id of the annotation."""
    groups = {}
    for line in lines:
        cells = line.rstrip("\r").split("\t")
        quoted = _NOTE_GROUP.findall(cells[-1])
        if line.startswith("#") and len(cells) == 3 and quoted:
            groups[cells[1].split(" ")[-1]] = quoted[-1].split("|")
    return groups
