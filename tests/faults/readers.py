"""All readers of files from anybody, each with bytes that are good, and ways to harm them."""

import copy
import datetime
import json
import random
import shutil
import struct
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
from medlingua.adapters.encoder import load
from medlingua.languages.pack import load_pack
from medlingua.languages.terminologies.reading import read_concepts
from medlingua.recipes.evaluation.predictions import read_predictions
from medlingua.recipes.evaluation.prompts import read_answers
from medlingua.recipes.experiments.space import read_sweep
from medlingua.recipes.experiments.study import read_study
from medlingua.recipes.text.annotation import BIOMED_ENRICHED, read_schema
from medlingua.recipes.text.annotation import read_answers as read_labels

from ..languages.test_privacy_of_messages import READERS as WITH_NAMES
from ..languages.test_terminologies import BABELON, CLAML, CODES, DOID_ES, EDGES, MESH, OBO, snomed, umls
from ..languages.test_untrusted import PACK
from ..languages.test_untrusted import READERS as OF_TEXT
from ..recipes.conftest import write_base
from ..recipes.evaluation.test_predictions import FEVER, prediction, toy
from ..recipes.experiments.test_space import FIXED, SPACE

Reader = tuple[Callable[[Path, bytes], None], Callable[[Path], bytes]]  # reads these bytes; bytes that are good


@cache
def _model(folder: Path) -> Path:
    return write_base(folder / "good")


def of_model(name: str) -> Reader:
    """A file of a model's folder, the others being good."""

    def read(folder: Path, raw: bytes) -> None:
        harmed = folder / "harmed"
        if not harmed.exists():
            shutil.copytree(_model(folder), harmed)
        (harmed / name).write_bytes(raw)
        try:
            load(str(harmed))
        finally:
            shutil.copy2(_model(folder) / name, harmed / name)

    return read, lambda folder: (_model(folder) / name).read_bytes()


def of_file(name: str, reader: Callable[[Path], object], good: bytes) -> Reader:
    def read(folder: Path, raw: bytes) -> None:
        (folder / name).write_bytes(raw)
        reader(folder / name)

    return read, lambda folder: good


STUDY = {
    "tokens": 1_000,
    "bases": {"small": "FOLDER"},
    "tasks": {"fr": ["mantra_fr"]},
    "settings": {"train": {"lr": 1e-3}},
    "arms": [
        {"name": "one", "strategy": "convert", "base": "base:small", "settings": {"adapt": {"length": 1_024}}},
        {"name": "two", "model": "arm:one"},
    ],
}
SWEEP = {"trials": 4, "sampler": {"name": "TPESampler", "n_startup_trials": 5}, "settings": FIXED, "space": SPACE}
ANSWERS = b'{"id": "t0:0-25", "answer": [{"text": "toux", "label": "DISO"}]}\n{"id": "t1:0-19", "answer": "[]"}\n'
PREDICTIONS = b"".join(json.dumps(row).encode() + b"\n" for row in (prediction("t0", FEVER), prediction("t1")))

LABELS = b'{"id": "a", "answer": {"document_type": "Study", "domain": "Clinical", "educational_score": "3"}}\n'
SCHEMA = b'[[columns]]\nname = "domain"\nvalues = ["Clinical", "Other"]\nquestion = "What is it about?"\n'

# Readers of one published set each, whose good bytes are in the tests of messages alone.
_SETS = (
    "id pairs", "sentences of pairs", "paraphrases", "squad", "options", "pubmedqa", "nli4ct", "nli4ct, trials", "e3c"
)  # fmt: skip
_OF_DATA = {**OF_TEXT, **{name: WITH_NAMES[name] for name in _SETS}}
_TERMINOLOGIES = {
    "terms.obo": (OBO, "en"), "claml.xml": (CLAML, "de"), "mesh.xml": (MESH, "fr"), "hp.babelon.tsv": (BABELON, "fr"),
    "doid.tsv": (DOID_ES, "es"), "edges.tsv": (EDGES, "en"), "codes.csv": (CODES, "fr"),
}  # fmt: skip


def of_release(write: Callable[[Path], Path], name: str, lang: str) -> Reader:
    """A file of a terminology's release, the others being good."""

    def read(folder: Path, raw: bytes) -> None:
        shutil.rmtree(folder / "release", ignore_errors=True)
        release = write(folder / "release")
        next(release.rglob(name)).write_bytes(raw)
        read_concepts(release, lang)

    return read, lambda folder: next(write(folder / "good").rglob(name)).read_bytes()


READERS: dict[str, Reader] = {
    **{name: (read, lambda folder, good=good: good) for name, (read, good) in _OF_DATA.items()},
    "config.json": of_model("config.json"),
    "model.safetensors": of_model("model.safetensors"),
    "tokenizer.json": of_model("tokenizer.json"),
    "tokenizer_config.json": of_model("tokenizer_config.json"),
    "pack.toml": of_file("pack.toml", load_pack, PACK.format(name="notes", path="notes.jsonl").encode()),
    "study.toml": of_file("study.toml", lambda file: read_study(str(file)), tomli_w.dumps(STUDY).encode()),
    "sweep.toml": of_file("sweep.toml", lambda file: read_sweep(file, {}), tomli_w.dumps(SWEEP).encode()),
    "predictions": of_file("found.jsonl", lambda file: read_predictions(file, toy()), PREDICTIONS),
    "answers": of_file("answers.jsonl", lambda file: read_answers(file, toy(), "fr"), ANSWERS),
    "labels": of_file("labels.jsonl", lambda file: read_labels(file, BIOMED_ENRICHED), LABELS),
    "schema.toml": of_file("schema.toml", read_schema, SCHEMA),
    **{
        name: of_file(name, lambda file, lang=lang: read_concepts(file, lang), good.encode())
        for name, (good, lang) in _TERMINOLOGIES.items()
    },
    **{f"SNOMED CT, {name}": of_release(snomed, f"*{name}*", "es") for name in ("Description", "Relationship")},
    **{f"UMLS, {name}": of_release(umls, name, "fr") for name in ("MRCONSO.RRF", "MRREL.RRF")},
}

_ODD = (
    b"", b"\x00", b"\xff\xfe", b"\n", b"\r\n", b'"', b"'", b"[", b"]", b"{", b"}", b"-1", b"0", b"1e999", b"NaN",
    b"Infinity", b"null", b"true", b"9" * 400, b"2147483648", b"18446744073709551615", b"[" * 3_000, b"{}", b"[]",
    b"..", b"/etc/passwd", "é".encode("latin-1"), "\U0001f927".encode(), b"\xed\xa0\xbd", b"\t", b",", b";", b"=",
)  # fmt: skip


_VALUES: tuple[Any, ...] = (
    True, -1, 0, 1, 3, 10**9, 10**18, 1e308, float("inf"), float("nan"), "", "x", "..", "/etc/passwd", "é" * 300, [],
    {}, [[]], [1, "a"], {"a": {}}, "\ud800", datetime.date(2026, 1, 1), [{"type": "x"}] * 3,
)  # fmt: skip


def harmed(good: bytes, rng: random.Random) -> bytes:
    """Good bytes: half of the time with other values in their structure, if they have one, else with other bytes."""
    for loads, dumps in (_JSON, _SAFETENSORS, _TOML) if rng.random() < 0.5 else ():  # the first that fits
        try:
            value = loads(good)
            for _ in range(rng.randint(1, 3)):
                value = _with_another_value(value, rng)
            return dumps(value)
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error):
            continue
    return _with_other_bytes(good, rng)


def _with_another_value(value: Any, rng: random.Random) -> Any:
    """The structure with one of its values replaced, taken out or put under another name."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.1:
        return rng.choice(_VALUES)
    changed = copy.copy(value)
    key = rng.choice(list(changed)) if isinstance(changed, dict) else rng.randrange(len(changed))
    match rng.randrange(8):
        case 0:
            del changed[key]
        case 1 if isinstance(changed, dict):
            changed[rng.choice(("", "x", "a.b", str(key) * 2))] = changed.pop(key)
        case _:
            changed[key] = _with_another_value(changed[key], rng)
    return changed


def _safetensors(raw: bytes) -> Any:
    size = struct.unpack("<Q", raw[:8])[0]
    return [json.loads(raw[8 : 8 + size]), raw[8 + size :].hex()]


def _of_safetensors(value: Any) -> bytes:
    header, tensors = value
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes.fromhex(tensors)


_JSON = (json.loads, lambda value: json.dumps(value).encode())
_TOML = (lambda raw: tomllib.loads(raw.decode()), lambda value: tomli_w.dumps(value).encode())
_SAFETENSORS = (_safetensors, _of_safetensors)


def _with_other_bytes(good: bytes, rng: random.Random) -> bytes:
    """Good bytes with one to four stretches flipped, cut, doubled, swapped with others or replaced by odd ones."""
    raw = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(raw) + 1)
        end = min(len(raw), start + rng.choice((0, 1, 1, 2, 4, 8, 64, len(raw))))
        match rng.randrange(5):
            case 0 if start < len(raw):
                raw[start] ^= 1 << rng.randrange(8)
            case 1:
                del raw[start:end]
            case 2:
                raw[start:start] = raw[start:end]
            case 3:
                other = rng.randrange(len(raw) + 1)
                raw[start:end] = raw[other : other + rng.choice((1, 4, 16))]
            case _:
                raw[start:end] = rng.choice(_ODD)
    return bytes(raw)
