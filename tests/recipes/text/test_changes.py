"""Whether the files of a run's text have changed since they were read."""

import os
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.text.changes import changed_files, note_files
from medlingua.recipes.text.sources import Source


@pytest.fixture
def notes(tmp_path: Path) -> Source:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(f"Le patient {name} tousse.", encoding="utf-8")
    return Source("notes", str(folder), None, "MIT", "the test")


def test_files_that_are_new_gone_or_different_are_named(notes: Source, tmp_path: Path) -> None:
    note_files(tmp_path, [notes])
    assert changed_files(tmp_path, [notes]) == ()
    folder = Path(notes.path)
    os.utime(folder / "a.txt", (1, 1))
    assert changed_files(tmp_path, [notes]) == (), "another time is no other text"
    (folder / "a.txt").write_text("Le patient a.txt va bien", encoding="utf-8")
    (folder / "b.txt").unlink()
    (folder / "d.txt").write_text("Une patiente.", encoding="utf-8")
    assert changed_files(tmp_path, [notes]) == tuple(str(folder / name) for name in ("a.txt", "b.txt", "d.txt"))


def test_text_that_was_never_noted_has_not_changed(notes: Source, tmp_path: Path) -> None:
    assert changed_files(tmp_path, [notes]) == ()


def test_generated_cases_have_no_files(tmp_path: Path) -> None:
    cases = Source("synthetic_fr", "synthetic", None, "MIT", "the test", synthetic=True)
    note_files(tmp_path, [cases])
    assert changed_files(tmp_path, [cases]) == ()


def test_damaged_notes_are_one_clear_error(notes: Source, tmp_path: Path) -> None:
    note_files(tmp_path, [notes])
    with (tmp_path / "files.json").open("r+b") as file:
        file.truncate(20)
    with pytest.raises(InputError, match=r"files\.json is no JSON.*remove the folder"):
        changed_files(tmp_path, [notes])
