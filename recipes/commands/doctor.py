"""adapt doctor: what is installed and reachable, what lies in the data root, what this machine will use."""

import os
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

import psutil
import torch
from medlingua.adapters.kernels.choice import KERNELS, choose
from medlingua.adapters.kernels.contract import Request
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Corpus, TaskSpec, known_languages, load_pack
from medlingua.languages.tasks import available, read_task
from medlingua.recipes import machine
from medlingua.recipes.text.hub import read_hub

_PACKAGES = ("medlingua", "torch", "transformers", "tokenizers", "accelerate", "datasets", "spacy")
_OPTIONAL = ("flash-attn", "peft", "torch-optimi")
_ROOM = ("corpora", "corpora-nc", "tasks", "tasks-nc", "terms", "models")  # folders of a data root
_FIRST = 20  # documents of a corpus that are read
_BYTES_A_PARAMETER = 16  # fp32 weights, gradients, two moments


def examine(root: Path | None) -> str:
    """A report in lines; without a data root it says what --data would add."""
    return "\n".join([*_installed(), *_network(), *_machine(), *_data(root)])


def _installed() -> Iterator[str]:
    for name in (*_PACKAGES, *_OPTIONAL):
        try:
            yield f"package    {name} {version(name)}"
        except PackageNotFoundError:
            yield f"package    {name} is not installed" + (" (optional)" if name in _OPTIONAL else "")


def _network() -> Iterator[str]:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        yield "hub        offline by HF_HUB_OFFLINE: models and corpora come from folders"
        return
    try:
        socket.create_connection(("huggingface.co", 443), timeout=2).close()
        yield "hub        reachable"
    except OSError as error:
        yield f"hub        not reachable ({error}): give folders with --base, --corpus and --data"


def _machine() -> Iterator[str]:
    device = machine.device()
    precision = machine.precision_of("auto", device)
    dtype = precision.dtype
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info()[0]
    threads = torch.get_num_threads()
    yield f"machine    {machine.describe()}; {threads} thread{'' if threads == 1 else 's'}"
    yield f"precision  {precision.name}: {precision.reason}"
    for what, request in (
        ("training", Request(device, dtype, window=True)),
        ("global tokens", Request(device, dtype, window=True, global_tokens=True)),
        ("evaluation", Request(device, torch.float32, window=True)),
    ):
        choice = choose(request)
        yield f"attention  {what}: {choice.kernel.name}, {choice.reason}"
    for name, kernel in KERNELS.items():
        refusal = kernel.refusal(Request(device, dtype, window=True))
        yield f"kernel     {name}: {kernel.summary}" + (f"; not here: {refusal}" if refusal else "")
    yield (
        f"memory     {free / 2**30:.1f} GiB free: weights, gradients and the optimizer's moments of a model of "
        f"{free / _BYTES_A_PARAMETER / 2 / 1e6:,.0f} million parameters take half of it, activations the other half"
    )


def _data(root: Path | None) -> Iterator[str]:
    if root is None:
        yield "data       no data root given: --data ROOT shows which corpora and tasks are there"
        return
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if entry.is_dir() and entry.name not in _ROOM and not entry.name.startswith("."):
            yield f"unknown    {entry.name}/: nothing reads it; the folders of a data root are {', '.join(_ROOM)}"
    for code in known_languages():
        pack = load_pack(code)
        for corpus in pack.corpora:
            if corpus.path is not None or (corpus.place is not None and (root / corpus.place).exists()):
                note = f" ({corpus.restriction})" if corpus.restricted else ""
                yield f"corpus     {code} {corpus.name}: {_state_of_corpus(corpus, root)}{note}"
        for task in pack.tasks:
            if task.path is not None:
                yield f"task       {code} {task.name}: {_state_of_task(task, root, code)}"


def _state_of_corpus(corpus: Corpus, root: Path) -> str:
    """Whether it is there, and its first documents can be read."""
    assert corpus.place is not None
    place = root / corpus.place
    if not place.exists():
        return "missing"
    try:
        if corpus.path is None:
            documents = read_hub(
                corpus.name, str(place), text_field=corpus.text_field, config=corpus.config, split=corpus.split
            )
        else:
            documents = read_documents(place, source=corpus.name, text_field=corpus.text_field)
        for _ in islice(documents, _FIRST):
            pass
        return "there"
    except InputError as error:
        return f"cannot be read: {error}"


def _state_of_task(task: TaskSpec, root: Path, code: str) -> str:
    if not available(task, root):
        return "missing"
    try:
        read_task(task, root, code)
        return "there"
    except InputError as error:
        return f"cannot be read: {error}"
