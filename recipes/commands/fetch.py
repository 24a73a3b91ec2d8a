"""adapt fetch: fill a data root from the hub or from addresses."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from medlingua.languages.errors import InputError, nearest, reason
from medlingua.languages.pack import Corpus, load_pack
from medlingua.recipes.bases import SOURCE_LANGUAGE, hub_id
from medlingua.recipes.console import progress, say

_BLOCK = 2**20


def fetch_model(model: str, revision: str | None, root: Path, lang: str | None = None) -> Path:
    """A model of the hub, by its id or its name in a pack, into root/models/<id>.

    Safetensors, configuration and tokenizer; never pickles or code.
    """
    from huggingface_hub import snapshot_download

    model = hub_id(model, load_pack(lang or SOURCE_LANGUAGE))
    folder = root / "models" / model.replace("/", "--")
    try:
        snapshot_download(
            model, revision=revision, local_dir=folder, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.md"]
        )
    except (OSError, ValueError) as error:
        raise InputError(_unreachable(f"model {model}", error)) from error
    return folder


def fetch_corpora(lang: str, names: Sequence[str], root: Path, allow: Sequence[str]) -> list[Path]:
    """The named corpora of a pack, or all that are open; says the licence of each. Interrupted ones resume."""
    pack = load_pack(lang)
    known = {corpus.name: corpus for corpus in pack.corpora}
    for name in names:
        if name not in known:
            raise InputError(f"unknown corpus '{name}' of language {pack.code} ({nearest(name, known)})")
    wanted = [known[name] for name in names] or [c for c in pack.corpora if c.address or c.hub]
    fetched = []
    for corpus in wanted:
        allowed = corpus.name in names or (corpus.non_commercial and "non-commercial" in allow)
        if corpus.restricted and not allowed:
            say(f"{corpus.name} is left out ({corpus.restriction}): name it with --name")
            continue
        say(f"{corpus.name}: licence {corpus.licence or 'not stated'} ({corpus.licence_source or 'no source'})")
        fetched.append(_fetch(corpus, root))
    return fetched


def _fetch(corpus: Corpus, root: Path) -> Path:
    if corpus.address is not None:
        return download(corpus.address, root / (corpus.path or f"corpora/{corpus.name}/{Path(corpus.address).name}"))
    if corpus.hub is None:
        raise InputError(f"corpus {corpus.name} has neither a hub id nor an address: its owners give it on request")
    from huggingface_hub import snapshot_download

    folder = root / "corpora" / corpus.name
    try:
        snapshot_download(corpus.hub, repo_type="dataset", revision=corpus.revision, local_dir=folder)
    except (OSError, ValueError) as error:
        raise InputError(_unreachable(f"corpus {corpus.name}", error)) from error
    return folder


def download(address: str, target: Path) -> Path:
    """A file over HTTP, whole or not at all: the part that is there is gone on with, the size is checked."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            resumed = answer.status == 206
            size = int(answer.headers.get("Content-Length", 0)) + (have if resumed else 0)
            if shutil.disk_usage(target.parent).free < size:
                raise InputError(f"{address}: {size:,} bytes do not fit on the disk of {target.parent}")
            with partial.open("ab" if resumed else "wb") as file, progress(target.name, size or None) as bar:
                done = have if resumed else 0
                while block := answer.read(_BLOCK):
                    file.write(block)
                    done += len(block)
                    bar.update(done)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        if have and isinstance(error, urllib.error.HTTPError) and error.code == 416:
            partial.unlink()  # the part is as long as the file, or longer: another one
            return download(address, target)
        raise InputError(_unreachable(address, error)) from error
    if size and partial.stat().st_size != size:
        raise InputError(f"{address}: {partial.stat().st_size:,} of {size:,} bytes came; the same command resumes")
    partial.rename(target)
    return target


def _unreachable(what: str, error: Exception) -> str:
    return f"{what} cannot be fetched ({reason(error)}). Fetch it where there is a network, then copy the folder here"
