"""Which files of a folder or an archive are documents, and what it holds beside them."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .archives import ARCHIVE, hidden, member_names, members
from .errors import InputError, nearest
from .files import Member

FORMATS = ("txt", "md", "jsonl", "ndjson", "csv", "tsv", "parquet", "arrow")
NAME = re.compile(rf"\.({'|'.join(FORMATS)})(?:\.(gz|zst|xz|bz2))?$", re.IGNORECASE)
READABLE = f"readable are {', '.join(f'.{name}' for name in FORMATS)}, plain, .gz, .zst, .xz or .bz2, in .zip or .tar"
# About the files, and not one of them. In capitals alone: a "notice" is a patient's leaflet in French.
_ABOUT = re.compile(
    r"((?i:readme([-_.]\w+)?|licen[cs]e|copying|changelog|citation)|NOTICE)(?i:\.(txt|md))(\.(gz|zst|xz|bz2))?"
)
_CONVERTERS = {
    "pdf": "pdftotext FILE.pdf",
    "docx": "pandoc -t plain FILE.docx -o FILE.txt",
    "odt": "pandoc -t plain FILE.odt -o FILE.txt",
    "rtf": "pandoc -t plain FILE.rtf -o FILE.txt",
    "html": "pandoc -t plain FILE.html -o FILE.txt",
    "doc": "soffice --headless --convert-to txt FILE.doc",
    "xlsx": "in Excel save it as 'CSV UTF-8'",
    "xls": "in Excel save it as 'CSV UTF-8'",
    "json": "jq -c '.[]' FILE.json > FILE.jsonl",
    "xml": "xmllint --xpath 'string(/)' FILE.xml > FILE.txt; annotated XML is read by a task's reader",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """files: what a path means, sorted. root: their names are relative to it. unread: what else is there, counted,
    but for members of archives."""

    files: tuple[Path, ...]
    root: Path
    unread: Counter[str]

    @property
    def note(self) -> str:
        """What is not read, in words; empty where all is. Archives are looked through: a packed .tar is unpacked."""
        unread = sum((_unread_in(file) for file in self.files if ARCHIVE.search(file.name)), self.unread)
        return _in_words(unread)


def files_of(path: str | Path) -> Listing:
    """The documents' files of a folder (with its subfolders, by links too), of a glob pattern, or the file itself.

    Left out and counted: names with a dot in front, readme and licence files, other formats, links that lead nowhere.
    Of a hub's cache folder (snapshots/, refs/) the snapshot that `main` names is read. InputError where nothing is
    left, with the tool that converts what is there.
    """
    place = Path(path)
    if place.is_file():
        if not _readable(place.name):
            raise InputError(f"{place}: not a format that can be read{_remedy([place.name])}; {READABLE}")
        return Listing((place,), place.parent, Counter())
    unread: Counter[str] = Counter()
    if place.is_dir():
        root = _snapshot(place)
        candidates = list(_walk(root, unread))
    elif glob.has_magic(str(path)):
        parts = place.parts
        first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        root = Path(*parts[:first])
        candidates = [entry for entry in root.glob("/".join(parts[first:])) if entry.is_file()]
    else:
        siblings = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = f" ({nearest(place.name, siblings)})" if 0 < len(siblings) <= 40 else ""
        raise InputError(f"{path}: no such file, folder or pattern{hint}; check the path")
    files = []
    for file in sorted(candidates):
        kind = _left_out(file.relative_to(root).as_posix())
        if kind:
            unread[kind] += 1
        else:
            files.append(file)
    listing = Listing(tuple(files), root, unread)
    if not files:
        there = f"it holds {listing.note}" if unread else "it is empty"
        raise InputError(
            f"{path}: no documents in it: {there}{_remedy([file.name for file in candidates])}; {READABLE}"
        )
    return listing


def documents_in(archive: Path) -> Iterator[Member]:
    """The members that are documents, chosen as the files of a folder are; one is read before the next is taken.

    InputError for none, with the tool that converts what is there, and for a damaged archive.
    """
    found = False
    for member in members(archive, lambda name: not _left_out(name, in_archive=True)):
        found = True
        yield member
    if not found:
        unread = _unread_in(archive)
        there = f"it holds {_in_words(unread)}" if unread else "it is empty"
        names = [name for name, _ in member_names(archive)]
        raise InputError(f"{archive}: no documents in it: {there}{_remedy(names)}; {READABLE}")


def _unread_in(archive: Path) -> Counter[str]:
    kinds = (_left_out(name, in_archive=True) if file else "link" for name, file in member_names(archive))
    return Counter(kind for kind in kinds if kind)


def _in_words(unread: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(unread.items()))


def _left_out(name: str, in_archive: bool = False) -> str:
    """Why a file is not read, as it is counted; empty for a document, and for an archive that is in no other."""
    base = name.rpartition("/")[2]
    if hidden(name):
        return "with a dot in front"
    if _ABOUT.fullmatch(base):
        return base
    readable = NAME.search(base) if in_archive else _readable(base)
    return "" if readable else Path(base).suffix.lower() or "without an ending"


def _readable(name: str) -> bool:
    return bool(NAME.search(name) or ARCHIVE.search(name))


def _walk(root: Path, unread: Counter[str]) -> Iterator[Path]:
    """All files below a folder, by links too; each folder once, so that no circle of links is endless."""
    seen = {os.path.realpath(root)}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        for name in list(subfolders):
            real = os.path.realpath(Path(folder, name))
            if real in seen:
                subfolders.remove(name)
                unread["linked folder that is read already"] += 1
            seen.add(real)
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                yield file
            else:
                unread["link that leads nowhere"] += 1


def _snapshot(folder: Path) -> Path:
    """The files of a hub's cache folder: those of the revision that main names, or the only ones."""
    snapshots = folder / "snapshots"
    if not (snapshots.is_dir() and (folder / "blobs").is_dir()):
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / main.read_text(encoding="utf-8").strip()).is_dir():
        return snapshots / main.read_text(encoding="utf-8").strip()
    revisions = sorted(entry for entry in snapshots.iterdir() if entry.is_dir())
    if len(revisions) != 1:
        raise InputError(
            f"{folder}: a hub's cache with {len(revisions)} revisions and none called main; give the folder of one, "
            f"below {snapshots}"
        )
    return revisions[0]


def _remedy(names: list[str]) -> str:
    """How to convert what cannot be read."""
    endings = dict.fromkeys(name.rpartition(".")[2].lower() for name in names)
    tools = [f".{ending}: {_CONVERTERS[ending]}" for ending in endings if ending in _CONVERTERS]
    return f"; convert it first ({'; '.join(tools)})" if tools else ""
