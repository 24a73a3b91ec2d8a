"""A fine-tuned model that is saved: it says what it said on test, however it is opened."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.candidate import Evaluation, Keep
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.evaluation.results import in_order, plain
from medlingua.recipes.evaluation.saved_task import load_task_model, read_record, width_of
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.inference.annotator import Annotator
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores
from medlingua.reports.task_card import write_task_card
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from ..evaluation.test_every_kind import a_task, example

FP32 = Precision("fp32", "a test")
BRIEF = Eval(epochs=6, min_steps=0, lr=3e-3, seeds=2)
KINDS: dict[str, tuple[Task, dict[str, Any], str]] = {
    "tags": (a_task("ner"), {}, "BertForTokenClassification"),
    "spans": (a_task("ner"), {"ner_head": "spans"}, ""),
    "tagging": (a_task("tagging"), {}, "BertForTokenClassification"),
    "classification": (a_task("classification"), {"pooling": "first"}, "BertForSequenceClassification"),
    "mean": (a_task("classification"), {}, ""),
    "multilabel": (a_task("multilabel"), {"pooling": "first"}, "BertForSequenceClassification"),
    "relations": (a_task("relations", negative="non"), {"pooling": "first"}, "BertForSequenceClassification"),
    "pairs": (a_task("pairs"), {"pooling": "first"}, "BertForSequenceClassification"),
    "choice": (a_task("choice"), {"pooling": "first"}, "BertForMultipleChoice"),
    "answers": (a_task("answers"), {}, "BertForQuestionAnswering"),
    "similarity": (a_task("similarity", scale=(0, 5)), {}, ""),
}


def keep_in(folder: Path, seed: int | None = None) -> Keep:
    return Keep(lambda model, task: folder / "model", seed)


def trained(task: Task, base: Path, folder: Path, settings: Eval, keep: Keep | None) -> list[Any]:
    folder.mkdir(exist_ok=True)
    score_models({"tiny": str(base)}, (task,), Evaluation(settings, "fr", folder, FP32, keep=keep))
    return read_scores(folder / "results.jsonl")


def predicted(folder: Path, seed: int) -> list[Any]:
    (file,) = (folder / "predictions").glob(f"*-{seed}.jsonl")
    return [json.loads(line)["predicted"] for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def as_written(decided: Any) -> Any:
    return json.loads(json.dumps([plain(item) for item in in_order(decided)]))


@pytest.fixture(scope="module")
def tagger(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    trained(a_task("ner"), base, folder, BRIEF.model_copy(update={"seeds": 1}), keep_in(folder))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_predicts_what_it_predicted_on_test_and_its_scores_are_those_of_an_evaluation(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlingua.recipes.machine.cpu_bf16_units", lambda: None)
    task, options, stock = KINDS[kind]
    settings = BRIEF.model_copy(update=options)
    rows = trained(task, base, tmp_path / "kept", settings, keep_in(tmp_path / "kept"))
    assert rows == trained(task, base, tmp_path / "plain", settings, None)

    record = read_record(tmp_path / "kept" / "model")
    assert record.stock_class == stock
    by_seed = {row.seed: row.value for row in rows if row.metric == record.metric and row.model == "tiny"}
    assert record.test[record.metric] == by_seed[record.seed]
    card = write_task_card(tmp_path / "kept", tmp_path / "kept" / "model").read_text(encoding="utf-8")
    (example_code, *_) = re.findall(r"```python\n(import medlingua.*?)```", card, re.DOTALL)
    exec(example_code.replace("path/to/this/folder", str(tmp_path / "kept" / "model")), {})
    annotate = Annotator(tmp_path / "kept" / "model")
    predictions = annotate.predict(task.test)
    expected = predicted(tmp_path / "kept", record.seed)
    if kind == "similarity":
        np.testing.assert_allclose([p.decided for p in predictions], expected, atol=1e-5)
    elif kind == "tagging":
        assert [[span.label for span in p.decided] for p in predictions] == expected
    else:
        assert [as_written(p.decided) for p in predictions] == expected
        assert any(expected)
    for prediction in predictions:
        shares = [share for _, share in prediction.items if share is not None]
        assert all(0 <= share <= 1 for share in shares)
        assert {*prediction.decided} <= {item for item, _ in prediction.items}


@pytest.mark.parametrize(
    ("family", "stock"),
    [
        ("deberta-v2", "DebertaV2ForTokenClassification"),
        ("distilbert", "DistilBertForTokenClassification"),
        ("mpnet", "MPNetForTokenClassification"),
        ("albert", "AlbertForTokenClassification"),
        ("nomic_bert", "NomicBertForTokenClassification"),
        ("gte", "GteForTokenClassification"),
    ],
)
def test_other_families_are_fine_tuned_saved_and_applied(
    family: str,
    stock: str,
    build: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    task = a_task("ner")
    trained(task, build(family), tmp_path / "kept", BRIEF.model_copy(update={"seeds": 1}), keep_in(tmp_path / "kept"))
    model = tmp_path / "kept" / "model"
    assert read_record(model).stock_class == stock
    assert width_of(model) == 32
    predictions = Annotator(model).predict(task.test)
    assert [as_written(p.decided) for p in predictions] == predicted(tmp_path / "kept", 0)


def test_the_best_seed_on_dev_is_saved_or_the_requested_one(base: Path, tmp_path: Path) -> None:
    task, settings = a_task("classification"), BRIEF.model_copy(update={"seeds": 3, "pooling": "first"})
    best = trained(task, base, tmp_path / "best", settings, keep_in(tmp_path / "best"))
    record = read_record(tmp_path / "best" / "model")
    dev = {}
    for seed in range(3):
        (file,) = (tmp_path / "best" / "predictions").glob(f"*-{seed}.jsonl")
        dev[seed] = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["dev"][record.metric]
    assert record.seed == max(dev, key=dev.__getitem__)  # the first of equals
    assert record.dev[record.metric] == dev[record.seed]
    last = trained(task, base, tmp_path / "last", settings, keep_in(tmp_path / "last", 2))
    assert read_record(tmp_path / "last" / "model").seed == 2
    assert best == last
    with pytest.raises(
        InputError, match="seed 3 is not among the 3 that are run, which count from 0: set --seeds to 4 or more"
    ):
        trained(task, base, tmp_path / "none", settings, keep_in(tmp_path / "none", 3))


def test_a_stopped_call_saves_the_model_that_an_unstopped_one_saves(base: Path, tmp_path: Path) -> None:
    task, settings = a_task("ner"), BRIEF.model_copy(update={"seeds": 3})
    trained(task, base, tmp_path / "whole", settings, keep_in(tmp_path / "whole"))
    trained(task, base, tmp_path / "parts", settings.model_copy(update={"seeds": 1}), keep_in(tmp_path / "parts"))
    trained(task, base, tmp_path / "parts", settings, keep_in(tmp_path / "parts"))
    for name in ("model.safetensors", "head.safetensors", "tokenizer.json"):
        whole, parts = ((tmp_path / of / "model" / name).read_bytes() for of in ("whole", "parts"))
        assert whole == parts, name


def test_scores_without_their_model_are_not_taken_for_a_saved_one(base: Path, tmp_path: Path) -> None:
    task = a_task("ner")
    trained(task, base, tmp_path, BRIEF, None)
    with pytest.raises(InputError, match="whose model was not saved: give another --out"):
        trained(task, base, tmp_path, BRIEF, keep_in(tmp_path))


AUTO = {
    "tags": AutoModelForTokenClassification,
    "classification": AutoModelForSequenceClassification,
    "multilabel": AutoModelForSequenceClassification,
    "pairs": AutoModelForSequenceClassification,
    "choice": AutoModelForMultipleChoice,
    "answers": AutoModelForQuestionAnswering,
}


@pytest.mark.parametrize("kind", AUTO)
def test_plain_transformers_computes_the_same_from_a_text(kind: str, base: Path, tmp_path: Path) -> None:
    """Nothing of ours between the text and the logits: its tokenizer, its classes."""
    task, options, _ = KINDS[kind]
    trained(task, base, tmp_path, BRIEF.model_copy(update={"seeds": 1, **options}), keep_in(tmp_path))
    folder = tmp_path / "model"
    model, tokenizer = AUTO[kind].from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    encoder, ours, record = load_task_model(folder)
    read = ours.encode(replace(task.test[0]))
    one = task.test[0]
    texts: tuple[Any, ...] = (one.document.text,)
    if kind in ("pairs", "answers"):
        texts = (one.question, one.document.text)
    if kind == "choice":
        texts = ([one.document.text] * 2, [text for _, text in one.options])
    inputs = tokenizer(*texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    if kind == "choice":
        inputs = {key: value[None] for key, value in inputs.items()}
    with torch.no_grad():
        result = model(**inputs)
        states = token_states(encoder, [read.document])
        if kind == "answers":
            expected = ours.head(states[read.document.question_tokens :])[:, :2]
            theirs = torch.stack([result.start_logits, result.end_logits], -1)[0]
            theirs = theirs[-1 - len(expected) : -1]
        elif kind == "tags":
            expected, theirs = ours.head(states), result.logits[0, 1:-1]
            assert [model.config.id2label[i] for i in range(len(ours.tags))] == list(ours.tags)  # type: ignore[attr-defined]
        else:
            expected, theirs = ours.logits(states, [read]), result.logits  # type: ignore[attr-defined]
            expected = expected.reshape(theirs.shape)
    torch.testing.assert_close(theirs, expected, atol=1e-4, rtol=1e-3)
    if kind == "multilabel":
        assert model.config.problem_type == "multi_label_classification"
        assert model.config.medlingua["chosen"]["threshold"] == record.chosen["threshold"]


def test_a_text_longer_than_the_model_is_read_in_passes_that_change_nothing(tagger: Path) -> None:
    text = " ".join(f"On examine le {organ} et le patient va bien." for organ in ("foie", "rein", "coeur") * 60)
    whole, parts = (Annotator(tagger / "model", batch_tokens=size) for size in (100_000, 200))
    (once,), (often,) = list(whole([text])), list(parts([text]))
    assert len(once.entities) > 50
    assert [(e.start, e.end, e.label) for e in once.entities] == [(e.start, e.end, e.label) for e in often.entities]
    np.testing.assert_allclose(
        [e.probability for e in once.entities], [e.probability for e in often.entities], atol=1e-4
    )
    assert all(text[e.start : e.end] == e.text for e in once.entities)


def test_many_texts_come_back_in_their_order(tagger: Path) -> None:
    annotate = Annotator(tagger / "model", batch_tokens=300)
    texts = [f"{'Le patient va bien. ' * (i % 7)}On examine le foie numéro {i}" for i in range(40)]
    together = [annotation.entities for annotation in annotate(iter(texts))]
    assert together == [next(annotate([text])).entities for text in texts] or all(
        [(e.start, e.label) for e in a] == [(e.start, e.label) for e in next(annotate([text])).entities]
        for a, text in zip(together, texts, strict=True)
    )


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an encoder": (
        lambda f: edit(f, lambda c: c.pop("medlingua")),
        "adapt finetune did not write.*adapt finetune MODEL",
    ),
    "no model": (lambda f: (f / "config.json").unlink(), "no config.json, so no model"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "no JSON object"),
    "no head": (lambda f: (f / "head.safetensors").unlink(), "not the head of this model.*copy the whole folder"),
    "half a head": (
        lambda f: (f / "head.safetensors").write_bytes((f / "head.safetensors").read_bytes()[:50]),
        "not the head of this model",
    ),
    "another record": (
        lambda f: edit(f, lambda c: c["medlingua"].pop("labels")),
        r"medlingua\.labels is not what adapt finetune of this version writes",
    ),
}


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    change(config)
    file.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("fault", BAD)
def test_a_folder_that_is_no_fine_tuned_model_is_named_in_one_line(fault: str, tagger: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tagger / "model", tmp_path / "model")
    change, message = BAD[fault]
    change(tmp_path / "model")
    with pytest.raises(InputError, match=message) as raised:
        Annotator(tmp_path / "model")
    assert "\n" not in str(raised.value)


def test_a_card_says_scores_protocol_licences_and_how_to_use_the_model(tagger: Path) -> None:
    card = write_task_card(tagger, tagger / "model").read_text(encoding="utf-8")
    record = read_record(tagger / "model")
    assert f"{record.test['strict entity micro-F1']:.4f}" in card
    assert "Protocol `ner-strict/1`" in card
    assert "BertForTokenClassification" in card
    assert "`ANAT`" in card
    assert "No licence is stated" in card
    assert 'nlp.add_pipe("medlingua_ner"' in card
    assert str(tagger) not in card
    assert f"**Do{record.probability_warning[2:]}.**" in card


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_card_runs(kind: str, base: Path, tmp_path: Path) -> None:
    """With the transformers that is installed, as somebody would paste it."""
    task, options, _ = KINDS[kind]
    few = {"seeds": 1, "epochs": 1, **options}
    trained(task, base, tmp_path, BRIEF.model_copy(update=few), keep_in(tmp_path))
    card = write_task_card(tmp_path, tmp_path / "model").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, re.S)
    assert len(blocks) >= 1
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block.replace("path/to/this/folder", str(tmp_path / "model")), names)
        if "predict" in names and kind != "pairs":
            assert names["predict"]("Le patient tousse.") is not None


def test_a_task_without_labels_is_refused_before_anything_is_trained(base: Path, tmp_path: Path) -> None:
    task = a_task("ner")
    bare = replace(
        task, train=tuple(replace(e, gold=()) for e in task.train), dev=tuple(replace(e, gold=()) for e in task.dev)
    )
    with pytest.raises(InputError, match="task t: no labels in its train and dev parts"):
        trained(bare, base, tmp_path, BRIEF, keep_in(tmp_path))
    assert not (tmp_path / "model").exists()


def test_an_encoder_is_unchanged_by_saving(base: Path, encoder: Encoder, tmp_path: Path) -> None:
    from medlingua.recipes.evaluation.finetune import Passes, fit

    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    fit(encoder, Ner(a_task("ner"), encoder, "fr"), Eval(epochs=1, min_steps=0), 0, Passes(), lambda share: None)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.model.state_dict().items())
    assert example("ner", 0).gold


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("ner", "Toux sèche", "a list of texts is needed.*give .text."),
        ("ner", [None], "nothing in the place of a text"),
        ("ner", [("Que voit-on ?", "Toux")], "kind ner is about a text alone; this is a pair"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(kind: str, given: Any, message: str, tagger: Path) -> None:
    with pytest.raises(InputError, match=message):
        list(Annotator(tagger / "model")(given))


def test_a_text_alone_is_refused_where_the_task_is_about_two(base: Path, tmp_path: Path) -> None:
    task = a_task("similarity", scale=(0, 5))
    trained(task, base, tmp_path, BRIEF.model_copy(update={"seeds": 1}), keep_in(tmp_path))
    annotate = Annotator(tmp_path / "model")
    with pytest.raises(InputError, match=r"kind similarity is about .question, text."):
        list(annotate(["Toux"]))
    (annotation,) = annotate([("Toux", "Fièvre")])
    assert annotation.value is not None
