"""Probabilities that say how often a model is right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.recipes.evaluation.calibration import fit_temperature, reliability
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.reports.reliability import expected_calibration_error

from .test_every_kind import a_task


def test_the_temperature_undoes_a_scaling_of_the_logits() -> None:
    torch.manual_seed(0)
    true = torch.randn(4_000, 3) * 2
    gold = torch.distributions.Categorical(logits=true).sample()
    for factor in (0.5, 1.0, 3.0):
        assert fit_temperature(true * factor, gold) == pytest.approx(factor, rel=0.08)
    certain = true.softmax(dim=1).amax(dim=1)
    right = torch.bernoulli(certain)  # whether the most probable output is the right one, and no more
    assert fit_temperature(true * 3, right) == pytest.approx(3, rel=0.1)
    binary = torch.randn(4_000) * 2
    targets = torch.bernoulli(binary.sigmoid())
    assert fit_temperature(binary * 3, targets) == pytest.approx(3, rel=0.1)


def test_a_tagger_is_calibrated_by_its_entities_not_by_the_words_outside(base: Path, encoder: Encoder) -> None:
    model = Ner(a_task("ner"), encoder, "fr")
    examples = model.read("dev")
    states = token_states(encoder, [e.document for e in examples]).detach()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.head.weight, std=0.5)
    with torch.no_grad():
        logits, right = model.evidence(states, examples)
        predicted = model.predict(states, examples)
        of_entities = [share for p in model.confident(states, examples, {}, 1.0) for _, share in p.items]
    gold = [{*e.gold} for e in model.task.dev]  # type: ignore[misc]
    assert right.tolist() == [float(s in g) for spans, g in zip(predicted, gold, strict=True) for s in spans]
    assert len(right) > 10
    np.testing.assert_allclose(logits.softmax(dim=-1).amax(dim=-1), of_entities, atol=1e-6)


def test_without_logits_probabilities_stay_as_they_are() -> None:
    assert fit_temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)) == 1.0


def test_reliability_compares_probability_and_share_of_right_ones() -> None:
    def one(share: float, right: bool) -> tuple[Prediction, Example]:
        span = Span.of(0, 4, "ANAT")
        gold = (span,) if right else ()
        return Prediction((span,), ((span, share),)), Example("d", Document("d", "foie", "s"), gold)

    pairs = [one(0.95, True), one(0.95, False), one(0.15, False), one(0.11, True)]
    bins = reliability([p for p, _ in pairs], [e for _, e in pairs])
    assert [(b.count, b.accuracy) for b in bins] == [(2, 0.5), (2, 0.5)]
    assert [b.probability for b in bins] == pytest.approx([0.13, 0.95])
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.37 + 2 * 0.45) / 4)
