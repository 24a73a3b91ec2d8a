"""A base that is no folder: what a person hears, and how soon the hub is let go of."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants, hf_api
from medlingua.adapters import hub
from medlingua.adapters.encoder import load, read_tokenizer
from medlingua.languages.errors import InputError


class Server(BaseHTTPRequestHandler):
    """A hub that has nothing, or says nothing."""

    requested_paths: list[str] = []  # noqa: RUF012 -- what came, for the tests
    error = "RepoNotFound"

    def do_GET(self) -> None:
        if "/models/" in self.path or "/resolve/" in self.path:  # the library also asks for a list once
            self.requested_paths.append(self.path)
        self.send_response(404)
        self.send_header("X-Error-Code", self.error)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *about: object) -> None:
        pass


@contextmanager
def at(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(hf_api.constants, "ENDPOINT", address)
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    Server.requested_paths.clear()
    served = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=served.serve_forever, daemon=True).start()
    with at(f"http://127.0.0.1:{served.server_port}", monkeypatch):
        yield Server
    served.shutdown()


@pytest.mark.parametrize("name", ["nowhere", "some/nowhere"])
def test_a_name_that_the_hub_does_not_have_is_requested_once(name: str, server: type[Server]) -> None:
    with pytest.raises(InputError) as raised:
        load(name)
    assert f"no folder {name} here, and the hub has no such model" in str(raised.value)
    assert "give a folder with a model, or the name that its page on the hub shows" in str(raised.value)
    assert len(server.requested_paths) == 1


def test_without_a_network_the_hub_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    info = hub.HfApi.model_info

    def counted(*given: object, **named: object) -> object:
        tried.append(named["timeout"])
        return info(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(hub.HfApi, "model_info", counted)
    with at("http://127.0.0.1:9", monkeypatch), pytest.raises(InputError) as raised:
        load("nowhere")
    assert "the hub did not answer" in str(raised.value)
    assert "adapt fetch --data ROOT --model nowhere" in str(raised.value)
    assert tried == [5.0]


def test_offline_the_hub_is_not_queried_and_the_message_says_so() -> None:
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set.*adapt fetch --data ROOT --model nowhere"):
        read_tokenizer("nowhere", None, ())


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "a/b/c", "two words"])
def test_what_can_only_be_a_folder_is_no_name_of_the_hub(path: str, server: type[Server]) -> None:
    with pytest.raises(InputError, match=f"model folder {path} does not exist"):
        load(path)
    assert server.requested_paths == []


def test_the_folder_that_was_meant_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clinical-bert").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="did you mean clinical-bert"):
        load("clinicalbert")
    with pytest.raises(InputError, match=f"did you mean {tmp_path}/clinical-bert"):
        load(str(tmp_path / "clinical_bert"))


def test_a_revision_that_the_hub_does_not_have_is_named(
    server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "error", "RevisionNotFound")
    with pytest.raises(InputError, match="no revision 'v9'"):
        load("some/model", revision="v9")


def test_a_model_in_the_cache_is_not_requested(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    folder = tmp_path / "models--some--model"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    hub.check_reachable("some/model", None)
    assert server.requested_paths == []
