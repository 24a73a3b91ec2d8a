"""Files from anybody: whatever the bytes, a reader gives documents or one InputError, in bounded memory."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medlingua.languages import files, parquet
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.questions import read_bioasq
from medlingua.languages.readers import READERS as TOOLS
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.readers.brat_relations import read_brat_relations
from medlingua.languages.readers.concepts import read_concepts
from medlingua.languages.readers.conll import read_conll
from medlingua.languages.readers.cues import read_cues
from medlingua.languages.readers.lines import read_line_labels
from medlingua.languages.readers.pairs import read_deft_pairs
from medlingua.languages.readers.standoff import read_codes, read_offsets
from medlingua.languages.readers.tables import read_json, read_table
from medlingua.languages.readers.token_lists import read_bio_lists
from medlingua.languages.readers.tokens import read_tokens
from medlingua.languages.terminology import read_terminology

from .annotation_tools import PROJECTS
from .packed_files import arrow_bytes, parquet_bytes, zip_bytes

fuzzed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def brat(folder: Path, raw: bytes) -> list[Any]:
    (folder / "brat").mkdir(exist_ok=True)
    (folder / "brat" / "a.txt").write_bytes(b"Le patient tousse.")
    (folder / "brat" / "a.ann").write_bytes(raw)
    return list(read_brat(folder / "brat", source="s"))


def of_file(name: str, reader: Callable[..., Any]) -> Callable[[Path, bytes], list[Any]]:
    def read(folder: Path, raw: bytes) -> list[Any]:
        (folder / name).write_bytes(raw)
        return list(reader(folder / name, source="s"))

    return read


def next_to(name: str, reader: Callable[..., Any], others: dict[str, bytes]) -> Callable[[Path, bytes], list[Any]]:
    """A file of a folder that is read whole, its other files good."""

    def read(folder: Path, raw: bytes) -> list[Any]:
        for other, content in {**others, name: raw}.items():
            (folder / "of" / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / "of" / other).write_bytes(content)
        return list(reader(folder / "of", source="s"))

    return read


def of_tool(name: str) -> tuple[Callable[[Path, bytes], list[Any]], bytes]:
    reader, file, good, options = PROJECTS[name]
    return of_file(file, partial(TOOLS[reader].read, **options)), good


ROW = b'{"id": "1", "text": "Le patient tousse.", "labels": ["a"], "label": "b"}\n'
TABLE = b'id,text,label\n1,"Le patient, tousse.",b\n'
NOTE = {"text_files/a.txt": b"Le patient tousse."}
YESNO = (
    b'{"questions": [{"id": "q", "type": "yesno", "body": "b", "snippets": [{"text": "t"}], "exact_answer": "no"}]}'
)
# name: (reads these bytes, bytes that are good)
READERS: dict[str, tuple[Callable[[Path, bytes], list[Any]], bytes]] = {
    "brat": (brat, b"T1\tDIS 11 17\ttousse\nT2\tDIS 0 2;3 10\tLe patient\n#1\tAnnotatorNotes T1\tnote\n"),
    "conll": (of_file("a.conll", read_conll), b"Le O\npatient B-X\ntousse I-X\n\n. O\n"),
    "tokens": (of_file("a.conllu", read_tokens), b"1\tLe\tDET\n2\tpatient\tNOUN\n"),
    "token lists": (of_file("a.jsonl", read_bio_lists), b'{"tokens": ["Le", "chat"], "ner_tags": ["O", "B-X"]}\n'),
    "brat relations": (
        next_to("a.ann", read_brat_relations, {"a.txt": b"Le patient tousse."}),
        b"T1\tA 3 10\tpatient\nT2\tB 11 17\ttousse\nR1\tof Arg1:T1 Arg2:T2\n*\tlike T1 T2\n",
    ),
    "codes in notes": (
        next_to("a.ann", partial(read_brat, label_from="note"), {"a.txt": b"Le patient tousse."}),
        b"T1\tA 11 17\ttousse\n#1\tICD T1\tR05\n",
    ),
    "terminology": (of_file("a.tsv", lambda file, source: list(read_terminology(file))), b"code\tterm\nR05\ttoux\n"),
    "cues of words": (
        next_to("CAS_neg.txt", partial(read_cues, unit="neg"), {}),
        b"1\t0\tpas\tpas\tADV\tB_cue_neg\t_\n",
    ),
    "offsets": (next_to("a.tsv", read_offsets, NOTE), b"filename\tlabel\tstart\tend\ttext\na\tX\t0\t2\tLe\n"),
    "codes": (next_to("a.tsv", read_codes, NOTE), b"a\tR05\na\tI10\n"),
    "line labels": (next_to("labels/a.txt", read_line_labels, {"text/a.txt": b"Il tousse.\nOui."}), b"< <A--B ANDC"),
    "cues": (
        next_to("CAS_neg.txt", read_cues, {"CAS_spec.txt": b"1\t0\tIl\til\tPRO\t***\n"}),
        b"1\t0\tIl\til\tPRO\t_\n",
    ),
    "concepts": (next_to("a.con", read_concepts, {"a.txt": b"Il tousse."}), b'c="tousse." 1:1 1:1||t="problem"\n'),
    "deft pairs": (
        of_file("t1.xml", read_deft_pairs),
        b'<doc><paire id="1" moy="3"><source>a</source><cible>b</cible></paire></doc>',
    ),
    "bioasq": (of_file("a.json", read_bioasq), YESNO),
    "csv": (of_file("a.csv", read_documents), TABLE),
    "tsv": (of_file("a.tsv", read_documents), TABLE.replace(b",", b"\t")),
    "labelled table": (of_file("b.csv", read_table), TABLE),
    "jsonl": (of_file("a.jsonl", read_documents), ROW * 2),
    "labelled json": (of_file("a.json", read_json), b"[" + ROW.strip() + b"]"),
    "txt": (of_file("a.txt", read_documents), "Fièvre.".encode()),
    "gzip": (of_file("a.jsonl.gz", read_documents), gzip.compress(ROW, mtime=0)),
    "zstd": (of_file("a.jsonl.zst", read_documents), zstandard.ZstdCompressor().compress(ROW)),
    "parquet": (of_file("a.parquet", read_documents), parquet_bytes("Le patient tousse.", "Fièvre.")),
    "arrow": (of_file("a.arrow", read_documents), arrow_bytes("Le patient tousse.", "Fièvre.")),
    "zip": (of_file("a.zip", read_documents), zip_bytes("Le patient tousse.", "Fièvre.")),
    "xz": (of_file("a.jsonl.xz", read_documents), lzma.compress(ROW)),
    "bz2": (of_file("a.jsonl.bz2", read_documents), bz2.compress(ROW)),
    **{name: of_tool(name) for name in PROJECTS},
}


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_any_bytes_are_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    read, good = READERS[name]
    raw = data.draw(st.one_of(st.binary(max_size=200), harmed(good)))
    try:
        read(tmp_path, raw)
    except InputError as error:
        message = str(error)
        assert str(tmp_path) in message


def harmed(good: bytes) -> st.SearchStrategy[bytes]:
    """Good bytes with a stretch of them replaced."""
    return st.builds(
        lambda start, end, new: good[: min(start, end)] + new + good[max(start, end) :],
        st.integers(0, len(good)), st.integers(0, len(good)), st.binary(max_size=12),
    )  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_the_good_bytes_of_the_fuzzing_are_good(name: str, tmp_path: Path) -> None:
    read, good = READERS[name]
    assert read(tmp_path, good)


@pytest.mark.parametrize("name", ["jsonl", "labelled json"])
def test_json_nested_without_end_is_refused(name: str, tmp_path: Path) -> None:
    read, _ = READERS[name]
    with pytest.raises(InputError, match="nested too deeply"):
        read(tmp_path, b'{"text": ' + b"[" * 200_000 + b"\n")


@pytest.mark.parametrize("name", ["jsonl", "labelled json"])
def test_json_with_a_number_of_thousands_of_digits_is_refused(name: str, tmp_path: Path) -> None:
    read, _ = READERS[name]
    with pytest.raises(InputError, match="JSON that cannot be read"):
        read(tmp_path, b'{"text": "a", "labels": "b", "n": ' + b"9" * 5_000 + b"}\n")


@pytest.mark.parametrize("kind", ["jsonl.zst", "jsonl.gz", "txt.zst", "txt.gz", "jsonl"])
def test_a_document_above_the_limit_is_refused_before_it_fills_the_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 1_000_000)
    raw = b"a" * 50_000_000
    packed = {"zst": zstandard.ZstdCompressor().compress, "gz": gzip.compress}.get(kind.split(".")[-1])
    file = tmp_path / f"bomb.{kind}"
    file.write_bytes(packed(raw) if packed else raw)
    with pytest.raises(InputError, match=r"bomb.*1,000,000 bytes"):
        list(read_documents(file, source="s"))


def test_a_zstd_bomb_is_unpacked_in_small_pieces(tmp_path: Path) -> None:
    """One read of a compressed chunk gives a bounded number of bytes, and all reads no more than text would."""
    file = tmp_path / "bomb.txt.zst"
    file.write_bytes(zstandard.ZstdCompressor(level=19).compress(b"a" * 2**29))
    packed = zstandard.ZstdDecompressor().decompressobj
    stream = files._Unpacked(file.open("rb"), file, packed)
    pieces = []

    def unpack() -> None:
        while stream.readinto(bytearray(1)):
            pieces.append(len(stream._ready))
            stream._ready = b""

    with pytest.raises(InputError, match=r"bomb\.txt\.zst: unpacks to 1,000 times its size"):
        unpack()
    assert pieces
    assert max(pieces) <= 2**27


def test_a_zstd_file_of_short_lines_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is small, so only the whole tells."""
    monkeypatch.setattr(files, "LARGEST", 1_000_000)
    file = tmp_path / "lines.jsonl.zst"
    file.write_bytes(zstandard.ZstdCompressor(level=19).compress(b'{"text": "a"}\n' * 1_000_000))
    with pytest.raises(InputError, match=r"lines\.jsonl\.zst: unpacks to 1,000 times its size"):
        list(read_documents(file, source="s"))


def shared_text(folder: Path, size: int, rows: int = 2_000) -> Path:
    """A small parquet file whose rows all hold one text, written once."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * size]))
    file = folder / "bomb.parquet"
    pq.write_table(pa.table({"text": column}), file, compression="zstd")
    return file


def test_a_parquet_text_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 1_000_000)
    with pytest.raises(InputError, match=r"bomb\.parquet, after row 0: more than 1,000,000 bytes"):
        list(read_documents(shared_text(tmp_path, 1_000_001), source="s"))


def test_a_text_that_parquet_rows_share_is_unpacked_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 2_000_000)
    documents = read_documents(shared_text(tmp_path, 1_000_000), source="s")
    before = pa.total_allocated_bytes()
    assert [len(next(documents).text) for _ in range(3)] == [1_000_000] * 3
    assert pa.total_allocated_bytes() - before < 30_000_000  # all rows of a batch take a thousand times the text


def test_a_parquet_row_group_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 10_000)
    (tmp_path / "good.parquet").write_bytes(parquet_bytes("Le patient tousse.", "Fièvre."))
    assert len(list(read_documents(tmp_path / "good.parquet", source="s"))) == 2
    pq.write_table(pa.table({"text": ["Le patient tousse. " * 1_000]}), tmp_path / "bomb.parquet")
    with pytest.raises(InputError, match=r"bomb\.parquet: row group 1 has [\d,]+ bytes unpacked, more than 10,000"):
        list(read_documents(tmp_path / "bomb.parquet", source="s"))


def test_more_parquet_rows_than_bytes_can_tell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS_A_BYTE", 10)
    pq.write_table(pa.table({"text": ["a"] * 200_000}), tmp_path / "bomb.parquet")
    with pytest.raises(InputError, match=r"bomb\.parquet: 200,000 rows in [\d,]+ bytes"):
        list(read_documents(tmp_path / "bomb.parquet", source="s"))


def test_nested_columns_of_parquet_are_not_unpacked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["Fièvre."], "n": [3], "nested": [[1, 2]]}), tmp_path / "a.parquet")
    (document,) = read_documents(tmp_path / "a.parquet", source="s")
    assert (document.text, dict(document.meta)) == ("Fièvre.", {"n": 3})


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5_000])
def test_toml_nested_without_end_or_with_endless_numbers_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(f"code = {value}\n")
    with pytest.raises(InputError, match=r"pack\.toml: .*TOML"):
        load_pack(tmp_path / "pack.toml")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_of_an_archive_above_the_limit_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 1_000_000)
    file, raw = tmp_path / f"bomb.{kind}", b"a" * 5_000_000
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", raw)
    else:
        with tarfile.open(file, "w:gz") as tar:
            about = tarfile.TarInfo("a.txt")
            about.size = len(raw)
            tar.addfile(about, io.BytesIO(raw))
    with pytest.raises(InputError, match=r"bomb.*a\.txt.*1,000,000 bytes"):
        list(read_brat(file, source="s"))


PACK = """
code = "oc"
name = "Occitan"
spacy = "fr"
[[corpora]]
name = "{name}"
path = "{path}"
licence = "CC0-1.0"
"""


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("notes", "../../etc/passwd"),
        ("notes", "/etc/passwd"),
        ("../../notes", "a.txt"),
        ("a/b", "a.txt"),
        ("..", "a"),
    ],
)
def test_a_pack_cannot_name_what_lies_outside_its_root_or_a_run(name: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(PACK.format(name=name, path=path))
    with pytest.raises(InputError, match=r"pack\.toml"):
        load_pack(tmp_path / "pack.toml")
    (tmp_path / "pack.toml").write_text(PACK.format(name="notes", path="corpora/a.jsonl"))
    assert json.loads(load_pack(tmp_path / "pack.toml").corpora[0].model_dump_json())["name"] == "notes"
