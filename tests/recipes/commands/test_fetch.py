"""What adapt fetch leaves under a data root: files that their readers can read, and nothing else."""

import gzip
import http.server
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.recipes.commands.doctor import examine
from medlingua.recipes.commands.fetch import fetch, fetch_model
from medlingua.recipes.resolve import resolve
from medlingua.recipes.text.sources import read, select

ROWS = b"".join(b'{"id": "%d", "text": "Le patient %d tousse."}\n' % (number, number) for number in range(3_000))
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>...</body></html>"
ODD_ANSWERS = {
    "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
    "/no_http": b"220 mail.example.org ESMTP\r\n\r\n",
    "/length": b"HTTP/1.0 200 OK\r\nContent-Length: abc\r\n\r\n{}",
}
PACK = """
code = "oc"
name = "Occitan"
spacy = "fr"
[[corpora]]
name = "notes"
path = "corpora/oc/notes.jsonl.gz"
download = "{address}{path}"
licence = "CC0-1.0"
[[corpora]]
name = "letters"
path = "corpora/oc/letters.md"
download = "{address}{path}"
licence = "CC0-1.0"
[[corpora]]
name = "asked"
path = "corpora/oc/asked.jsonl"
address = "https://example.org/form"
access = "request"
[[corpora]]
name = "shared"
hub = "lab/shared"
licence = "CC0-1.0"
[[corpora]]
name = "open_half"
hub = "lab/shared"
split = "open"
licence = "CC0-1.0"
[[tasks]]
name = "entities"
kind = "ner"
path = "tasks/entities"
reader = "brat"
download = "{address}/brat.zip"
"""


def brat() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(60):
            start = len(str(number)) + 1
            archive.writestr(f"{number}.txt", f"{number} toux")
            archive.writestr(f"{number}.ann", f"T1\tDISO {start} {start + 4}\ttoux\n")
    return sink.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {
        "/right": gzip.compress(ROWS), "/cut": gzip.compress(ROWS)[:-300], "/page": PAGE, "/brat.zip": brat(),
    }  # fmt: skip

    def do_GET(self) -> None:
        if self.path in ODD_ANSWERS:
            self.wfile.write(ODD_ANSWERS[self.path])
            return
        body = self.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def pack(folder: Path, address: str, path: str) -> str:
    (folder / "pack.toml").write_text(PACK.replace("{address}", address).replace("{path}", path), encoding="utf-8")
    return str(folder / "pack.toml")


def left(root: Path) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())


def test_the_right_file_is_saved_and_read(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lang, root = pack(tmp_path, address, "/right"), tmp_path / "root"
    assert fetch(lang, ["notes"], root, ()) == [root / "corpora/oc/notes.jsonl.gz"]
    assert "notes: not verified: its files were not seen" in capsys.readouterr().err
    assert left(root) == ["corpora/oc/notes.jsonl.gz"]
    run = resolve({"strategy": "continue", "lang": lang, "base": "b", "data": {"root": str(root)}})
    (source,) = select(run, load_pack(lang)).sources
    assert sum(1 for _ in read(source, load_pack(lang), run)) == 3_000


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        ("/page", "notes", "is a web page"),
        ("/page", "letters", "is a web page"),  # whose reader would take it
        ("/cut", "notes", "truncated or damaged"),
    ],
)
def test_a_page_and_a_truncated_file_are_not_saved(
    path: str, name: str, message: str, address: str, tmp_path: Path
) -> None:
    lang, root = pack(tmp_path, address, path), tmp_path / "root"
    with pytest.raises(InputError, match=f"what came is not kept: .*{message}"):
        fetch(lang, [name], root, ())
    assert left(root) == []
    if name == "notes":
        assert fetch(pack(tmp_path, address, "/right"), [name], root, ())
    else:
        (root / "corpora/oc/letters.md").write_bytes(PAGE)  # saved before this was checked
        with pytest.raises(InputError, match=r"is a web page.*Remove the file"):
            fetch(lang, [name], root, ())


@pytest.mark.parametrize("path", ODD_ANSWERS)
def test_a_faulty_answer_is_one_line_and_the_next_call_fetches(path: str, address: str, tmp_path: Path) -> None:
    lang, root = pack(tmp_path, address, path), tmp_path / "root"
    with pytest.raises(InputError, match=rf"{address}{path}: the server") as raised:
        fetch(lang, ["notes"], root, ())
    assert "\n" not in str(raised.value)
    assert not (root / "corpora/oc/notes.jsonl.gz").exists()
    Server.files["/right"] = gzip.compress(ROWS)
    assert fetch(pack(tmp_path, address, "/right"), ["notes"], root, ())
    assert left(root) == ["corpora/oc/notes.jsonl.gz"]


@pytest.mark.parametrize("download", ["/data/notes.jsonl", "notes.jsonl", "http://127.0.0.1:9/our notes.jsonl"])
def test_a_download_that_is_no_address_is_refused(download: str, tmp_path: Path) -> None:
    lang, root = pack(tmp_path, "", download), tmp_path / "root"
    with pytest.raises(InputError, match=rf"'{download}' is no address of a file .*https://HOST/FILE in 'download'"):
        fetch(lang, ["notes"], root, ())
    assert left(root) == []


def test_a_model_comes_with_its_tokenizer_and_without_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        "model.safetensors",
        "spm.model",
        "sentencepiece.bpe.model",
        "vocab.txt",
        "pytorch_model.bin",
        "model.py",
    ]

    def hub(model: str, local_dir: Path, allow_patterns: list[str], **about: Any) -> None:
        local_dir.mkdir(parents=True)
        for file in files:
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (local_dir / file).touch()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert left(fetch_model("lab/model", None, tmp_path)) == sorted(files[:4])


def test_one_that_cannot_be_fetched_stops_no_other_unless_it_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lang, root = pack(tmp_path, address, "/right"), tmp_path / "root"
    Server.files["/right"] = gzip.compress(ROWS)
    fetched = fetch(lang, [], root, ())
    assert root / "corpora/oc/notes.jsonl.gz" in fetched
    assert "corpus shared cannot be fetched" in capsys.readouterr().err
    with pytest.raises(
        InputError, match=r"asked cannot be fetched by a program: ask for it at https://example.org/form"
    ):
        fetch(lang, ["asked"], root, ())


def test_tasks_are_fetched_and_opened(address: str, tmp_path: Path) -> None:
    lang, root = pack(tmp_path, address, "/right"), tmp_path / "root"
    assert fetch(lang, ["entities"], root, ()) == [root / "tasks/entities/brat.zip"]
    Server.files["/brat.zip"], whole = brat()[:-200], Server.files["/brat.zip"]
    shutil.rmtree(root)
    with pytest.raises(InputError, match=r"what came is not kept: .*brat\.zip: truncated or damaged"):
        fetch(lang, ["entities"], root, ())
    Server.files["/brat.zip"] = whole
    assert left(root) == []


def snapshot(repository: str, local_dir: Path, **about: Any) -> str:
    """What the hub gives for a data set of two splits."""
    (local_dir / "data").mkdir(parents=True)
    for split, texts in (("open", ["Toux."]), ("closed", ["Fièvre.", "Otite."])):
        pq.write_table(pa.table({"text": texts}), local_dir / "data" / f"{split}-00000-of-00001.parquet")
    splits = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in ("open", "closed"))
    (local_dir / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{splits}---\n")
    return str(local_dir)


def test_a_fetched_corpus_of_the_hub_is_read_from_the_data_root_by_its_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    lang, root = pack(tmp_path, "http://127.0.0.1:9", "/"), tmp_path / "root"
    assert fetch(lang, ["shared", "open_half"], root, ()) == [root / "corpora/shared", root / "corpora/open_half"]
    given = {"strategy": "continue", "lang": lang, "base": "b"}
    run = resolve({**given, "data": {"root": str(root), "corpora": ["shared", "open_half"]}})
    whole, half = select(run, load_pack(lang)).sources
    assert [document.text for document in read(whole, load_pack(lang), run)] == ["Toux.", "Fièvre.", "Otite."]
    assert [document.text for document in read(half, load_pack(lang), run)] == ["Toux."]
    everything = resolve({**given, "data": {"root": str(root)}})
    assert [source.name for source in select(everything, load_pack(lang)).sources] == ["shared", "open_half"]


def test_a_corpus_of_the_hub_that_is_not_whole_does_not_count_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(repository: str, local_dir: Path, **about: Any) -> str:
        snapshot(repository, local_dir)
        file = local_dir / "data" / "closed-00000-of-00001.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(InputError, match=r"corpus shared: .* cannot be read"):
        fetch(pack(tmp_path, "http://127.0.0.1:9", "/"), ["shared"], tmp_path / "root", ())
    assert not (tmp_path / "root/corpora/shared").exists()


def test_a_broken_corpus_that_nobody_named_stops_no_run(tmp_path: Path) -> None:
    lang, root = pack(tmp_path, "http://127.0.0.1:9", "/"), tmp_path / "root"
    (root / "corpora/oc").mkdir(parents=True)
    (root / "corpora/oc/notes.jsonl.gz").write_bytes(PAGE)
    (root / "corpora/oc/letters.md").write_text("Le patient tousse.", encoding="utf-8")
    run = resolve({"strategy": "continue", "lang": lang, "base": "b", "data": {"root": str(root)}})
    selection = select(run, load_pack(lang))
    assert [source.name for source in selection.sources] == ["letters"]
    (line,) = selection.left_out
    assert "corpus notes is left out, which cannot be read" in line
    named = run.model_copy(update={"data": run.data.model_copy(update={"corpora": ("notes",)})})
    (source,) = select(named, load_pack(lang)).sources
    with pytest.raises(InputError, match="truncated or damaged"):
        list(read(source, load_pack(lang), named))


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_folder_or_archive_of_ones_own_also_holds_is_reported(packed: bool, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for name in ("a.txt", "b.pdf", "README.md"):
        (notes / name).write_text("Le patient tousse.", encoding="utf-8")
    path = shutil.make_archive(str(notes), "zip", notes) if packed else str(notes)
    run = resolve({"strategy": "continue", "lang": "fr", "base": "b", "data": {"paths": [path]}})
    (line,) = select(run, load_pack("fr")).left_out
    assert "1 .pdf, 1 README.md" in line


def test_doctor_opens_what_is_there_and_names_folders_that_nothing_reads(tmp_path: Path) -> None:
    (tmp_path / "corpora" / "fr").mkdir(parents=True)
    (tmp_path / "corpora" / "fr" / "e3c_pamj_fr.jsonl.zst").write_bytes(PAGE)
    (tmp_path / "tasks" / "morfitt").mkdir(parents=True)
    (tmp_path / "corpus").mkdir()
    lines = examine(tmp_path).splitlines()
    (corpus,) = [line for line in lines if " fr e3c_pamj_fr:" in line]
    assert "cannot be read" in corpus
    assert "truncated or damaged" in corpus
    assert any(line.startswith("unknown    corpus/: nothing reads it") for line in lines)
    assert "task       fr morfitt: missing" in lines
