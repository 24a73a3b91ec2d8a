"""brat's files as annotators and their tools leave them."""

from collections import Counter
from pathlib import Path

import pytest
from medlingua.languages.annotations import Span
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.tasks import read_task

TEXT = "Le patient présente une toux\nsèche depuis trois jours."
COUGH = Span.of(24, 34, "DISO")  # toux\nsèche


def gold(folder: Path, ann: str | bytes, text: str = TEXT, notes: Counter[str] | None = None) -> tuple[Span, ...]:
    folder.mkdir(exist_ok=True)
    (folder / "d.txt").write_bytes(text.encode())
    (folder / "d.ann").write_bytes(ann if isinstance(ann, bytes) else ann.encode())
    (example,) = read_brat(folder, source="s", notes=notes)
    assert isinstance(example.gold, tuple)
    return example.gold


def test_a_byte_order_mark_of_the_ann_loses_no_entity(tmp_path: Path) -> None:
    ann = "\ufeffT1\tDISO 24 34\ttoux sèche\r\nT2\tPERS 3 10\tpatient\r\n"
    assert gold(tmp_path / "b", ann) == (Span.of(3, 10, "PERS"), COUGH)


def test_a_byte_order_mark_of_the_text_counts_in_offsets(tmp_path: Path) -> None:
    assert gold(tmp_path / "b", "T1\tPERS 4 11\tpatient\n", "\ufeff" + TEXT) == (Span.of(4, 11, "PERS"),)


def test_a_line_that_begins_with_nothing_brat_knows_is_an_error_without_its_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d\.ann, line 2: begins with none of T, R, E") as raised:
        gold(tmp_path / "b", "T1\tDISO 24 34\ttoux sèche\nMartin 1\tDISO 3 10\tpatient\n")
    assert "Martin" not in str(raised.value)
    assert "Martin" in raised.value.text


def test_what_brat_writes_besides_entities_is_passed_over(tmp_path: Path) -> None:
    other = "R1\tof Arg1:T1 Arg2:T1\nE1\tDISO:T1\nA1\tneg T1\nM1\tneg T1\nN1\tReference T1 UMLS:C1\tx\n"
    assert gold(
        tmp_path / "b", f"T1\tDISO 24 34\ttoux sèche\n{other}*\tEquiv T1 T1\n#1\tAnnotatorNotes T1\tx\n\n"
    ) == (COUGH,)


def test_a_newline_written_as_a_space_is_the_same_annotation(tmp_path: Path) -> None:
    assert gold(tmp_path / "b", "T1\tDISO 24 34\ttoux sèche\n") == (COUGH,)


def test_fragments_with_white_space_alone_between_them_are_one_entity(tmp_path: Path) -> None:
    notes = Counter[str]()
    assert gold(tmp_path / "b", "T1\tDISO 24 28;29 34\ttoux sèche\n", notes=notes) == (COUGH,)
    assert gold(tmp_path / "b", "T1\tDISO 29 34;24 28\tsèche toux\n", notes=notes) == (COUGH,)
    assert [line.format(n=n) for line, n in notes.items()] == [
        "annotations read as whole, whose fragments white space alone divides: 2"
    ]
    (apart,) = gold(tmp_path / "b", "T1\tDISO 24 28;42 47\ttoux trois\n")
    assert apart.discontinuous


def test_white_space_at_the_ends_is_cut_off_and_counted(tmp_path: Path) -> None:
    notes = Counter[str]()
    assert gold(tmp_path / "b", "T1\tDISO 23 35\t toux sèche \nT2\tPERS 3 10\tpatient\n", notes=notes) == (
        Span.of(3, 10, "PERS"),
        COUGH,
    )
    assert list(notes.values()) == [1]


def test_a_stray_click_is_left_out_and_counted(tmp_path: Path) -> None:
    notes = Counter[str]()
    assert gold(tmp_path / "b", "T1\tDISO 24 34\ttoux sèche\nT9\tDISO 5 5\t\nT8\tDISO 2 3\t \n", notes=notes) == (
        COUGH,
    )
    assert [line.format(n=n) for line, n in notes.items()] == [
        "annotations left out, which have no visible character: 2"
    ]


def test_what_was_changed_goes_with_the_task(tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "b"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"{number} toux sèche", encoding="utf-8")
        start = len(str(number)) + 1
        (folder / f"{number}.ann").write_text(f"T1\tDISO {start} {start + 5}\ttoux \n", encoding="utf-8")
    task = read_task(TaskSpec(name="t", kind="ner", path="b", reader="brat"), tmp_path, "fr")
    assert task.notes == ("annotations that lose the white space at their ends: 40",)


def test_other_words_stay_an_error(tmp_path: Path) -> None:
    for ann in ("T1\tDISO 24 34\ttoux grasse\n", "T1\tDISO 23 33\ttoux sèche\n", "T1\tDISO 24 28;29 34\ttouxsèche\n"):
        with pytest.raises(InputError, match="other words than the annotation says"):
            gold(tmp_path / "b", ann)


def test_files_that_macos_adds_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "._d.txt").write_bytes(b"\x00\x05\x16\x07")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "x.ann").write_bytes(b"\x00\x05\x16\x07")
    assert gold(folder, "T1\tDISO 24 34\ttoux sèche\n") == (COUGH,)
