"""Folders, archives and packed files as people have them."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from datasets import Dataset, DatasetDict
from medlingua.languages import files
from medlingua.languages.documents import Document, read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.folders import files_of


def read(path: Path | str, text_field: str = "text") -> list[Document]:
    return list(read_documents(path, source="s", text_field=text_field))


def write(path: Path, raw: bytes = b"Toux.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def test_a_folder_says_what_it_does_not_read(tmp_path: Path) -> None:
    for name in (
        "a.txt",
        "b/c.md",
        "README.md",
        "LICENSE.txt",
        "b/x.pdf",
        "b/y.pdf",
        ".hidden/z.txt",
        "._a.txt",
        "Makefile",
    ):
        write(tmp_path / name)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    listing = files_of(tmp_path)
    assert [file.name for file in listing.files] == ["a.txt", "c.md"]
    assert listing.note == (
        "2 .pdf, 1 LICENSE.txt, 1 README.md, 1 link that leads nowhere, 2 with a dot in front, 1 without an ending"
    )
    assert [document.id for document in read(tmp_path)] == ["a.txt", "b/c.md"]
    assert [document.id for document in read(tmp_path / "README.md")] == ["README.md"]  # named, so wanted


def test_a_notice_is_a_patients_leaflet_and_a_readme_of_a_case_is_a_text(tmp_path: Path) -> None:
    for name in ("notice.txt", "licence_1.txt", "readme1.txt"):
        write(tmp_path / name)
    assert len(read(tmp_path)) == 3


@pytest.mark.parametrize(
    ("name", "tool"), [("0.xml", "xmllint"), ("0.pdf", "pdftotext"), ("0.docx", "pandoc"), ("0.json", "jq -c")]
)
def test_other_formats_are_refused_with_what_converts_them(name: str, tool: str, tmp_path: Path) -> None:
    write(tmp_path / "data" / name)
    write(tmp_path / "README.md")
    for path in (tmp_path, tmp_path / "data" / name):
        with pytest.raises(InputError, match=tool):
            read(path)


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "b.txt")
    write(tmp_path / "corpus" / "a.txt")
    (tmp_path / "corpus" / "hospital_b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus" / "again").symlink_to(tmp_path / "corpus")
    assert len(read(tmp_path / "corpus")) == 2
    assert files_of(tmp_path / "corpus").note == "2 linked folder that is read already"


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, raw in members.items():
                archive.writestr(name, raw)
        return path
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, raw in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(raw)
            tar.addfile(about, io.BytesIO(raw))
    packings: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".tgz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
        ".zst": zstandard.ZstdCompressor().compress, ".tar": bytes,
    }  # fmt: skip
    path.write_bytes(packings[path.suffix](buffer.getvalue()))
    return path


ROWS = b'{"id": "x", "text": "Toux"}\n{"text": "Fi\xc3\xa8vre"}\n'
MEMBERS = {
    "in/a.txt": "Œdème".encode(),
    "__MACOSX/in/._a.txt": b"\x00\x05",
    "in/photo.png": b"\x89",
    "rows.jsonl": ROWS,
    "rows.jsonl.gz": gzip.compress(ROWS),
}
ENDINGS = ["zip", "tar", "tar.gz", "tgz", "tar.xz", "tar.bz2", "tar.zst"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_members_of_archives_are_documents(ending: str, tmp_path: Path) -> None:
    name = f"c.{ending}"
    archive_of(tmp_path / name, MEMBERS)
    expected = [
        (f"{name}/in/a.txt", "Œdème"), ("x", "Toux"), (f"{name}/rows.jsonl:2", "Fièvre"), ("x", "Toux"),
        (f"{name}/rows.jsonl.gz:2", "Fièvre"),
    ]  # fmt: skip
    for path in (tmp_path, tmp_path / name):
        assert [(document.id, document.text) for document in read(path)] == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_leaves_out_and_counts_what_a_folder_does(ending: str, tmp_path: Path) -> None:
    left_out = [
        "letter.docx",
        "scan.pdf",
        "more.json",
        "inner.zip",
        ".hid.txt",
        "d/LICENSE.txt",
        "README.md",
        "Makefile",
    ]
    archive = archive_of(tmp_path / f"c.{ending}", dict.fromkeys(["1.txt", *left_out, "d/2.md"], b"Toux."))
    note = "1 .docx, 1 .json, 1 .pdf, 1 .zip, 1 LICENSE.txt, 1 README.md, 1 with a dot in front, 1 without an ending"
    for path in (archive, tmp_path):
        assert [document.id for document in read(path)] == [f"{archive.name}/1.txt", f"{archive.name}/d/2.md"]
        assert files_of(path).note == note


def test_a_link_in_an_archive_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Toux.")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for name in ("a.txt", "b.txt"):
            tar.add(tmp_path / name, name)
    assert len(read(tmp_path / "c.tar")) == 1
    assert files_of(tmp_path / "c.tar").note == "1 link"


@pytest.mark.parametrize("ending", ENDINGS)
def test_archives_that_are_not_whole_or_hold_no_text_are_refused(ending: str, tmp_path: Path) -> None:
    whole = archive_of(tmp_path / f"c.{ending}", {"a.txt": bytes(range(32, 127)) * 900}).read_bytes()
    (tmp_path / f"d.{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"d\.{ending}.*(truncated or damaged|not whole)"):
        read(tmp_path / f"d.{ending}")
    with pytest.raises(InputError, match=r"no documents in it: it holds 1 .docx, 1 README.md; .*pandoc"):
        read(archive_of(tmp_path / f"e.{ending}", {"a.docx": b"x", "README.md": b"About."}))
    with pytest.raises(InputError, match="unpack it first"):
        read(archive_of(tmp_path / f"f.{ending}", {"a.parquet": b"x"}))


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, gzip.compress])
def test_xz_and_bz2_are_read_whole_in_members_too_and_refused_when_cut(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    ending = {lzma.compress: "xz", bz2.compress: "bz2", gzip.compress: "gz"}[pack]
    lines = [json.dumps({"text": f"{number} {hash(str(number))}"}) for number in range(3_000)]
    raw = "\n".join(lines).encode()
    file = write(tmp_path / f"c.jsonl.{ending}", pack(raw[:1_000]) + pack(raw[1_000:]))
    assert [document.text for document in read(file)] == [json.loads(line)["text"] for line in lines]
    write(file, file.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated or damaged"):
        read(file)
    write(file, b"not packed at all")
    with pytest.raises(InputError, match="truncated or damaged"):
        read(file)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
def test_a_bomb_of_xz_or_bz2_is_refused(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 1_000_000)
    ending = "xz" if pack is lzma.compress else "bz2"
    file = write(tmp_path / f"c.jsonl.{ending}", pack(b'{"text": "a"}\n' * 2_000_000))
    with pytest.raises(InputError, match="unpacks to 1,000 times its size"):
        read(file)


def test_zstd_with_a_long_window_is_read_up_to_a_bound(tmp_path: Path) -> None:
    def packed(log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters(window_log=log, enable_ldm=True)
        stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return stream.compress(ROWS) + stream.flush()

    assert len(read(write(tmp_path / "c.jsonl.zst", packed(28)))) == 2
    with pytest.raises(InputError, match=r"zstd -d --long=31"):
        read(write(tmp_path / "d.jsonl.zst", packed(29)))


def test_what_datasets_saves_is_read(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"text": "Toux.", "id": "1", "n": 1}, {"text": "Fièvre.", "id": "2", "n": 2}])
    rows.save_to_disk(tmp_path / "one")
    DatasetDict({"train": rows, "rest": rows.select([1])}).save_to_disk(tmp_path / "parts")
    assert [(d.id, d.text, dict(d.meta)) for d in read(tmp_path / "one")] == [
        ("1", "Toux.", {"n": 1}),
        ("2", "Fièvre.", {"n": 2}),
    ]
    assert [document.text for document in read(tmp_path / "parts")] == ["Fièvre.", "Toux.", "Fièvre."]
    assert files_of(tmp_path / "one").note == "2 .json"
    with pytest.raises(InputError, match="no column 'body' among the 3"):
        read(tmp_path / "one", "body")


def test_an_arrow_file_is_read_like_a_stream_and_refused_when_cut(tmp_path: Path) -> None:
    table = pa.table({"text": ["Toux.", "Fièvre."]})
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert [document.text for document in read(tmp_path / "c.arrow")] == ["Toux.", "Fièvre."]
    write(tmp_path / "c.arrow", (tmp_path / "c.arrow").read_bytes()[:-40])
    with pytest.raises(InputError, match="truncated or damaged arrow file"):
        read(tmp_path / "c.arrow")


def test_a_hubs_cache_folder_is_read_at_the_revision_that_main_names(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--lab--notes"
    for number, revision in enumerate(("aaa", "bbb")):
        blob = write(cache / "blobs" / f"b{number}", json.dumps({"text": revision}).encode())
        (cache / "snapshots" / revision).mkdir(parents=True)
        (cache / "snapshots" / revision / "train.jsonl").symlink_to(blob)
    with pytest.raises(InputError, match="2 revisions and none called main"):
        read(cache)
    write(cache / "refs" / "main", b"bbb")
    assert [document.text for document in read(cache)] == ["bbb"]
