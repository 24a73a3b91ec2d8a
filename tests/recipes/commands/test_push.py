"""A model is put on the hub: what is sent, and what the licences forbid. The hub is a stand-in on this machine."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import with_lineage
from medlingua.languages.errors import InputError
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.recipes.commands.push import push

STEP = LineageStep(
    strategy="continue",
    language="fr",
    base="b",
    settings_digest="0",
    corpora=("e3c_pamj_fr",),
    licences=("CC BY 4.0",),
    tokens=1,
    synthetic=False,
    date="2026-01-01",
    version="0",
)


class Hub(ThreadingHTTPServer):
    """The part of the hub's HTTP interface that an upload uses."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.files, self.calls = status, dict[str, bytes](), list[str]()
        self.created: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.calls.append(self.path)
        if self.server.status != 200:
            self._answer({"error": "no"}, self.server.status)
        elif self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"{self.server.address}/lab/tagger"})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._answer(
                {"success": True, "commitUrl": f"{self.server.address}/lab/tagger/commit/1", "commitOid": "1"}
            )
        else:
            self._answer({})

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        self._answer({"error": "none"}, 404)

    def _answer(self, content: Any, status: int = 200) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    server = Hub(getattr(request, "param", 200))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def model(folder: Path, base: Path, licence: str = "apache-2.0", *steps: LineageStep) -> Path:
    encoder = encoders.load(str(base))
    encoders.save(with_lineage(encoder, Lineage(base=str(base), base_licence=licence, steps=steps)), folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model\n", encoding="utf-8")
    return folder


def command(hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-m", "medlingua.recipes.command", "push", *arguments],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def test_model_tokenizer_and_card_arrive_whole(hub: Hub, base: Path, tmp_path: Path) -> None:
    folder = model(tmp_path / "run" / "model", base, "apache-2.0", STEP)
    for name in ("notes.csv", "notes.txt", "notes.json"):
        (folder / name).write_text("a patient's words", encoding="utf-8")
    done = command(hub, str(tmp_path / "run"), "lab/tagger")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.address}/lab/tagger"
    assert hub.created["name"] == "tagger"
    assert hub.created["visibility"] == "private"
    names = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "lineage.json",
    }
    assert set(hub.files) - {"generation_config.json"} == names, "nothing else of the folder is sent"
    for name in names - {"lineage.json"}:
        assert hub.files[name] == (folder / name).read_bytes()
    sent = Lineage.model_validate_json(hub.files["lineage.json"])
    assert sent.base == base.name, "no folder of this machine"
    assert sent.steps == (STEP,)


@pytest.mark.parametrize("hub", [401, 403, 500], indirect=True)
def test_a_hub_that_refuses_is_answered_in_one_line(hub: Hub, base: Path, tmp_path: Path) -> None:
    done = command(hub, str(model(tmp_path / "model", base)), "lab/tagger")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("adapt: ")]
    assert ("hf auth login" if hub.status < 500 else "try the same command again") in line
    assert not hub.files


def test_a_dry_run_opens_no_connection(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = model(tmp_path / "model", base)
    assert push(folder, "lab/tagger", (), False, dry_run=True) == "lab/tagger"  # offline, as all tests are
    stderr = capfd.readouterr().err
    assert "to lab/tagger (private)" in stderr
    assert "model.safetensors" in stderr
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        push(folder, "lab/tagger", (), False, dry_run=False)


def step(**changes: Any) -> LineageStep:
    return STEP.model_copy(update=changes)


FORBIDDEN = {
    "a base without a licence": (("not stated",), "base: its licence is not stated", "base"),
    "no derivatives": (
        ("mit", step(corpora=("texts",), licences=("CC BY-NC-ND 4.0",))),
        "texts: its licence .CC BY-NC-ND 4.0. forbids derivatives",
        "texts",
    ),
    "own text": (
        ("mit", step(corpora=("notes",), licences=("not stated",))),
        "notes: its licence is not stated",
        "notes",
    ),
    "a pack that is elsewhere": (
        ("mit", step(language="/packs/it/pack.toml", corpora=("lettere",), licences=("CC BY 4.0",))),
        "lettere: its pack .pack.toml. is not here",
        "lettere",
    ),
    "under an agreement": (
        ("mit", step(language="de", corpora=("bronco150",), licences=("not stated",))),
        "bronco150: ",
        "bronco150",
    ),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_a_licence_forbids_is_not_pushed_unless_it_is_named(case: str, base: Path, tmp_path: Path) -> None:
    (licence, *steps), message, name = FORBIDDEN[case]
    folder = model(tmp_path / "model", base, licence, *steps)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"not pushed. {message}.*--allow {name}") as raised:
        push(folder, "lab/tagger", (), False, dry_run=True)
    assert "\n" not in str(raised.value)
    assert push(folder, "lab/tagger", (name,), False, dry_run=True)
    with pytest.raises(InputError, match=f"--allow other: it is {name} that stand"):
        push(folder, "lab/tagger", (name, "other"), False, dry_run=True)


def test_a_task_under_an_agreement_stands_in_the_way_of_what_was_fine_tuned_on_it(base: Path, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", base)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["medlingua"] = {"task": {"name": "letters", "kind": "ner", "access": "request", "licence": "DUA"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="letters: given under an agreement"):
        push(folder, "lab/tagger", (), False, dry_run=True)


def test_a_model_with_free_texts_alone_is_pushed(base: Path, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", base, "apache-2.0", STEP)
    assert push(folder, "lab/tagger", (), False, dry_run=True)
    with pytest.raises(InputError, match="nothing stands in the way"):
        push(folder, "lab/tagger", ("base",), False, dry_run=True)


def test_a_folder_without_a_model_or_card_and_a_bad_name_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model in it"):
        push(tmp_path, "lab/tagger", (), False, dry_run=True)
    folder = model(tmp_path / "model", base)
    with pytest.raises(InputError, match="give owner/name"):
        push(folder, "a/b/c", (), False, dry_run=True)
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match=r"no README\.md, the model's card"):
        push(folder, "lab/tagger", (), False, dry_run=True)
