"""Tasks that ask something of a text: pairs, and questions with options."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.baselines import BASELINE
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import Passes, fit
from medlingua.recipes.evaluation.reading import encode_document, joined, mean_of, token_states
from medlingua.recipes.evaluation.tasks.choice import Choice, choice_scores
from medlingua.recipes.evaluation.tasks.labels import Labels, relation_scores
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import metric_of, read_tallies
from medlingua.reports.read import read_scores
from sklearn.metrics import f1_score, jaccard_score

from ..conftest import cases

ORGANS = ["foie", "rein", "coeur", "poumon"]


def a_task(kind: Any, examples: Callable[[int, np.random.Generator], Example], sizes: tuple[int, ...]) -> Task:
    draw = np.random.default_rng(0)
    parts, number = [], 0
    for size in sizes:
        parts.append(tuple(examples(number + i, draw) for i in range(size)))
        number += size
    spec = TaskSpec(name="asked", kind=kind)
    return Task(spec, "fr", *parts, synthetic=True)


def pair(number: int, draw: np.random.Generator) -> Example:
    """Does the document speak of the organ that is asked for?"""
    mentioned, questioned = draw.choice(ORGANS, 2)
    text = f"Le patient a une douleur. L'examen du {mentioned} est normal."
    return Example(
        str(number), Document(str(number), text, "s"), str(mentioned == questioned), question=f"Le {questioned} ?"
    )


def choice(number: int, draw: np.random.Generator) -> Example:
    right = frozenset(str(i) for i, ok in enumerate(draw.random(3) < 0.4) if ok) or frozenset({"0"})
    options = tuple((str(i), "la fièvre et la toux" if str(i) in right else "le foie normal") for i in range(3))
    return Example(str(number), Document(str(number), "Que dit le patient ?", "s"), right, options=options)


def test_V1_a_question_opens_every_window_and_nothing_of_the_document_is_lost(encoder: Encoder) -> None:
    text, question = " ".join(cases(40, seed=8)), "Le patient a-t-il de la fièvre ?"
    read = encode_document(encoder, text, question)
    tokenizer = encoder.tokenizer
    question_ids = tokenizer(question, add_special_tokens=False)["input_ids"]
    assert len(read.windows) > 2
    for window in read.windows:
        assert window[: len(question_ids) + 2].tolist() == [
            tokenizer.cls_token_id,
            *question_ids,
            tokenizer.sep_token_id,
        ]
        assert len(window) <= encoder.length
    ids = np.array([read.windows[w][p] for w, p in zip(read.window, read.place, strict=True)])
    assert ids[: read.question_tokens].tolist() == question_ids * len(read.windows)
    assert ids[read.question_tokens :].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    first, *_ = encode_document(encoder, "Il tousse.", question).windows
    assert first.tolist() == tokenizer(question, "Il tousse.")["input_ids"]


def test_a_question_that_leaves_no_room_is_refused(encoder: Encoder) -> None:
    question = " ".join(cases(3))
    with pytest.raises(InputError, match=r"a question of .* tokens leaves") as raised:
        encode_document(encoder, "Il tousse.", question)
    assert question[:20] in raised.value.text
    assert question[:20] not in str(raised.value)


def test_readings_in_one_give_the_states_of_each(encoder: Encoder) -> None:
    reads = [encode_document(encoder, text) for text in cases(3, seed=4)]
    with torch.no_grad():
        together = token_states(encoder, [joined(reads)])
        apart = torch.cat([token_states(encoder, [read]) for read in reads])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    owner = np.repeat([0, 2, 1], [r.tokens for r in reads])
    means = mean_of(together, owner, 4)
    torch.testing.assert_close(means[2], apart[reads[0].tokens :][: reads[1].tokens].mean(dim=0))
    assert not means[3].any()


@pytest.mark.parametrize(("kind", "example", "model_class"), [("pairs", pair, Pairs), ("choice", choice, Choice)])
def test_questions_about_a_document_are_learnt(kind: Any, example: Any, model_class: Any, encoder: Encoder) -> None:
    task = a_task(kind, example, (160, 40, 60))
    model = model_class(task, encoder)
    settings = Eval(epochs=30 if kind == "pairs" else 6, min_steps=0, lr=3e-3, seeds=1, batch_documents=16)
    fitted = fit(encoder, model, settings, 0, Passes(), lambda share: None)
    tallies = model.tallies("test", fitted.decided)
    assert metric_of(model.tally, tallies.sum(axis=0), len(tallies)) == pytest.approx(fitted.test[model.main_metric])
    assert fitted.test[model.main_metric] > model.majority("test")[model.main_metric] + 0.2


def test_the_scores_of_choices_are_those_of_the_field() -> None:
    draw = np.random.default_rng(1)
    gold, predicted = (draw.random((50, 4)) < 0.5 for _ in range(2))
    gold[:, 0] |= ~gold.any(axis=1)
    sets = [[frozenset(np.flatnonzero(row).astype(str)) for row in side] for side in (gold, predicted)]
    scores = choice_scores(*sets)
    assert scores["Hamming"] == pytest.approx(jaccard_score(gold, predicted, average="samples"))
    assert scores["exact match"] == pytest.approx((gold == predicted).all(axis=1).mean())
    single = gold.sum(axis=1) == 1
    assert scores["exact match, one right option"] == pytest.approx((gold == predicted).all(axis=1)[single].mean())


@pytest.mark.parametrize(("kind", "example"), [("pairs", pair), ("choice", choice)])
def test_their_scores_are_saved_under_their_protocols(kind: Any, example: Any, base: Path, tmp_path: Path) -> None:
    task = a_task(kind, example, (24, 8, 12))
    settings = Eval(epochs=1, min_steps=0, seeds=1)
    score_models({"m": str(base)}, [task], Evaluation(settings, "fr", tmp_path, precision=Precision("fp32", "test")))
    rows = read_scores(tmp_path / "results.jsonl")
    assert {row.model for row in rows} == {"m", BASELINE}
    assert {row.protocol for row in rows} == {"pairs-single/1" if kind == "pairs" else "choice/1"}
    assert len((tmp_path / "predictions" / "asked-m-0.jsonl").read_text().splitlines()) == 13
    ((key, saved),) = read_tallies(tmp_path).items()
    (score,) = [row.value for row in rows if row.model == "m" and row.metric == key[-1]]
    tallies = saved.by_model["m"][0]
    assert metric_of(saved.kind, tallies.sum(axis=0), len(tallies)) == pytest.approx(score)


def test_relations_are_scored_without_those_that_are_none() -> None:
    draw = np.random.default_rng(2)
    names = np.array(["none", "none", "treats", "causes"])
    gold, predicted = (draw.choice(names, 80) for _ in range(2))
    scores = relation_scores([frozenset({g}) for g in gold], [frozenset({s}) for s in predicted], "none")
    expected = f1_score(gold, predicted, labels=["causes", "treats"], average="micro")
    assert scores["micro-F1 of relations"] == pytest.approx(expected)
    nothing = relation_scores([frozenset({g}) for g in gold], [frozenset({"none"})] * 80, "none")
    assert set(nothing.values()) == {0.0}


def test_a_relation_task_learns_and_its_majority_answer_finds_nothing(encoder: Encoder) -> None:
    def relation(number: int, draw: np.random.Generator) -> Example:
        true = bool(draw.random() < 0.3)
        text = "Le @ 130 @ est la # natrémie #." if true else "Le @ 130 @ et la # toux # du soir."
        return Example(str(number), Document(str(number), text, "s"), "pertains-to" if true else "none")

    task = a_task("relations", relation, (200, 30, 40))
    task = replace(task, spec=task.spec.model_copy(update={"negative": "none"}))
    model = Labels(task, encoder)
    fitted = fit(encoder, model, Eval(epochs=12, min_steps=0, lr=3e-3, seeds=1), 0, Passes(), lambda share: None)
    assert model.protocol == "relations/1"
    tallies = model.tallies("test", fitted.decided)
    assert metric_of(model.tally, tallies.sum(axis=0), len(tallies)) == pytest.approx(fitted.test[model.main_metric])
    assert fitted.test["micro-F1 of relations"] > 0.8
    assert model.majority("test")["micro-F1 of relations"] == 0
