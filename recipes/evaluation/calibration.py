"""Probabilities that mean what they say: one temperature on all logits, fitted on dev (Guo et al. 2017)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from medlingua.languages.annotations import Example
from medlingua.recipes.evaluation.candidate import Candidate
from medlingua.recipes.evaluation.finetune import (
    Prediction,
    TaskModel,
    for_prediction,
    groups,
    in_batches,
    longest_first,
)
from medlingua.recipes.settings import Eval
from medlingua.reports.reliability import Bin
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

_BINS = 10
_WIDEST = math.log(20)  # of the temperature, either way
_ENOUGH = 100  # outputs that a temperature is fitted on


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature of the lowest negative log-likelihood. logits, targets: as `TaskModel.evidence` gives them."""
    if not len(logits):
        return 1.0
    of = logits.double()

    def likelihood(log_temperature: float) -> float:
        scaled = of / math.exp(log_temperature)
        if targets.dtype == torch.int64:
            return float(nn.functional.cross_entropy(scaled, targets))
        if targets.shape != scaled.shape:
            largest = scaled.softmax(dim=-1).amax(dim=-1).clamp(max=1 - 1e-12)
            return float(nn.functional.binary_cross_entropy(largest, targets.double()))
        return float(nn.functional.binary_cross_entropy_with_logits(scaled, targets.double()))

    return math.exp(minimize_scalar(likelihood, bounds=(-_WIDEST, _WIDEST), method="bounded").x)


@torch.no_grad()
def temperature_of(candidate: Candidate, model: TaskModel, settings: Eval) -> tuple[float, str]:
    """The temperature by dev, 1 for kinds without probabilities of their own; and a sentence where dev is too small
    for one, or it makes all probabilities alike, as where most outputs are wrong."""
    candidate.encoder.model.eval()
    examples, evidence = model.read("dev"), []
    with candidate.passes.autocast():
        order = longest_first([e.document.size for e in examples])
        for group in groups(examples, order, for_prediction(settings, candidate.encoder.device)):
            evidence.append(model.evidence(candidate.states_of([e.document for e in group]), group))
    pairs = [pair for pair in evidence if pair is not None]
    if not pairs:
        return 1.0, ""
    logits, targets = (torch.cat([pair[side].cpu() for pair in pairs]) for side in (0, 1))
    temperature = fit_temperature(logits.float(), targets)
    alike = math.log(temperature) > 0.9 * _WIDEST
    if len(logits) >= _ENOUGH and not alike:
        return temperature, ""
    why = ", and makes all of them alike" if alike else "; more dev documents would serve"
    return temperature, (
        f"do not rely on the model's probabilities, whose temperature ({temperature:.2g}) was fitted on "
        f"{len(logits):,} outputs of dev{why}"
    )


def predictions_of(
    candidate: Candidate, model: TaskModel, part: str, chosen: dict[str, float], temperature: float, settings: Eval
) -> list[Prediction]:
    """What the model predicts for each example of a part, with probabilities."""
    candidate.encoder.model.eval()

    def predict(group: list[Any]) -> list[Prediction]:
        return model.confident(candidate.states_of([e.document for e in group]), group, chosen, temperature)

    with candidate.passes.autocast():
        return in_batches(model.read(part), for_prediction(settings, candidate.encoder.device), predict)


def reliability(predictions: Sequence[Prediction], examples: Sequence[Example]) -> tuple[Bin, ...]:
    """Of what was decided: how probable it was said to be and how often it was right, by ten equal ranges of
    probability. Labels that were not decided do not count."""
    shares, right = [], []
    for prediction, example in zip(predictions, examples, strict=True):
        decided = {*prediction.decided}
        gold = {example.gold} if isinstance(example.gold, str) else example.gold
        for item, share in prediction.items:
            if share is not None and item in decided:
                shares.append(share)
                right.append(not isinstance(gold, float) and item in gold)
    places = np.minimum((np.array(shares) * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(
            count=int((places == number).sum()),
            probability=float(np.array(shares)[places == number].mean()),
            accuracy=float(np.array(right)[places == number].mean()),
        )
        for number in range(_BINS)
        if (places == number).any()
    )
