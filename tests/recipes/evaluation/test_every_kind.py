"""What holds for every task kind alike: long texts whole, test read last, protocols with records."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.attention import _choose
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.kernels import choice as kernels
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation import finetune
from medlingua.recipes.evaluation.finetune import Passes, TaskModel, fit
from medlingua.recipes.evaluation.heads import protocol_under
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.evaluation.tasks.answers import Answers
from medlingua.recipes.evaluation.tasks.choice import Choice
from medlingua.recipes.evaluation.tasks.labels import Labels
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.recipes.evaluation.tasks.perturbed import Perturbed
from medlingua.recipes.evaluation.tasks.similarity import Similarity
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.evaluation.tasks.tagging import Tagging
from medlingua.recipes.settings import Eval
from medlingua.reports.protocols import protocol_of

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from ..waits import Waits
from .test_scores import Sealed

FAMILIES = ("modernbert", "eurobert", "longformer", "distilbert", "electra")
ORGANS = ("foie", "rein", "coeur", "poumon")
LONG = "Le patient va bien. " * 60


def gold_of(kind: str, number: int, text: str, organ: str) -> Any:
    start = text.rindex(organ)
    return {
        "ner": (Span.of(start, start + len(organ), "ANAT"),),
        "answers": (Span.of(start, start + len(organ), "ANSWER"),),
        "tagging": tuple(
            Span.of(match.start(), match.end(), "NOM" if match[0] in ORGANS else "AUTRE")
            for match in re.finditer(r"\w+", text)
        ),
        "multilabel": frozenset({organ}),
        "choice": frozenset({"ab"[number % 2]}),
        "similarity": float(number % 5),
    }.get(kind, ("oui", "non")[number % 2])


def example(kind: str, number: int, before: str = "") -> Example:
    organ = ORGANS[number % len(ORGANS)]
    text = f"{before}On examine le {organ}"
    options = (("a", "le foie est normal"), ("b", f"{before}on opère le {organ}")) if kind == "choice" else ()
    document = Document(f"d{number}", "Que voit-on ?" if kind == "choice" else text, "s")
    return Example(
        f"d{number}", document, gold_of(kind, number, text, organ), question="Que voit-on ?", options=options
    )


def a_task(kind: Any, **spec: Any) -> Task:
    examples = [example(kind, number) for number in range(24)]
    return Task(
        TaskSpec(name="t", kind=kind, **spec),
        "fr",
        tuple(examples[:12]),
        tuple(examples[12:18]),
        tuple(examples[18:]),
    )


Make = Callable[[Any, Encoder], TaskModel]
KINDS: dict[str, tuple[Task, Make]] = {
    "ner": (a_task("ner"), lambda task, encoder: Ner(task, encoder, "fr")),
    "ner by spans": (a_task("ner"), lambda task, encoder: SpanNer(task, encoder, "fr")),
    "tagging": (a_task("tagging"), Tagging),
    "classification": (a_task("classification"), Labels),
    "multilabel": (a_task("multilabel"), Labels),
    "relations": (a_task("relations", negative="non"), Labels),
    "pairs": (a_task("pairs"), Pairs),
    "perturbed pairs": (a_task("pairs", positive="oui"), Perturbed),
    "similarity": (a_task("similarity", scale=(0, 5)), Similarity),
    "choice": (a_task("choice"), Choice),
    "classification by the first token": (a_task("classification"), lambda t, e: Labels(t, e, "first")),
    "multilabel by the first token": (a_task("multilabel"), lambda t, e: Labels(t, e, "first")),
    "pairs by the first token": (a_task("pairs"), lambda t, e: Pairs(t, e, "first")),
    "choice by the first token": (a_task("choice"), lambda t, e: Choice(t, e, "first")),
    "answers": (a_task("answers"), lambda task, encoder: Answers(task, encoder, "fr")),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_V6_V8_no_kind_reads_test_before_everything_is_chosen_on_dev(kind: str, encoder: Encoder) -> None:
    task, make = KINDS[kind]
    sealed: Any = Sealed(task)
    model = make(sealed, encoder)
    choose, calls = model.choose, []

    def watched(predicted: Any) -> dict[str, float]:
        calls.append(choose(predicted))
        sealed.open = len(calls) == 3  # two epochs, and the best one again
        return calls[-1]

    model.choose = watched  # type: ignore[method-assign]
    fitted = fit(encoder, model, Eval(epochs=2, min_steps=0), 0, Passes(), lambda share: None)
    assert len(calls) == 3
    assert fitted.chosen == calls[-1]
    assert len(fitted.decided) == 6


@every_kind
def test_V1_V11_the_end_of_a_text_beyond_the_model_reaches_the_answer(kind: str, encoder: Encoder) -> None:
    task, make = KINDS[kind]
    far = replace(example(task.spec.kind, 0, LONG), id="far")
    model = make(replace(task, train=(far, *task.train)), encoder)
    read = model.read("train")[0]
    assert len(read.document.windows) > 1
    states = token_states(encoder, [read.document]).detach().requires_grad_()
    for module in model.head.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.5)
    loss, _ = model.loss(states, [read])
    torch.autograd.backward(loss)
    assert states.grad is not None
    assert states.grad[-4:].abs().sum() > 0  # tags look at the first piece of the last word
    # The words of the end are read by some window, and each token by one.
    pairs = set(zip(read.document.window.tolist(), read.document.place.tolist(), strict=True))
    assert len(pairs) == read.document.tokens


@every_kind
def test_epochs_are_chosen_by_the_main_metric_that_is_reported(kind: str, encoder: Encoder) -> None:
    """Dev is scored by tallies alone in each epoch; the epoch that is kept has the best score of them all."""
    task, make = KINDS[kind]
    model = make(task, encoder)
    choose, values = model.choose, []

    def watched(predicted: Any) -> dict[str, float]:
        chosen = choose(predicted)
        decided = [model.decide(one, chosen) for one in predicted]
        values.append(model.score("dev", decided)[model.main_metric])
        return chosen

    model.choose = watched  # type: ignore[method-assign]
    fitted = fit(encoder, model, Eval(epochs=6, min_steps=0, lr=3e-3), 0, Passes(), lambda share: None)
    *epochs, kept = values
    assert fitted.dev[model.main_metric] == kept == pytest.approx(max(epochs))
    assert epochs[fitted.epoch - 1] == pytest.approx(max(epochs))
    assert all(value < max(epochs) - 1e-9 for value in epochs[: fitted.epoch - 1])  # the first of equals


def test_an_epoch_without_a_metric_is_never_the_best(encoder: Encoder) -> None:
    """As one whose loss diverged: the values that it predicts are no numbers, and have no correlation."""
    task, make = KINDS["similarity"]
    task = replace(task, test=task.test[:3])
    model: Any = make(task, encoder)
    predict, epochs = model.predict, []

    def predicted(states: torch.Tensor, read: Any) -> Any:
        if len(read) != len(task.dev):
            return predict(states, read)
        epochs.append(len(epochs) + 1)
        return [-one.share if epochs[-1] == 2 else float("nan") for one in read]

    model.predict = predicted
    fitted = fit(encoder, model, Eval(epochs=3, min_steps=0), 0, Passes(), lambda share: None)
    assert (epochs, fitted.epoch) == ([1, 2, 3], 2)
    assert fitted.dev[model.main_metric] == pytest.approx(-1)


def _summed(request: Any) -> kernels.Choice:
    return kernels.Choice(kernels.KERNELS["plain-summed"], "")


@every_kind
def test_a_step_of_fine_tuning_waits_for_no_device(
    kind: str,
    build: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted on a CPU, with the kernels of a GPU, as in pretraining; tests/cuda asks a GPU itself."""
    monkeypatch.setattr("medlingua.adapters.attention.choose", _summed)
    _choose.cache_clear()
    encoder = load(str(build("bert")))
    task, make = KINDS[kind]
    model = make(task, encoder)
    read = model.read("train")
    optimizer = finetune._optimizer(encoder, model, Eval())
    try:
        with Waits(monkeypatch) as waits:
            loss, items = model.loss(token_states(encoder, [e.document for e in read]), read)
            finetune._step(optimizer, loss / items)
    finally:
        _choose.cache_clear()
    assert waits.places == []


@pytest.mark.parametrize(
    ("kind", "family", "lora"),
    [*((kind, "bert", None) for kind in KINDS), *(("ner", family, None) for family in FAMILIES), ("ner", "bert", 2)],
)
def test_training_through_a_copy_is_training(kind: str, family: str, lora: int | None, build: Any) -> None:  # noqa: F811
    """In fp32 the copy, in which a GPU computes in bf16, gives the same scores, predictions and weights; in bf16 it
    learns much the same."""
    if lora:
        pytest.importorskip("peft")
    task, make = KINDS[kind]
    settings = Eval(epochs=2, min_steps=0, lr=1e-3, lora=lora)
    half_precision = Passes(partial(torch.autocast, "cpu", torch.bfloat16), torch.bfloat16)
    fits, weights = [], []
    for passes in (Passes(), Passes(copy_in=torch.float32), half_precision):
        encoder = load(str(build(family)))
        fitted = fit(encoder, make(task, encoder), settings, 0, passes, lambda s: None, restore=False)
        fits.append(fitted)
        weights.append({name: w.float() for name, w in encoder.model.base_model.state_dict().items()})
    assert fits[0] == fits[1]
    plain, same, half = weights
    before = load(str(build(family))).model.base_model.state_dict()
    assert all(torch.equal(same[name], plain[name]) for name in plain)
    learnt = [name for name in plain if not torch.equal(plain[name], before[name])]
    assert learnt
    assert {name for name in half if not torch.equal(half[name], before[name])} >= set(learnt)
    moved = sum(float((plain[name] - before[name]).square().sum()) for name in learnt) ** 0.5
    apart = sum(float((plain[name] - half[name]).square().sum()) for name in learnt) ** 0.5
    assert apart < 0.5 * moved


@pytest.mark.parametrize("kind", ["multilabel", "answers"])
def test_V6_a_threshold_is_the_first_that_is_best_on_dev(kind: str, encoder: Encoder) -> None:
    """Beside each threshold scored by itself. The dev questions of "answers" have no answer in half of the cases."""
    task, make = KINDS[kind]
    if kind == "answers":
        task = replace(task, dev=tuple(replace(e, gold=()) if i % 2 else e for i, e in enumerate(task.dev)))
    model = make(task, encoder)
    for module in model.head.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    read = model.read("dev")
    with torch.no_grad():
        predicted = model.predict(token_states(encoder, [e.document for e in read]), read)
    (name, chosen), *_ = model.choose(predicted).items()
    tried = (
        np.arange(0.05, 0.96, 0.05).tolist() if kind == "multilabel" else sorted({0.0, *(p[0][0] for p in predicted)})
    )
    metric = "micro-F1" if kind == "multilabel" else "F1"
    scores = [model.score("dev", [model.decide(p, {name: t}) for p in predicted])[metric] for t in tried]
    assert len({*scores}) > 1
    assert chosen == pytest.approx(tried[int(np.argmax(scores))])


@every_kind
def test_V9_a_kind_says_its_protocol_and_the_main_metric_is_among_its_scores(kind: str, encoder: Encoder) -> None:
    task, make = KINDS[kind]
    model = make(task, encoder)
    assert protocol_of(model.protocol) is not None
    settings = Eval(ner_head="spans" if kind == "ner by spans" else "tags")
    assert protocol_under(task, settings) == model.protocol
    fitted = fit(encoder, model, Eval(epochs=1, min_steps=0), 0, Passes(), lambda share: None)
    assert model.main_metric in fitted.test
    assert all(np.isfinite(value) for value in fitted.test.values())
    assert model.tallies("test", fitted.decided).shape[0] == len(task.test)
