import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.documents import Document, read_documents
from medlingua.languages.errors import InputError

ROWS = [
    {"id": "a", "text": "Fièvre à 39 °C.", "year": 2020},
    {"id": "b", "text": "Œdème, 10⁹/L.", "year": 2021},
]


def read(path: Path | str, text_field: str | None = None) -> list[Document]:
    return list(read_documents(path, source="s", text_field=text_field))


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(path: Path, data: bytes) -> Path:
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "csv", "tsv"])
def test_every_table_format_gives_the_same_documents(tmp_path: Path, kind: str, packing: str) -> None:
    data = jsonl(ROWS)
    if kind in ("csv", "tsv"):
        mark = "\t" if kind == "tsv" else ";"
        lines = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
        data = ("\ufeff" + "\r\n".join(mark.join(map(str, line)) for line in lines)).encode()
    documents = read(write(tmp_path / f"c.{kind}{packing}", data))
    assert [(d.id, d.text, d.source) for d in documents] == [(r["id"], r["text"], "s") for r in ROWS]
    assert [str(d.meta["year"]) for d in documents] == ["2020", "2021"]


def test_parquet_streams_rows_with_their_metadata(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet", row_group_size=1)
    documents = read(tmp_path / "c.parquet")
    assert [(d.id, d.text, dict(d.meta)) for d in documents] == [
        ("a", "Fièvre à 39 °C.", {"year": 2020}),
        ("b", "Œdème, 10⁹/L.", {"year": 2021}),
    ]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_a_text_file_is_one_document_with_its_newlines_and_without_its_bom(tmp_path: Path, packing: str) -> None:
    file = write(tmp_path / f"note.txt{packing}", "\ufeffToux.\r\n\r\nFièvre.".encode())
    (document,) = read(file)
    assert (document.id, document.text) == (file.name, "Toux.\r\n\r\nFièvre.")


def test_a_folder_is_read_in_order_with_its_subfolders_and_a_glob_picks(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", b"B")
    write(tmp_path / "a" / "x.md.gz", b"A")
    write(tmp_path / "a" / "photo.png", b"\x89")
    assert [d.id for d in read(tmp_path)] == ["a/x.md.gz", "b.txt"]
    assert [d.id for d in read(str(tmp_path / "**" / "*.md.gz"))] == ["a/x.md.gz"]


def test_rows_without_an_id_are_named_by_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "c.jsonl", b'{"text": "x"}\n\n{"text": "y"}\n')
    assert [d.id for d in read(file)] == ["c.jsonl:1", "c.jsonl:3"]


def test_several_zstd_frames_are_one_stream(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / "c.jsonl.zst").write_bytes(b"".join(pack(jsonl([row])) for row in ROWS))
    assert len(read(tmp_path / "c.jsonl.zst")) == 2


def test_one_document_of_50_mb_is_no_error(tmp_path: Path) -> None:
    text = "Le patient va bien. " * 2_500_000
    (tmp_path / "c.csv").write_text(f"text\n{text}\n", encoding="utf-8")
    (document,) = read(tmp_path / "c.csv")
    assert document.text == text


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_jsonl_round_trip(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("j") / "c.jsonl"
    file.write_bytes(jsonl([{"text": text} for text in [*texts, "end"]]))
    assert [d.text for d in read(file)] == [*texts, "end"]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("c") / "c.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text", "n"], *([text, "1"] for text in [*texts, "end"])])
    assert [d.text for d in read(file)] == [*texts, "end"]


# --- bad input: each message says what, where and what to do -----------------------------------------


def fails(path: Path | str, *parts: str, text_field: str | None = None) -> None:
    with pytest.raises(InputError) as error:
        read(path, text_field)
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_missing_path_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", jsonl(ROWS))
    fails(tmp_path / "corpsu.jsonl", "corpsu.jsonl", "no such file", "did you mean 'corpus.jsonl'")


def test_unreadable_format_names_the_formats(tmp_path: Path) -> None:
    fails(write(tmp_path / "c.docx", b"x"), "c.docx", ".jsonl", ".parquet")
    fails(tmp_path, "no documents in it", "1 .docx", "pandoc -t plain")


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl", "c.csv", "c.jsonl.gz", "c.jsonl.zst"])
def test_empty_files_hold_no_documents(tmp_path: Path, name: str) -> None:
    fails(write(tmp_path / name, b""), name, "no documents")


def test_not_utf8_names_line_and_byte(tmp_path: Path) -> None:
    fails(write(tmp_path / "c.txt", "Ça".encode("latin-1")), "c.txt", "byte 0 (0xc7)", "iconv")
    fails(
        write(tmp_path / "c.jsonl", jsonl(ROWS[:1]) + b'{"text": "\xe9"}\n'),
        "line 2",
        f"byte {len(jsonl(ROWS[:1])) + 10}",
    )


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.jsonl.zst", "c.txt.gz", "c.txt.zst"])
def test_truncated_archives_say_so(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = [{"text": f"{i} {hash(str(i))}"} for i in range(5000)]
    file = write(tmp_path / name, jsonl(rows))
    file.write_bytes(file.read_bytes()[:-200])
    fails(file, name, "truncated", "again")


def test_damaged_archives_say_so(tmp_path: Path) -> None:
    for name in ("c.jsonl.gz", "c.jsonl.zst"):
        (tmp_path / name).write_bytes(b"not packed at all")
        fails(tmp_path / name, name, "damaged")


def test_truncated_parquet_says_so(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    file.write_bytes(file.read_bytes()[:-10])
    fails(file, "c.parquet", "truncated", "0 documents came before")


def test_parquet_text_that_is_not_utf8_says_so_and_after_which_row(tmp_path: Path) -> None:
    latin = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array(["fi\u00e8vre".encode("latin-1")]).buffers()[1:]])
    file = tmp_path / "c.parquet"
    pq.write_table(pa.table({"text": pa.chunked_array([pa.array(["a"] * 1_024), latin])}), file)
    fails(file, "c.parquet, after row 1024", "not UTF-8")


def test_a_parquet_date_that_python_has_not_names_the_row_and_what_to_do(tmp_path: Path) -> None:
    late = pa.array([0, 2**30], pa.int32()).cast(pa.date32())
    file = tmp_path / "c.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "written": late}), file)
    fails(file, "c.parquet, after row 0", "out of range", "correct its column or leave it out")


def test_truncated_jsonl_names_the_line_and_what_came_before(tmp_path: Path) -> None:
    fails(write(tmp_path / "c.jsonl", jsonl(ROWS)[:-9]), "line 2", "1 documents came before", "truncated")


def test_truncated_csv_names_the_line(tmp_path: Path) -> None:
    fails(write(tmp_path / "c.csv", b'id,text\n1,"an open quote\nand more'), "after line 1", "truncated")
    fails(write(tmp_path / "c.csv", b"id,text\n1,a,b\n"), "line 2", "3 cells where there are 2 columns")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("c.csv", b"id,text\r1,Toux.\r2,Otite.\r"),
        ("c.tsv", b"id\ttext\r1\tToux.\r2\tOtite.\r"),
        ("c.jsonl", b'{"text": "Toux."}\r{"text": "Otite."}\r'),
    ],
)
def test_lines_of_old_macs_are_refused_with_what_converts_them(name: str, raw: bytes, tmp_path: Path) -> None:
    fails(write(tmp_path / name, raw), name, "CR alone", r"tr '\r' '\n'")
    assert [document.text for document in read(write(tmp_path / name, raw.replace(b"\r", b"\n")))] == [
        "Toux.",
        "Otite.",
    ]


def test_a_key_that_stands_twice_loses_no_text_silently(tmp_path: Path) -> None:
    file = write(tmp_path / "c.jsonl", b'{"text": "Otite."}\n{"text": "Toux.", "text": "Rhume."}\n')
    fails(file, "c.jsonl, line 2", "a key twice")
    with pytest.raises(InputError) as error:
        read(file)
    assert error.value.text == "text"


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_missing_column_names_the_columns_and_the_nearest(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "c.parquet":
        pq.write_table(pa.Table.from_pylist([{"texte": "a", "an": 1}]), file)
    else:
        write(file, b'{"texte": "a", "an": 1}\n' if name == "c.jsonl" else b"texte,an\na,1\n")
    # A table's first line may be text, and so may keys be: they are shown where asked for.
    fails(file, name, "no column 'text' among the 2", "did you mean 'texte'", "--text-field")
    with pytest.raises(InputError) as error:
        read(file)
    assert sorted(error.value.text.split(", ")) == ["an", "texte"]
    assert read(file, text_field="texte")[0].text == "a"


def test_a_line_that_is_no_object_or_whose_text_is_no_string(tmp_path: Path) -> None:
    fails(write(tmp_path / "c.jsonl", b'["a"]\n'), "line 1", "a list, not an object")
    fails(write(tmp_path / "c.jsonl", b'{"text": 3}\n'), "line 1", "'text' holds a number")
    fails(write(tmp_path / "c.jsonl", b'{"text": "a\\ud800"}\n'), "line 1", "surrogate", "character 1")
