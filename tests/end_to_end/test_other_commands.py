"""evaluate, report, plan, doctor and fetch, as a person gives them."""

import gzip
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..recipes.conftest import call
from .conftest import ended

BYTES = (json.dumps({"text": "Le patient a de la fièvre."}) + "\n").encode() * 40_000
PACK = """
code = "oc"
name = "Occitan"
spacy = "fr"

[[corpora]]
name = "notes"
path = "corpora/notes.jsonl"
download = "{address}"
licence = "CC0-1.0"

[[corpora]]
name = "closed"
path = "corpora/closed.jsonl"
download = "{address}"
licence = "CC-BY-NC-4.0"
non_commercial = true
"""


def adapt(*words: object) -> subprocess.CompletedProcess[str]:
    return ended(["adapt", *map(str, words)])


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# evaluate


SMALL = ["--tasks", "synthetic_outcome", "--seeds", "2", "--set", "eval.epochs=1", "--set", "eval.min_steps=0"]


def test_evaluate_scores_any_models_by_one_protocol_and_does_nothing_twice(
    base: Path, finished: Path, tmp_path: Path
) -> None:
    words = ["evaluate", base, finished / "model", "--lang", "fr", *SMALL, "--out", tmp_path / "scores"]
    done = adapt(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(".html")
    scores = rows(tmp_path / "scores" / "results.jsonl")
    cells = {(r["model"], r["seed"]) for r in scores if r["seed"] is not None}
    assert cells == {(name, seed) for name in ("tiny", "model") for seed in (0, 1)}
    assert {r["protocol"] for r in scores} == {"labels-single/1"}
    assert len({r["gold"] for r in scores}) == 1
    assert all(r["synthetic"] for r in scores)
    assert "synthetic" in Path(done.stdout.strip()).read_text(encoding="utf-8")
    assert adapt(*words).returncode == 0
    assert rows(tmp_path / "scores" / "results.jsonl") == scores


def test_scores_of_a_folder_are_not_taken_for_those_of_other_settings_or_of_another_model(
    base: Path, finished: Path, tmp_path: Path
) -> None:
    out = ["--lang", "fr", *SMALL[:3], "1", *SMALL[4:], "--out", tmp_path / "scores"]
    done = adapt("evaluate", finished, *out)  # a run's folder: its model, by the run's name
    assert done.returncode == 0, done.stderr
    before = rows(tmp_path / "scores" / "results.jsonl")
    assert finished.name in {row["model"] for row in before}
    done = adapt("evaluate", finished, *out, "--set", "eval.lr=1e-3")
    assert done.returncode == 2
    assert "differ in eval.lr: give another --out" in done.stderr
    other = tmp_path / "other" / finished.name
    shutil.copytree(base, other)
    done = adapt("evaluate", other, *out)
    assert done.returncode == 2
    assert f"differ in the model {finished.name}" in done.stderr
    assert rows(tmp_path / "scores" / "results.jsonl") == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--tasks", "synthetic_ner"], "--lang is needed"),
        (["--lang", "fr", "--tasks", "synthetic_nerr"], "did you mean 'synthetic_ner'"),
        (["--lang", "fr", "--set", "train.lr=1"], "only eval.* settings apply here"),
        (["--lang", "fr", "--allow", "everything"], "everything"),
    ],
)
def test_an_evaluation_that_cannot_be_is_one_clear_error(
    words: list[str], named: str, base: Path, tmp_path: Path
) -> None:
    done = adapt("evaluate", base, *words, "--out", tmp_path / "scores")
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "scores").exists()


# report


def test_report_writes_the_pages_anew(finished: Path) -> None:
    page = finished / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    done = adapt("report", finished)
    assert done.returncode == 0, done.stderr
    assert page.read_text(encoding="utf-8") == before


def test_report_of_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    done = adapt("report", tmp_path)
    assert done.returncode == 2
    assert "no run.toml here" in done.stderr


# plan, doctor


def test_plan_measures_and_leaves_nothing_behind(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = adapt("plan", *command[1:])
    assert done.returncode == 0, done.stderr
    assert "14,000 tokens" in done.stdout
    for what in ("precision", "attention", "memory", "training", "disk"):
        assert what in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    done = adapt("doctor", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    for line in ("package    torch", "offline by HF_HUB_OFFLINE", "precision  ", "attention  ", "task       fr "):
        assert line in done.stdout
    assert "missing" in done.stdout
    assert ": there" not in done.stdout


# fetch


class Server(BaseHTTPRequestHandler):
    """One file, with byte ranges; /short promises more than it gives."""

    requested_ranges: list[str] = []  # noqa: RUF012 -- what came, for the tests

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.requested_ranges.append(wanted or "whole")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = BYTES[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/short" else body)

    def log_message(self, *about: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Server.requested_ranges.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def fetch(address: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    (folder / "pack.toml").write_text(PACK.replace("{address}", address), encoding="utf-8")
    return adapt("fetch", "--lang", folder / "pack.toml", "--data", folder / "root", *words)


def test_fetch_brings_a_corpus_says_its_licence_and_leaves_closed_ones_out(address: str, tmp_path: Path) -> None:
    done = fetch(f"{address}/notes", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "root" / "corpora" / "notes.jsonl").read_bytes() == BYTES
    assert "notes: licence CC0-1.0" in done.stderr
    assert "closed is left out (non-commercial use only)" in done.stderr
    assert not (tmp_path / "root" / "corpora" / "closed.jsonl").exists()


def test_an_interrupted_fetch_goes_on_where_it_was(address: str, tmp_path: Path) -> None:
    short = fetch(f"{address}/short", tmp_path, "--name", "notes")
    assert short.returncode == 2
    target = tmp_path / "root" / "corpora" / "notes.jsonl"
    assert not target.exists()
    assert target.with_name("notes.jsonl.partial").stat().st_size == 1000
    assert fetch(f"{address}/notes", tmp_path, "--name", "notes").returncode == 0
    assert target.read_bytes() == BYTES
    assert Server.requested_ranges == ["whole", "bytes=1000-"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--name", "nots"], "did you mean 'notes'"),
        (["--name", "notes"], "cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_named(words: list[str], named: str, tmp_path: Path) -> None:
    done = fetch("http://127.0.0.1:9/notes", tmp_path, *words)
    assert done.returncode == 2
    assert named in done.stderr


def test_a_run_trains_term_embeddings_and_scores_their_retrieval(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*command[1:], "--set", "objective.kind=terms", "--set", "train.precision='fp32'"]
    line += ["--set", "train.tokens=6_000", "--set", "train.lr=1e-3", "--set", "eval.tasks='none'"]
    assert call(monkeypatch, [*line, "--out", str(tmp_path / "none")]) == 2
    assert "--data ROOT" in capsys.readouterr().err
    terms = tmp_path / "root" / "terms"
    terms.mkdir(parents=True)
    signs = {"pain": "douleur", "fever": "fièvre", "cough": "toux", "bleeding": "saignement"}
    rows = [f"{en} {i}\tfr\t{fr} {i}\tmade" for en, fr in signs.items() for i in range(20)]
    table = "\n".join(["en\tlang\ttranslation\torigin", *rows]) + "\n"
    (terms / "dictionary_en_fr_es_de.tsv.gz").write_bytes(gzip.compress(table.encode()))
    out = tmp_path / "run"
    assert call(monkeypatch, [*line, "--data", str(tmp_path / "root"), "--out", str(out)]) == 0
    scores = [json.loads(row) for row in (out / "results.jsonl").read_text().splitlines()]
    ranks = {(s["model"], s["metric"]): s["value"] for s in scores}
    assert {s["protocol"] for s in scores} == {"terms-retrieval/1"}
    assert ranks["trained", "MRR"] > ranks["base", "MRR"]
    assert "terms_fr" in (out / "report.html").read_text(encoding="utf-8")
    line += ["--set", "objective.hierarchy_steps=2", "--data", str(tmp_path / "root")]
    assert call(monkeypatch, [*line, "--out", str(tmp_path / "none")]) == 2
    assert "the Disease Ontology is not under data.root" in capsys.readouterr().err
    edges = [f"{en} {i}\t{en} 0" for en in signs for i in range(1, 20)] + [f"{en} 0\tdisease" for en in signs]
    tree = "\n".join(["id\tlabel\tsubClassOf", *(f"{n}\t{edge}" for n, edge in enumerate(edges))]) + "\n"
    (terms / "doid").mkdir()
    (terms / "doid" / "HumanDO.tsv.gz").write_bytes(gzip.compress(tree.encode()))
    out = tmp_path / "graded"
    assert call(monkeypatch, [*line, "--out", str(out)]) == 0
    scores = [json.loads(row) for row in (out / "results.jsonl").read_text().splitlines()]
    related = {(s["model"], s["metric"]): s["value"] for s in scores if s["protocol"] == "terms-hierarchy/1"}
    assert related["trained", "relatedness Spearman"] > related["base", "relatedness Spearman"]
    assert ("trained", "parent MRR") in related
