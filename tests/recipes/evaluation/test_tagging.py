"""Tags of words: metrics as scikit-learn has them, learnt and scored end to end."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.pack import TaskSpec
from medlingua.languages.readers.tokens import tagged_document
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.baselines import DICTIONARY
from medlingua.recipes.evaluation.candidate import Evaluation, Keep
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.tasks.tagging import Tagging, tag_scores
from medlingua.recipes.inference.annotator import Annotator
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import metric_of, read_tallies
from medlingua.reports.read import read_scores, read_task_parts
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForTokenClassification

from ..conftest import call

TAGS = ["ADJ", "ADV", "NOM", "VER"]
LEXICON = {"foie": "NOM", "rein": "NOM", "gros": "ADJ", "petit": "ADJ", "mange": "VER", "dort": "VER", "pas": "ADV"}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_scores_are_scikit_learns_and_tallies_add_up_to_them(seed: int, documents: int) -> None:
    draw = np.random.default_rng(seed)
    gold = [draw.choice(TAGS, draw.integers(1, 12)).tolist() for _ in range(documents)]
    decided = [[tag if draw.random() < 0.5 else str(draw.choice(TAGS)) for tag in tags] for tags in gold]
    true, predicted = ([tag for tags in side for tag in tags] for side in (gold, decided))
    names = sorted(set(true))
    scores = tag_scores(gold, decided)
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert scores["macro-F1"] == pytest.approx(f1_score(true, predicted, labels=names, average="macro"))
    by_tag = f1_score(true, predicted, labels=names, average=None)
    assert [scores[f"F1 of {name}"] for name in names] == pytest.approx(by_tag.tolist())


def part(name: str, count: int, seed: int) -> tuple[Example, ...]:
    draw = np.random.default_rng(seed)
    words = [draw.choice(list(LEXICON), 6).tolist() for _ in range(count)]
    return tuple(
        tagged_document(f"{name}{n}", [[(word, LEXICON[word]) for word in of]], "s") for n, of in enumerate(words)
    )


def a_task() -> Task:
    spec = TaskSpec(name="pos", kind="tagging")
    return Task(spec, "fr", part("a", 40, 0), part("b", 8, 1), part("c", 12, 2), True)


@pytest.mark.parametrize("body", ["trained", "frozen"])
def test_a_model_learns_tags_and_its_scores_have_intervals(body: str, base: Path, tmp_path: Path) -> None:
    chosen = Eval(epochs=12, min_steps=0, seeds=1, body=body, lr=3e-3, head_lr=1e-2)  # type: ignore[arg-type]
    score_models({"m": str(base)}, [a_task()], Evaluation(chosen, "fr", tmp_path, Precision("fp32", "")))
    rows = {(row.model, row.metric): row for row in read_scores(tmp_path / "results.jsonl")}
    protocol = "tagging/1, frozen body/2" if body == "frozen" else "tagging/1"
    assert {row.protocol for row in rows.values()} == {protocol}
    assert rows["m", "accuracy"].value > 0.8
    assert rows[DICTIONARY, "macro-F1"].value == 1.0  # every form has one tag
    assert {metric for model, metric in rows if model == "m"} == {
        "accuracy", "macro-F1", *(f"F1 of {tag}" for tag in TAGS)
    }  # fmt: skip
    (tallies,) = read_tallies(tmp_path).values()
    total = tallies.by_model["m"][0].sum(axis=0)
    assert metric_of("macro-F1", total, 12) == pytest.approx(rows["m", "macro-F1"].value)
    lines = (tmp_path / "predictions/pos-m-0.jsonl").read_text().splitlines()[1:]
    predicted = [json.loads(line)["predicted"] for line in lines]
    gold = [[word.label for word in e.gold] for e in a_task().test]  # type: ignore[union-attr]
    assert tag_scores(gold, predicted)["accuracy"] == rows["m", "accuracy"].value


def test_what_tasks_hold_and_share_is_written_for_the_report(base: Path, tmp_path: Path) -> None:
    other = replace(a_task(), spec=TaskSpec(name="other", kind="tagging"), train=part("x", 3, 2))
    how = Evaluation(Eval(epochs=1, min_steps=0, seeds=1), "fr", tmp_path, Precision("fp32", ""))
    score_models({"m": str(base), "n": str(base)}, [a_task(), other], how)
    rows = {(row.task, row.part): row for row in read_task_parts(tmp_path / "tasks.jsonl")}
    assert set(rows) == {(task, name) for task in ("pos", "other") for name in ("train", "dev", "test")}
    test = rows["pos", "test"]
    assert (test.words.total, set(test.tokens)) == (72, {"m", "n"})
    assert test.tokens["m"].total >= 72
    assert sum(test.labels.values()) == 72
    # The same draw: the first three of the twelve test texts are the other's train part.
    assert test.shared == {"train of other": 3, "test of other": 12}


def test_the_baseline_takes_a_form_s_most_frequent_tag_and_train_s_for_a_new_form(encoder: Encoder) -> None:
    def one(name: str, *tokens: tuple[str, str]) -> Example:
        return tagged_document(name, [list(tokens)], "s")

    train = one("a", ("la", "DET"), ("la", "DET"), ("la", "PRO"), ("toux", "NOM"), ("fait", "NOM"), ("foie", "NOM"))
    test = one("c", ("la", "PRO"), ("la", "DET"), ("La", "NOM"), ("dort", "VER"))
    task = Task(TaskSpec(name="t", kind="tagging"), "fr", (train,), (train,), (test,))
    scores = Tagging(task, encoder).by_word_form("test")
    assert scores["accuracy"] == 0.5  # la/DET, and La is a form that train lacks
    assert scores["F1 of VER"] == 0.0


def test_a_word_without_a_piece_gets_the_most_frequent_tag(encoder: Encoder) -> None:
    example = tagged_document("a", [[("toux", "NOM"), ("\u200b\u0000", "SYM"), ("foie", "NOM")]], "s")
    task = Task(TaskSpec(name="t", kind="tagging"), "fr", (example,), (example,), (example,))
    model = Tagging(task, encoder)
    (read,) = model.read("test")
    assert read.has_piece.tolist() == [True, False, True]
    states = np.zeros((read.document.tokens, encoder.model.config.hidden_size), dtype=np.float32)
    model.head.bias.data = torch.tensor([0.0, 1.0])  # SYM for every word that has a piece
    (predicted,) = model.predict(torch.from_numpy(states), [read])
    assert model.decide(predicted, model.choose([predicted])) == ["SYM", "NOM", "SYM"]


PACK = """code = "fr"
name = "français"
spacy = "fr"
[[tasks]]
name = "pos"
kind = "tagging"
path = "pos"
reader = "tokens"
splits = { train = "train.txt", dev = "dev.txt", test = "test.txt" }
"""


def test_adapt_evaluate_scores_a_folder_s_tags_and_names_those_that_train_lacks(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pos").mkdir()
    (tmp_path / "pack.toml").write_text(PACK)
    for name, more in (("train", ""), ("dev", "hier ADV2\n"), ("test", "ici ADV3\n")):
        lines = "".join(f"{word}\t{tag}\n" for word, tag in LEXICON.items())
        (tmp_path / f"pos/{name}.txt").write_text(
            f"{name}\tNAM\n{lines}{more.replace(' ', chr(9))}", encoding="utf-8"
        )
    arguments = [
        "evaluate", str(base), "--lang", str(tmp_path / "pack.toml"), "--data", str(tmp_path), "--seeds", "1",
        "--set", "eval.epochs=1", "--set", "eval.min_steps=1", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert call(monkeypatch, arguments) == 0
    output = "".join(capsys.readouterr())
    assert "tags of dev that train lacks: ADV2" in output
    assert "labels that only test has, all missed: ADV3 (1)" in output
    page = (tmp_path / "out/report.html").read_text()
    assert "tagging/1" in page
    (tmp_path / "pos/dev.txt").write_text("\n")
    assert call(monkeypatch, arguments) == 2
    assert "dev.txt: no tokens in it" in "".join(capsys.readouterr())


def test_a_saved_tagger_opens_in_plain_transformers_and_tags_new_text(base: Path, tmp_path: Path) -> None:
    chosen = Eval(epochs=12, min_steps=0, seeds=1, lr=3e-3, head_lr=1e-2)
    keep = Keep(lambda model, task: tmp_path / "model")
    score_models({"m": str(base)}, [a_task()], Evaluation(chosen, "fr", tmp_path, Precision("fp32", ""), keep=keep))
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    assert sorted(stock.config.id2label.values()) == TAGS
    lines = (tmp_path / "predictions/pos-m-0.jsonl").read_text().splitlines()[1:]
    expected = [json.loads(line)["predicted"] for line in lines]
    texts = [example.document.text for example in a_task().test]
    annotated = list(Annotator(tmp_path / "model")(texts))  # its words are spaCy's, which are those of this task
    assert [[entity.label for entity in of.entities] for of in annotated] == expected
    assert [entity.text for entity in annotated[0].entities] == texts[0].split()
    assert all(0 <= entity.probability <= 1 for of in annotated for entity in of.entities if entity.probability)
