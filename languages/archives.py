"""Members of .zip and .tar archives, read within bounds."""

import errno
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from . import files
from .errors import InputError
from .files import Member, open_bytes, too_large, truncated, unpacked

ARCHIVE = re.compile(r"\.(?:zip|tar(?:\.(?P<packing>gz|zst|xz|bz2))?|(?P<short>tgz))$", re.IGNORECASE)


def read_archive(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the members of a .zip or .tar.gz that end in `suffixes`."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if entry.filename.endswith(suffixes) and not hidden(entry.filename):
                        if entry.file_size > files.LARGEST:
                            raise too_large(f"{path}: {entry.filename}")
                        yield entry.filename, archive.read(entry)
        else:
            with tarfile.open(path, "r:gz") as tar:
                for member in tar:
                    matches = member.name.endswith(suffixes) and not hidden(member.name)
                    if matches and member.size > files.LARGEST:
                        raise too_large(f"{path}: {member.name}")
                    handle = tar.extractfile(member) if matches else None
                    if handle is not None:
                        yield member.name, handle.read()
    except Exception as error:
        raise _damaged(error, path) from error


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files of a .zip or .tar (also .tar.gz, .tgz, .tar.zst, .tar.xz, .tar.bz2) whose names are wanted, each to
    be read before the next. InputError for a damaged archive, also while a member is read.
    """
    for name, open_member in _entries(path):
        if open_member is not None and wanted(name):
            with _refusing(path):
                stream = open_member()
            with stream:
                yield Member(path, name, stream)


def member_names(path: Path) -> Iterator[tuple[str, bool]]:
    """The name of each member that is no folder, and whether it is a file: a .tar may hold links too."""
    for name, open_member in _entries(path):
        yield name, open_member is not None


def _entries(path: Path) -> Iterator[tuple[str, Callable[[], BinaryIO] | None]]:
    """The members but folders, each with what opens it; a link with None."""
    match = ARCHIVE.search(path.name)
    assert match is not None
    with _refusing(path):
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        yield entry.filename, cast(Callable[[], BinaryIO], partial(archive.open, entry))
            return
        packing = (match["packing"] or match["short"] or "").lower()
        with path.open("rb") as handle, tarfile.open(fileobj=unpacked(handle, path, packing), mode="r|") as tar:
            for member in tar:
                if not member.isdir():
                    opener = cast(Callable[[], BinaryIO], partial(tar.extractfile, member))
                    yield member.name, opener if member.isfile() else None


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _damaged(error, path) from error


def _damaged(error: Exception, path: Path) -> Exception:
    """The InputError for what zipfile and tarfile raise; any other error as it is."""
    if isinstance(error, RuntimeError):  # zipfile's: a password is needed, or a way of packing that it does not know
        return InputError(f"{path}: it cannot be unpacked here ({error}); unpack it first")
    misplaced = isinstance(error, OSError) and error.errno == errno.EINVAL  # a directory that points before the file
    if misplaced or isinstance(error, (ValueError, OverflowError, IndexError, struct.error)):
        return InputError(f"{path}: truncated or damaged archive; copy or download it again")
    return truncated(error, path, "its members are not whole")


def archive_and_member(path: Path) -> tuple[Path, str]:
    """A path that may lead into an archive, as "ref.zip/training": the file on the disk, and the path inside it."""
    for folder in path.parents:
        if ARCHIVE.search(folder.name) and folder.is_file():
            return folder, path.relative_to(folder).as_posix()
    return path, ""


def files_below(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the files below a folder (its archives too), in an archive, or of the file itself.

    The path may lead into an archive ("ref.zip/training"): its files below that folder, with their names from there.
    """
    archive, member = archive_and_member(path)
    if member:
        inside = [(name, raw) for name, raw in read_archive(archive, suffixes) if f"{name}/".startswith(f"{member}/")]
        if not inside:
            raise InputError(f"{archive}: no {' or '.join(suffixes)} file below '{member}' in it; check the path")
        for name, raw in inside:
            yield name[len(member) :].lstrip("/") or PurePosixPath(name).name, raw
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.is_dir() or hidden(name):
                continue
            if name.endswith(suffixes):
                yield name, _whole(file)
            elif name.endswith((".zip", ".tar.gz")):
                yield from read_archive(file, suffixes)
    elif path.name.endswith((".zip", ".tar.gz")):
        yield from read_archive(path, suffixes)
    elif path.is_file():
        yield path.name, _whole(path)
    else:
        raise InputError(f"{path}: no such folder, .zip, .tar.gz or {' or '.join(suffixes)} file; check the path")


def _whole(file: Path) -> bytes:
    with open_bytes(file) as stream:
        raw = stream.read(files.LARGEST + 1)
    if len(raw) > files.LARGEST:
        raise too_large(file)
    return raw


def hidden(name: str) -> bool:
    """Whether a file is of the system that wrote the folder: a dot in front (._a.txt of macOS), or __MACOSX."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))
