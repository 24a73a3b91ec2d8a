"""adapt fetch: fill a data root from the hub or from addresses."""

import http.client
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError, nearest, reason
from medlingua.languages.pack import Corpus, Pack, TaskSpec, load_pack
from medlingua.languages.tasks import read_task
from medlingua.recipes.bases import SOURCE_LANGUAGE, hub_id
from medlingua.recipes.console import progress, say
from medlingua.recipes.text.hub import read_hub

_BLOCK = 2**20
_OF_A_MODEL = ["*.safetensors", "*.json", "*.txt", "*.model", "*.md"]  # .model: of SentencePiece


def fetch_model(model: str, revision: str | None, root: Path, lang: str | None = None) -> Path:
    """A model of the hub, by its id or its name in a pack, into root/models/<id>.

    Safetensors, configuration and tokenizer; never pickles or code.
    """
    from huggingface_hub import snapshot_download

    model = hub_id(model, load_pack(lang or SOURCE_LANGUAGE))
    folder = root / "models" / model.replace("/", "--")
    try:
        snapshot_download(model, revision=revision, local_dir=folder, allow_patterns=_OF_A_MODEL)
    except (OSError, ValueError) as error:
        raise InputError(_unreachable(f"model {model}", error)) from error
    return folder


def fetch(lang: str, names: Sequence[str], root: Path, allow: Sequence[str]) -> list[Path]:
    """The named corpora and tasks of a pack, or all corpora that are open; says the licence of each.

    Interrupted ones resume. What arrives is opened by its reader before it counts as there. Where none is named, one
    that cannot be fetched is said and stops no other.
    """
    pack = load_pack(lang)
    known: dict[str, Corpus | TaskSpec] = {corpus.name: corpus for corpus in pack.corpora}
    known |= {task.name: task for task in pack.tasks if task.name not in known}
    for name in names:
        if name not in known:
            raise InputError(f"unknown corpus or task '{name}' of language {pack.code} ({nearest(name, known)})")
    wanted: list[Corpus | TaskSpec] = [known[name] for name in names] or [
        c for c in pack.corpora if c.download or c.hub
    ]
    fetched = []
    for entry in wanted:
        allowed = entry.name in names or (entry.non_commercial and "non-commercial" in allow)
        if isinstance(entry, Corpus) and entry.restricted and not allowed:
            say(f"{entry.name} is left out ({entry.restriction}): name it with --name")
            continue
        say(f"{entry.name}: licence {entry.licence or 'not stated'} ({entry.licence_source or 'no source'})")
        if not entry.verified:
            say(f"{entry.name}: not verified: its files were not seen when the pack was written")
        try:
            fetched.append(
                _fetch_corpus(entry, root) if isinstance(entry, Corpus) else _fetch_task(entry, root, pack)
            )
        except InputError as error:
            if names:
                raise
            say(str(error))
    return fetched


def _fetch_corpus(corpus: Corpus, root: Path) -> Path:
    if corpus.download is not None:
        path = corpus.path or f"corpora/{corpus.name}/{_file_name(corpus.download)}"
        return download(corpus.download, root / path, partial(_check_corpus, corpus))
    if corpus.hub is None:
        raise InputError(_by_hand(corpus, root))
    from huggingface_hub import snapshot_download

    folder = root / "corpora" / corpus.name
    waiting = folder.with_name(f".{corpus.name}.partial")
    if not folder.exists():
        try:
            snapshot_download(corpus.hub, repo_type="dataset", revision=corpus.revision, local_dir=waiting)
        except (OSError, ValueError) as error:
            raise InputError(_unreachable(f"corpus {corpus.name}", error)) from error
    arrived = folder if folder.exists() else waiting
    for _ in read_hub(
        corpus.name, str(arrived), text_field=corpus.text_field, config=corpus.config, split=corpus.split
    ):
        pass
    return folder if folder.exists() else waiting.rename(folder)


def _fetch_task(task: TaskSpec, root: Path, pack: Pack) -> Path:
    if task.download is None or task.path is None:
        raise InputError(_by_hand(task, root))
    single = bool(Path(task.path).suffix)
    target = root / task.path if single else root / task.path / _file_name(task.download)

    def check(file: Path) -> None:
        place = file if single else file.parent
        read_task(task.model_copy(update={"path": place.relative_to(root).as_posix()}), root, pack.code)

    return download(task.download, target, check)


def _check_corpus(corpus: Corpus, file: Path) -> None:
    for _ in read_documents(file, source=corpus.name, text_field=corpus.text_field):
        pass


def _file_name(address: str) -> str:
    return Path(urllib.parse.urlsplit(address).path).name or "file"


def _by_hand(entry: Corpus | TaskSpec, root: Path) -> str:
    """What to do for what no address of a file is known of."""
    action = "ask for it" if entry.access == "request" else "get it"
    where = entry.address or (f"https://huggingface.co/datasets/{entry.hub}" if entry.hub else "its owners")
    put = (
        f", and put it at {root / entry.path}"
        if entry.path
        else ", and describe its files in a pack.toml of your own"
    )
    return f"{entry.name} cannot be fetched by a program: {action} at {where}{put}"


def download(address: str, target: Path, check: Callable[[Path], None]) -> Path:
    """A file over HTTP, whole or not at all: the part that is there is gone on with, the size is checked.

    check: opens what arrived, under its name, and raises InputError where it is not what it should be; that file is
    not kept. A file that is there already is checked too.
    """
    if target.exists():
        try:
            _opened(target, check)
        except InputError as error:
            raise InputError(f"{error}. Remove the file, and fetch it again") from error
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".partial")
    have = part.stat().st_size if part.exists() else 0
    answered = False
    try:
        with _answer(address, have) as answer:
            answered = True
            resumed = answer.status == 206
            length = answer.headers.get("Content-Length", "0")
            if not length.isdecimal():
                raise InputError(f"{address}: the server gives the length {length!r}, which is no number; try again")
            size = int(length) + (have if resumed else 0)
            if shutil.disk_usage(target.parent).free < size:
                raise InputError(f"{address}: {size:,} bytes do not fit on the disk of {target.parent}")
            with part.open("ab" if resumed else "wb") as file, progress(target.name, size or None) as bar:
                done = have if resumed else 0
                while block := answer.read(_BLOCK):
                    file.write(block)
                    done += len(block)
                    bar.update(done)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError) as error:
        if have and isinstance(error, urllib.error.HTTPError) and error.code == 416:
            part.unlink()  # the part is as long as the file, or longer: another one
            return download(address, target, check)
        if answered:
            raise InputError(
                f"{address}: the connection broke off ({reason(error)}); the same command resumes"
            ) from error
        raise InputError(_unreachable(address, error)) from error
    except http.client.HTTPException as error:
        raise InputError(
            f"{address}: the server's answer broke off, or is not HTTP ({reason(error)}); the same command resumes"
        ) from error
    if size and part.stat().st_size != size:
        raise InputError(f"{address}: {part.stat().st_size:,} of {size:,} bytes came; the same command resumes")
    waiting = target.parent / ".arrived" / target.name
    waiting.parent.mkdir(exist_ok=True)
    part.replace(waiting)
    try:
        _opened(waiting, check)
        return waiting.rename(target)
    except InputError as error:
        waiting.unlink()
        raise InputError(f"{address}: what came is not kept: {error}") from error
    finally:
        waiting.parent.rmdir()


def _answer(address: str, have: int) -> http.client.HTTPResponse:
    """The server's answer, from the byte on that is not there yet."""
    try:
        request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=30)
    except (http.client.InvalidURL, ValueError) as error:
        raise InputError(
            f"'{address}' is no address of a file ({reason(error)}); write it as https://HOST/FILE in 'download'"
        ) from error
    return answer


def _opened(file: Path, check: Callable[[Path], None]) -> None:
    with file.open("rb") as handle:
        start = handle.read(1_024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{file.name} is a web page, and no file of text; name the file itself in 'download'")
    check(file)


def _unreachable(what: str, error: Exception) -> str:
    return f"{what} cannot be fetched ({reason(error)}). Fetch it where there is a network, then copy the folder here"
