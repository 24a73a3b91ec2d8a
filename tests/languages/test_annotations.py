import gzip
import io
import itertools
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.annotations import Span
from medlingua.languages.errors import InputError
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.readers.conll import read_conll
from medlingua.languages.readers.tables import read_json, read_table

TEXT = "\ufeffToux\r\net fièvre 😀 à 39 °C, œdème des\u00a0jambes."
ANN = (
    "T1\tSYMPTOM 1 5\tToux\n"
    "T2\tSYMPTOM 10 16\tfièvre\n"
    "T3\tSYMPTOM 10 16;21 26\tfièvre 39 °C\n"
    "T4\tSYMPTOM 10 26\tfièvre 😀 à 39 °C\n"
    "R1\tat Arg1:T1 Arg2:T2\n"
)


def brat(folder: Path, text: str = TEXT, ann: str = ANN, name: str = "d1") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(ann.encode())
    return folder


def test_V2_brat_offsets_count_characters_with_bom_crlf_and_emoji(tmp_path: Path) -> None:
    (example,) = read_brat(brat(tmp_path / "b"), source="s")
    text = example.document.text
    assert text == TEXT
    spans = example.gold
    assert isinstance(spans, tuple)
    assert [span.surface(text) for span in spans] == ["Toux", "fièvre", "fièvre 39 °C", "fièvre 😀 à 39 °C"]
    assert [span.discontinuous for span in spans] == [False, False, True, False]
    assert (spans[2].start, spans[2].end) == (10, 26)


@pytest.mark.parametrize("changed", [TEXT.removeprefix("\ufeff"), TEXT.replace("\r\n", "\n"), TEXT[:20]])
def test_V2_brat_offsets_that_do_not_match_show_both_strings_on_request(tmp_path: Path, changed: str) -> None:
    """The message, which ends in logs, has the place alone; the words are a patient's."""
    with pytest.raises(InputError, match=r"d1\.ann, line \d: offsets \d+ \d+.*other words than the annot") as raised:
        list(read_brat(brat(tmp_path / "b", text=changed), source="s"))
    actual, annotated = re.fullmatch(r"(.+), and the annotation says '(.+)'", raised.value.text).groups()  # type: ignore[union-attr]
    assert annotated in ANN
    assert actual != repr(annotated)
    assert annotated not in str(raised.value)


def test_brat_is_read_from_archives_and_subfolders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("in/d1.txt", TEXT)
        archive.writestr("in/d1.ann", ANN)
    folder = tmp_path / "folder"
    brat(tmp_path / "folder")
    with tarfile.open(folder / "rest.tar.gz", "w:gz") as tar:
        for name, body in (("rest/d2.txt", TEXT), ("rest/d2.ann", ANN)):
            member = tarfile.TarInfo(name)
            member.size = len(body.encode())
            tar.addfile(member, io.BytesIO(body.encode()))
    assert [example.id for example in read_brat(tmp_path / "b.zip", source="s")] == ["in/d1"]
    assert [example.id for example in read_brat(folder, source="s")] == ["d1", "rest/d2"]
    assert [example.id for example in read_brat(folder, source="s", skip=("rest/d2",))] == ["d1"]


def test_mantra_groups_come_from_the_note_and_concepts_of_one_group_are_one_span(tmp_path: Path) -> None:
    ann = (
        'T1\tC1 0 4\tToux\n#1\tAnnotatorNotes T1\t"C1", "cough", "Sign or Symptom" ,"DISO"\n'
        'T2\tC2 0 4\tToux\n#2\tAnnotatorNotes T2\t"C2", "coughing", "Finding" ,"DISO"\n'
        'T3\tC3 5 8\tsel\n#3\tAnnotatorNotes T3\t"C3", "salt", "Food|Chemical" ,"OBJC|CHEM"\n'
        'T4\tC4 5 8\tsel\n#4\tAnnotatorNotes T4\t"C4", "salt", "DEVI" ,"Research Device"\n'
    )
    (example,) = read_brat(brat(tmp_path / "m", "Toux sel", ann), source="s", label_from="note_group")
    assert isinstance(example.gold, tuple)
    assert {(s.start, s.label) for s in example.gold} == {(0, "DISO"), (5, "OBJC"), (5, "CHEM"), (5, "DEVI")}
    assert len(example.gold) == 4


@pytest.mark.parametrize(
    ("ann", "message"),
    [
        ("T1\tX 0\tToux\n", r"line 1: not a text-bound"),
        ("T1\tX 0 99\tToux\n", r"offsets 0 99 give other words"),
    ],
)
def test_brat_lines_that_are_broken_are_named(tmp_path: Path, ann: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_brat(brat(tmp_path / "b", "Toux", ann), source="s"))


def test_brat_files_without_their_half_are_an_error(tmp_path: Path) -> None:
    folder = brat(tmp_path / "b")
    (folder / "d1.ann").unlink()
    with pytest.raises(InputError, match=r"d1\.txt has no \.ann"):
        list(read_brat(folder, source="s"))
    with pytest.raises(InputError, match=r"no \.txt with \.ann"):
        list(read_brat(tmp_path / "b" / "..", source="s", skip=("b/d1",)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_conll_columns_spaces_and_documents(tmp_path: Path, end: str) -> None:
    lines = [
        "CASE O ",
        "1: O",
        "",
        "Toux B-S High",
        "sèche I-S High",
        "et O",
        "fièvre B-S",
        "I I-D",
        "",
        "CASE O",
    ]
    file = tmp_path / "c.tsv.gz"
    file.write_bytes(gzip.compress(end.join(lines).encode()))
    sentences = list(read_conll(file, source="s", label_column=2))
    assert [example.document.text for example in sentences] == ["CASE 1:", "Toux sèche et fièvre I", "CASE"]
    cases = list(read_conll(file, source="s", document_start="CASE", label_column=2))
    assert [example.document.text for example in cases] == ["CASE 1:\nToux sèche et fièvre I", "CASE"]
    assert [example.id for example in cases] == ["c.tsv.gz:1", "c.tsv.gz:10"]
    for example in (sentences[1], cases[0]):
        assert isinstance(example.gold, tuple)
        assert [(s.surface(example.document.text), s.label) for s in example.gold] == [
            ("Toux sèche", "S"),
            ("fièvre", "S"),
            ("I", "D"),
        ]


@given(
    st.lists(
        st.tuples(st.text("abcé", min_size=1, max_size=4), st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"])),
        min_size=1,
    )
)
def test_conll_spans_begin_where_tags_do(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("c") / "c.tsv"
    file.write_text("\n".join(f"{token}\t{tag}" for token, tag in rows), encoding="utf-8")
    (example,) = read_conll(file, source="s")
    before = ["O", *(tag for _, tag in rows)]
    begun = [
        tag[2:]
        for previous, tag in itertools.pairwise(before)
        if tag[0] == "B" or (tag[0] == "I" and previous[1:] != tag[1:])
    ]
    assert isinstance(example.gold, tuple)
    assert [span.label for span in example.gold] == begun
    assert sum(len(span.surface(example.document.text).split()) for span in example.gold) == sum(
        tag != "O" for _, tag in rows
    )


def test_conll_bad_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("a O\nb\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.tsv, line 2: 1 columns, and line 1 has 2"):
        list(read_conll(tmp_path / "c.tsv", source="s"))


def test_tables_with_bom_semicolons_several_texts_and_label_sets(tmp_path: Path) -> None:
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress('\ufeffq;a;y;n\r\nOù ?;"Ici;\nlà";x|y;1\r\n'.encode()))
    (one,) = read_table(file, source="s", text=("q", "a"), labels="y")
    assert (one.id, one.document.text, one.gold) == ("t.csv.gz:3", "Où ?\nIci;\nlà", "x|y")
    assert dict(one.document.meta) == {"n": "1"}
    (many,) = read_table(file, source="s", text="a", id="n", labels="y", label_separator="|")
    assert (many.id, many.gold) == ("1", frozenset({"x", "y"}))


def test_tables_without_a_header_or_a_label(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv"
    file.write_text("a\ttoux\tx\nb\tfièvre\t \n", encoding="utf-8")
    rows = read_table(file, source="s", text="1", id="0", labels="2", header=False)
    assert next(rows).gold == "x"
    with pytest.raises(InputError, match=r"t\.tsv, line 2: no label in '2'"):
        next(rows)
    with pytest.raises(InputError, match=r"no column 'lable'.*did you mean 'label'"):
        list(read_table(_csv(tmp_path), source="s", labels="lable"))


def _csv(folder: Path) -> Path:
    (folder / "u.csv").write_text("text,label\na,b\n", encoding="utf-8")
    return folder / "u.csv"


def test_json_gold_is_a_label_a_set_or_checked_spans(tmp_path: Path) -> None:
    span = {"start": 3, "end": 7, "label": "S", "text": "toux"}
    rows = [
        {"id": 1, "text": "La toux", "labels": "x"},
        {"text": "La toux", "labels": ["x", "y"]},
        {"text": "La toux", "labels": [span]},
    ]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    expected = ["x", frozenset({"x", "y"}), (Span.of(3, 7, "S"),)]
    assert [example.gold for example in read_json(tmp_path / "t.json", source="s")] == expected
    assert [example.gold for example in read_json(tmp_path / "t.jsonl.gz", source="s")] == expected


def test_V2_json_spans_that_do_not_match_are_an_error(tmp_path: Path) -> None:
    row = {"text": "La toux", "labels": [{"start": 2, "end": 6, "label": "S", "text": "toux"}]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.jsonl, line 1: offsets 2 6 give other words") as raised:
        list(read_json(tmp_path / "t.jsonl", source="s"))
    assert raised.value.text == "' tou', and the annotation says 'toux'"
