"""The span head: nested entities, against plain loops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.baselines import SPAN_BOUND
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import Passes, fit
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores

SPEC = TaskSpec(name="toy", kind="ner", path="toy", reader="brat", licence="none")
TEXT = "Le patient souffre de fièvre jaune aiguë. Il prend du paracétamol."
NESTED = (("fièvre jaune aiguë", "DISO"), ("fièvre", "DISO"), ("jaune", "ANAT"), ("paracétamol", "CHEM"))


def example(name: str, text: str = TEXT, mentions: Any = NESTED) -> Example:
    spans = sorted(Span.of(text.index(m), text.index(m) + len(m), label) for m, label in mentions)
    return Example(name, Document(name, text, "test"), tuple(spans))


def toy(count: int = 6) -> Task:
    other = example("o", "Il va bien.", ())
    return Task(
        SPEC, "fr", (*(example(f"a{i}") for i in range(count)), other), (example("d"),), (example("t"), other)
    )


def states_of(model: Ner, part: str) -> tuple[torch.Tensor, Any]:
    read = model.read(part)
    with torch.no_grad():
        return token_states(model.encoder, [e.document for e in read]), read


def test_V4_nested_entities_are_learnt_which_tags_cannot_hold(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, how = toy(), Eval(seeds=1, epochs=1, min_steps=150, lr=1e-3, head_lr=3e-3, ner_head="spans")
    model = SpanNer(task, encoder, "fr")
    fitted = fit(encoder, model, how, 0, Passes(), lambda share: None)
    assert fitted.test["strict entity micro-F1"] == 1
    assert model.upper_bound("test") == 1
    assert Ner(task, encoder, "fr").upper_bound("test") == pytest.approx(2 * 3 / (3 + 4))
    encoders.save(encoder, tmp_path / "model")
    once = how.model_copy(update={"min_steps": 0})
    broken = Example("b", Document("b", TEXT, "test"), (Span(((0, 2), (11, 18)), "DISO"),))
    task = replace(task, test=(*task.test, broken))
    score_models({"tiny": str(tmp_path / "model")}, [task], Evaluation(once, "fr", tmp_path, Precision("fp32", "")))
    rows = read_scores(tmp_path / "results.jsonl")
    assert {row.protocol for row in rows} == {"ner-strict/1, span head"}
    assert [row.value for row in rows if row.model == SPAN_BOUND] == [pytest.approx(2 * 0.8 / 1.8)]
    assert "toy: 1 discontinuous entities in test" in capsys.readouterr().err


def test_scores_are_products_of_turned_vectors_and_know_the_distance_alone(encoder: Encoder) -> None:
    model = SpanNer(toy(), encoder, "fr")
    states, read = states_of(model, "test")
    with torch.no_grad():
        scores = model._scores(states, read)
    assert [len(of) for of in scores] == [len(e.tagged) for e in read]
    assert model.most == 3
    rows = model.head(states[torch.from_numpy(read[0].firsts)]).detach()
    turned = torch.view_as_complex(torch.stack(rows.unflatten(1, (2, 3, 2, 32)).unbind(3), dim=-1).contiguous())
    rates = 10_000.0 ** (-torch.arange(32) / 32)
    for first in range(len(rows)):
        for more in range(3):
            if first + more >= len(rows):
                assert torch.isinf(scores[0][first, more]).all()
                continue
            back = torch.polar(torch.ones(32), more * rates)
            product = (turned[first, 0] * (turned[first + more, 1] * back).conj()).real.sum(dim=-1) / 8
            torch.testing.assert_close(scores[0][first, more], product, atol=1e-5, rtol=1e-4)


def test_the_loss_sets_gold_above_zero_and_the_rest_below(encoder: Encoder) -> None:
    model = SpanNer(toy(), encoder, "fr")
    states, read = states_of(model, "test")
    with torch.no_grad():
        loss, items = model.loss(states, read)
        expected = 0.0
        for scores, tagged, gold in zip(model._scores(states, read), read, toy().test, strict=True):
            words = [tagged.words[i] for i in tagged.tagged]
            for k, label in enumerate(model.labels):
                others = right = 1.0
                for i in range(len(words)):
                    for j in range(i, min(len(words), i + model.most)):
                        score = float(scores[i, j - i, k])
                        if Span.of(words[i][0], words[j][1], label) in gold.gold:
                            right += torch.tensor(-score).exp().item()
                        else:
                            others += torch.tensor(score).exp().item()
                expected += torch.tensor(others).log().item() + torch.tensor(right).log().item()
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert items == len(read) * len(model.labels)


def test_V4_what_the_head_cannot_say_lowers_its_bound(encoder: Encoder) -> None:
    long = " ".join(["fièvre"] * 5)
    broken = Example("b", Document("b", TEXT, "test"), (Span(((0, 2), (11, 18)), "DISO"),))
    inside = Example("i", Document("i", TEXT, "test"), (Span.of(3, 6, "DISO"),))
    task = replace(toy(), test=(example("t"), broken, inside, example("l", long, ((long, "DISO"),))))
    model = SpanNer(task, encoder, "fr")
    recall = 4 / 7
    assert model.upper_bound("test") == pytest.approx(2 * recall / (1 + recall))


def test_documents_without_words_or_entities_are_read(encoder: Encoder) -> None:
    task = replace(toy(), test=(example("e", "", ()), example("s", "Oui", ())))
    model = SpanNer(task, encoder, "fr")
    states, read = states_of(model, "test")
    with torch.no_grad():
        loss, _ = model.loss(states, read)
        predicted = model.predict(states, read)
    assert torch.isfinite(loss)
    assert predicted[0] == ()
    assert len(predicted) == 2
