"""Mentions and their codes, by the nearest term: the ranking beside plain numpy, baselines by hand."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.commands.finetune import finetune
from medlingua.recipes.evaluation.budget import fit_to_training
from medlingua.recipes.evaluation.candidate import Evaluation, Keep
from medlingua.recipes.evaluation.evaluate import score_dev, score_models
from medlingua.recipes.evaluation.heads import protocol_under
from medlingua.recipes.evaluation.mentions import CHANCE, REACHABLE, STRING
from medlingua.recipes.evaluation.reading import encode_document
from medlingua.recipes.evaluation.tasks.normalization import Normalization, nearest_codes
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import metric_of, read_tallies
from medlingua.reports.protocols import protocol_of
from medlingua.reports.read import read_scores, read_task_parts
from pydantic import ValidationError

from ..conftest import call


def document(name: str, *mentions: tuple[str, str]) -> Example:
    text, spans = "", []
    for words, code in mentions:
        spans.append(Span.of(len(text), len(text) + len(words), code))
        text += words + " ; "
    return Example(name, Document(name, text, "s"), tuple(spans))


TASK = Task(
    TaskSpec(name="codes", kind="normalization"),
    "fr",
    (
        document("a", ("toux", "R05"), ("Toux", "R05"), ("toux", "J40"), ("fièvre", "R50")),
        document("b", ("douleur du foie", "K76"), ("foie", "K76"), ("fièvre", "R50")),
    ),
    (document("c", ("fièvre", "R50"), ("rein", "N28")),),
    (
        document("d", ("TOUX", "R05"), ("fievre", "R50"), ("toux", "J40")),
        document("e", ("douleur au foie", "K76"), ("rein", "N28")),
    ),
    terminology=(("N28", "maladie du rein"), ("R50", "hyperthermie")),
)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 600))
def test_the_ranking_is_that_of_all_cosines_sorted(seed: int, terms: int) -> None:
    draw = np.random.default_rng(seed)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in draw.normal(size=(2, terms, 8))]
    queries, known = unit[0][:5].astype(np.float32), unit[1].astype(np.float32)
    codes = [[f"c{draw.integers(0, 1 + terms // 40)}" for _ in range(draw.integers(1, 3))] for _ in range(terms)]
    for vector, ranking in zip(queries, nearest_codes(queries, known, codes), strict=True):
        best: dict[str, float] = {}
        for term, of in zip(known, codes, strict=True):
            for code in of:
                best[code] = max(best.get(code, -2.0), float(vector @ term))
        expected = sorted(best, key=lambda code: -best[code])[:5]
        assert len(ranking) == len(expected)
        assert [best[code] for code in ranking] == pytest.approx([best[code] for code in expected], abs=1e-6)


def test_a_model_that_gives_every_term_one_vector_is_at_chance_not_better() -> None:
    codes = [[f"c{n}"] for n in range(1000)]
    same = np.ones((1000, 4), dtype=np.float32) / 2
    (ranking,) = nearest_codes(same[:1], same, codes)
    assert ranking == ("c0", "c1", "c2", "c3", "c4")


def test_codes_by_spelling_chance_and_what_can_be_reached() -> None:
    model = Normalization(TASK)
    assert model.by_string("test") == [[("R05", "J40"), ("R50",), ("R05", "J40")], [(), ()]]
    scores = model.score("test", model.by_string("test"))
    assert scores == {"accuracy@1": 2 / 5, "accuracy@5": 3 / 5, "accuracy@1 of new mentions": 0.0}
    assert model.codes == {"R05", "J40", "R50", "K76", "N28"}
    assert model.upper_bound("test") == 1.0
    assert model.chance("test") == {"accuracy@1": pytest.approx(1 / 5), "accuracy@5": 1.0}


def test_embeddings_are_mean_states_of_the_words_alone(encoder: Encoder) -> None:
    model = Normalization(TASK)
    rankings = model.by_embedding("test", encoder, "m")

    def vector(text: str) -> np.ndarray:
        read = encode_document(encoder, text)
        (window,) = read.windows
        whole = encoder.model.base_model(input_ids=torch.tensor(window)[None]).last_hidden_state
        mean = whole[0].mean(dim=0).detach().numpy()
        unit: np.ndarray = mean / np.linalg.norm(mean)
        return unit

    encoder.model.eval()
    terms = {"toux": Counter(R05=1, J40=1), "Toux": Counter(R05=1), "fièvre": Counter(R50=2),
             "douleur du foie": Counter(K76=1), "foie": Counter(K76=1), "maladie du rein": Counter(N28=1),
             "hyperthermie": Counter(R50=1)}  # fmt: skip
    known = {term: vector(term) for term in terms}
    for of, ranked in zip(model.mentions("test"), rankings, strict=True):
        for (_, text), ranking in zip(of, ranked, strict=True):
            nearest = sorted(terms, key=lambda term: (-float(vector(text) @ known[term]), term))
            codes = dict.fromkeys(c for t in nearest for c in sorted(terms[t], key=lambda c: (-terms[t][c], c)))
            assert ranking == tuple(codes)[:5]


def test_a_model_is_scored_along_with_the_baselines_without_training(base: Path, tmp_path: Path) -> None:
    how = Evaluation(Eval(seeds=3), "fr", tmp_path, Precision("fp32", ""))
    score_models({"m": str(base)}, [TASK], how)
    before = how.results.read_text()
    score_models({"m": str(base)}, [TASK], how)
    assert how.results.read_text() == before  # scored already
    rows = {(row.model, row.metric): row for row in read_scores(how.results)}
    assert {model for model, metric in rows if metric == "accuracy@1"} == {"m", STRING, CHANCE, REACHABLE}
    assert {row.protocol for row in rows.values()} == {"normalization/1"}
    assert rows["m", "accuracy@5"].value == 1.0  # there are five codes
    assert rows["m", "accuracy@1"].seed == 0
    (tallies,) = read_tallies(tmp_path).values()
    total = tallies.by_model["m"][0].sum(axis=0)
    assert metric_of("micro-F1", total, 2) == pytest.approx(rows["m", "accuracy@1"].value)
    first, second = (
        json.loads(line) for line in (tmp_path / "predictions/codes-m-0.jsonl").read_text().splitlines()[1:]
    )
    assert [mention["fragments"] for mention in second["predicted"]] == [[[0, 15]], [[18, 22]]]
    assert all(len(mention["codes"]) == 5 for mention in first["predicted"])


def test_what_the_tokenizer_loses_is_said_here_too(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base, tmp_path / "uncased")
    file = tmp_path / "uncased" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "normalizer": {"type": "Lowercase"}}), "utf-8")
    how = Evaluation(Eval(seeds=1), "fr", tmp_path, Precision("fp32", ""))
    score_models({"m": str(tmp_path / "uncased")}, [TASK], how)
    assert "m: its tokenizer loses upper case" in capsys.readouterr().err


def test_there_is_no_model_to_save(base: Path, tmp_path: Path) -> None:
    keep = Keep(lambda model, task: tmp_path / "model")
    how = Evaluation(Eval(seeds=1), "fr", tmp_path, Precision("fp32", ""), keep=keep)
    score_models({"m": str(base)}, [TASK], how)  # beside tasks that have one
    assert how.results.exists()
    assert not (tmp_path / "model").exists()
    chosen = Eval(tasks=("mantra_fr_concepts",))
    with pytest.raises(InputError, match="trains nothing, so there is no model to save"):
        finetune(str(base), "fr", str(tmp_path), chosen, None, (), tmp_path / "tagger")
    assert not (tmp_path / "tagger").exists()


def test_a_sweep_chooses_by_dev(base: Path, tmp_path: Path) -> None:
    how = Evaluation(Eval(seeds=2), "fr", tmp_path, Precision("fp32", ""))
    rows = score_dev(str(base), [TASK], how)
    assert {(row.split, row.seed) for row in rows} == {("dev", 0), ("dev", 1)}
    assert score_dev(str(base), [TASK], how) == rows


def test_its_protocol_is_the_same_whatever_is_trained_elsewhere() -> None:
    for settings_ in (Eval(), Eval(body="frozen"), Eval(trials=3)):
        assert protocol_under(TASK, settings_) == "normalization/1"
    assert protocol_of("normalization/1") is not None
    with pytest.raises(ValidationError, match="terminology is for kind normalization"):
        TaskSpec(name="t", kind="ner", path=".", reader="brat", terminology="a.tsv")


PACK = """code = "fr"
name = "français"
spacy = "fr"
[[tasks]]
name = "codes"
kind = "normalization"
path = "codes"
reader = "brat"
splits = { train = "train", dev = "dev", test = "test" }
options = { label_from = "note", labels = ["SIGNE"], codes = "[A-Z]\\\\d\\\\d" }
terminology = "terms.tsv"
"""


def test_adapt_evaluate_reads_codes_from_notes_and_a_terminology(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pack.toml").write_text(PACK)
    for part, (code, note) in {"train": ("R05", "à voir"), "dev": ("R50", "R50"), "test": ("K76", "")}.items():
        folder = tmp_path / "codes" / part
        folder.mkdir(parents=True)
        (folder / f"{part}.txt").write_text("Toux, fièvre au foie")
        notes = f"#1\tICD T1\t{code}\n#2\tICD T2\t{note}\n#3\tICD T3\tK76\n"
        mentions = "T1\tSIGNE 0 4\tToux\nT2\tSIGNE 6 12\tfièvre\nT3\tORGANE 16 20\tfoie\n"
        (folder / f"{part}.ann").write_text(mentions + notes)
    (tmp_path / "codes/terms.tsv").write_text("code\tterm\nK76\ttoux grasse\nR50\tfièvre\n\tvide\n")
    arguments = ["--lang", str(tmp_path / "pack.toml"), "--data", str(tmp_path)]
    out = tmp_path / "out"
    assert call(monkeypatch, ["evaluate", str(base), *arguments, "--out", str(out)]) == 0
    output = "".join(capsys.readouterr())
    assert "mentions left out, which have no code: 2" in output
    rows = {(row.model, row.metric): row.value for row in read_scores(out / "results.jsonl")}
    assert rows[STRING, "accuracy@1"] == 0.0  # train's Toux is R05
    assert rows[REACHABLE, "accuracy@1"] == 1.0  # K76 has a term in the terminology alone
    page = (out / "report.html").read_text()
    assert "normalization/1" in page
    assert "Fewer than three seeds" not in page  # none is drawn
    assert "nothing is trained" in output
    parts = {row.part: row for row in read_task_parts(out / "tasks.jsonl")}
    assert (parts["test"].spans, parts["test"].labels, parts["test"].words.total) == (1, {"K76": 1}, 4)
    assert parts["test"].shared == {}
    (tmp_path / "pack.toml").write_text(PACK.replace("[A-Z]", "[A-"))
    assert call(monkeypatch, ["evaluate", str(base), *arguments, "--out", str(out)]) == 2
    assert "which is no regular expression" in "".join(capsys.readouterr())


def test_its_cost_is_that_of_reading_terms_and_mentions_once() -> None:
    few, many = (
        fit_to_training((TASK,), Eval(seeds=seeds), 1.0, 1, 0.0, choose_tasks=False, choose_seeds=False)
        for seeds in (1, 5)
    )
    terms = ["toux", "Toux", "fièvre", "foie", "douleur du foie", "maladie du rein", "hyperthermie"]
    mentions = ["TOUX", "fievre", "toux", "douleur au foie", "rein"]
    assert few.seconds == pytest.approx(sum(map(len, terms + mentions)) / 3)
    assert many.seconds == few.seconds
