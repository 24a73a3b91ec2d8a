"""Which files a run's text came from, and whether they have changed since."""

import json
from collections.abc import Iterable
from pathlib import Path

from medlingua.languages.errors import InputError
from medlingua.languages.folders import files_of
from medlingua.recipes.folder import check_seal, digest
from medlingua.recipes.text.sources import SYNTHETIC, Source

_NAME = "files.json"


def note_files(folder: Path, sources: Iterable[Source]) -> None:
    """files.json in `folder`: size, time of the last change and digest of each file of the sources."""
    known = {str(file): [*_state(file), digest(file)] for file in _files(sources)}
    (folder / _NAME).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def changed_files(folder: Path, sources: Iterable[Source]) -> tuple[str, ...]:
    """Files that are new, gone or different since `note_files`; none for a folder that it did not see.

    A file is read only where its size or its time differ. InputError where the notes are damaged.
    """
    if not (folder / _NAME).exists():
        return ()
    try:
        known = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except ValueError as error:
        check_seal(folder)
        raise InputError(
            f"{folder}: {_NAME} is no JSON, so it is damaged; remove the folder {folder} to make it anew"
        ) from error
    now = {str(file): file for file in _files(sources)}
    changed = [
        name
        for name, (size, time, noted) in known.items()
        if name in now and _state(now[name]) != (size, time) and digest(now[name]) != noted
    ]
    return (*changed, *sorted(known.keys() ^ now.keys()))


def _files(sources: Iterable[Source]) -> list[Path]:
    """A data set of the hub has a revision instead."""
    return [
        file
        for source in sources
        if source.hub is None and source.path != SYNTHETIC
        for file in files_of(source.path).files
    ]


def _state(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_size, about.st_mtime_ns
