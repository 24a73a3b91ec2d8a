"""Fine-tuning on a task: the best epoch by dev, and what it predicts."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.lora import add_lora, merge_lora
from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.reading import States, token_states
from medlingua.recipes.settings import Eval
from medlingua.recipes.training.working_copy import WorkingCopy, working_copy
from medlingua.reports.bootstrap import Tally, metric_of
from torch import Tensor, nn

DROPOUT = 0.1
_WARMUP = 0.1
_LARGER = 8  # times: batches of prediction on a GPU, which those of training would leave idle


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model predicts for one text. decided: as it is scored. items: each entity, answer or label with its
    probability, calibrated on dev; of labels all, the most probable first; of a graded pair its value alone."""

    decided: Any
    items: tuple[tuple[Span | str | float, float | None], ...]


class TaskModel(Protocol):
    """A task kind on one encoder: what fine-tuning and scoring need of it."""

    protocol: str
    main_metric: str
    tally: Tally
    task: Task

    @property
    def head(self) -> nn.Module: ...

    def read(self, part: str) -> Sequence[Any]:
        """The examples of "train", "dev" or "test", encoded; each has .document of type EncodedDocument."""

    def encode(self, example: Example) -> Any:
        """One example as the model reads it, with its gold."""

    def loss(self, states: Tensor, examples: Sequence[Any]) -> tuple[Tensor, int]:
        """Summed loss over the items of a batch, and their number."""

    def predict(self, states: Tensor, examples: Sequence[Any]) -> list[Any]:
        """What the model says, an entry an example, before any threshold."""

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        """Whatever is fitted on dev's predictions (thresholds); {} where nothing is."""

    def decide(self, predicted: Any, chosen: dict[str, float]) -> Any:
        """A prediction as it is scored and kept: spans or labels."""

    def evidence(self, states: Tensor, examples: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
        """What probabilities are calibrated by: (n, k) logits and the (n,) int64 outputs that are right; or (n, k)
        logits and (n,) fp32, 1 where the most probable output is right; or logits of any shape and fp32 targets of 0
        and 1 of the same. None for kinds without probabilities of their own."""

    def confident(
        self, states: Tensor, examples: Sequence[Any], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        """What is decided for each example, with probabilities from logits over `temperature`."""

    def score(self, part: str, decided: Sequence[Any]) -> dict[str, float]:
        """All metrics of the protocol."""

    def tallies(self, part: str, decided: Sequence[Any]) -> np.ndarray:
        """(documents, k): what each document adds to the main metric, as `reports.bootstrap` sums it."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one fine-tuning run found. epoch: the best of `epochs`, which were run. test: scores by metric; decided:
    test predictions as they were scored."""

    epoch: int
    epochs: int
    chosen: dict[str, float]
    dev: dict[str, float]
    test: dict[str, float]
    decided: list[Any]


@dataclass(frozen=True, slots=True)
class Passes:
    """How a model computes. autocast: opens a context of the precision. copy_in: type of a copy that the passes of
    training go through, where the body is trained; None: autocast, which casts every weight in each of them."""

    autocast: Callable[[], Any] = nullcontext
    copy_in: torch.dtype | None = None


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch, its main metric on dev, what it predicts there, and its weights; no body's under a frozen one."""

    number: int
    value: float
    predicted: list[Any]
    body: dict[str, Any]
    head: dict[str, Any]


def fit(
    encoder: Encoder,
    model: TaskModel,
    settings: Eval,
    seed: int,
    passes: Passes,
    update: Callable[[float], None],
    last: bool = True,
    fresh_head: bool = True,
    restore: bool = True,
    states_of: States | None = None,
) -> Fitted:
    """Fine-tune on train, choose the epoch (and thresholds) on dev, predict test once: only in the
    `last` fit, not in a trial.

    The encoder's weights are changed and put back, unless `restore` is False: then they are those of the
    best epoch, as are the head's. The seed draws the head, the order and the dropout. With a frozen
    body the head alone is learnt, on the states as they come, without dropout in the body; `states_of` gives them
    where they are kept from fit to fit.
    """
    frozen = settings.body == "frozen"
    states_of = states_of or partial(token_states, encoder)
    before = copy.deepcopy(encoder.model.state_dict())
    if settings.lora is not None:
        add_lora(encoder, settings.lora, seed)
    torch.manual_seed(seed)
    if fresh_head:
        _initialize(model.head)
    model.head.to(encoder.device)
    set_dropout(encoder.model, DROPOUT)
    working = None
    if not frozen and passes.copy_in is not None:
        working = working_copy(encoder, passes.copy_in, compiled=False)
        working.prepare(DROPOUT)
    train = model.read("train")
    optimizer = _optimizer(encoder, model, settings)
    rng = np.random.default_rng(seed)
    steps_per_epoch = max(1, len(list(groups(train, np.arange(len(train)), settings))))
    epochs = max(settings.epochs, math.ceil(settings.min_steps / steps_per_epoch))
    steps = epochs * steps_per_epoch
    best: _Epoch | None = None
    done = 0
    for epoch in range(epochs):
        encoder.model.train(not frozen)
        for group in groups(train, rng.permutation(len(train)), settings):
            _set_lr(optimizer, done / steps)
            documents = [e.document for e in group]
            copied = None if working is None else token_states(working.encoder, documents)
            with passes.autocast():
                with torch.set_grad_enabled(not frozen):
                    states = states_of(documents) if copied is None else copied
                loss, items = model.loss(nn.functional.dropout(states, DROPOUT), group)
            _step(optimizer, loss / max(1, items), working)
            done += 1
            update(min(1.0, done / steps))  # other orders make other groups, so a few steps more or fewer
        predicted = _predict(encoder, states_of, model, "dev", settings, passes.autocast)
        chosen = model.choose(predicted)
        value = _main_metric(model, "dev", [model.decide(p, chosen) for p in predicted])
        if best is None or value > best.value:
            best = _Epoch(epoch, value, predicted, {} if frozen else _copy(encoder.model), _copy(model.head))
    assert best is not None
    if not frozen:
        encoder.model.load_state_dict(best.body)
    model.head.load_state_dict(best.head)
    predicted = best.predicted
    if settings.lora is not None:  # merged weights are rounded in another place
        merge_lora(encoder.model)
        encoder.model.requires_grad_(True)
        predicted = _predict(encoder, states_of, model, "dev", settings, passes.autocast)
    chosen = model.choose(predicted)
    dev = model.score("dev", [model.decide(p, chosen) for p in predicted])
    fitted = Fitted(best.number + 1, epochs, chosen, dev, {}, [])
    if last:
        predicted_test = _predict(encoder, states_of, model, "test", settings, passes.autocast)
        decided = [model.decide(p, chosen) for p in predicted_test]
        fitted = replace(fitted, test=model.score("test", decided), decided=decided)
    if restore:
        encoder.model.load_state_dict(before)
    set_dropout(encoder.model, 0.0)
    return fitted


def _initialize(head: nn.Module) -> None:
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def _optimizer(encoder: Encoder, model: TaskModel, settings: Eval) -> torch.optim.Optimizer:
    """AdamW on what of the body is trained, and on the head, each with its peak learning rate."""
    frozen = settings.body == "frozen"
    body = [] if frozen else [p for p in encoder.model.base_model.parameters() if p.requires_grad]
    parts = [
        {"params": body, "peak": settings.lr},
        {"params": list(model.head.parameters()), "peak": settings.rate_of_head},
    ]
    return torch.optim.AdamW([part for part in parts if part["params"]], weight_decay=0.01, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Linear warm-up and decay. share: of the steps that are done."""
    factor = share / _WARMUP if share < _WARMUP else (1 - share) / (1 - _WARMUP)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * max(factor, 1e-3)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, working: WorkingCopy | None = None) -> None:
    torch.autograd.backward(loss)
    if working is not None:
        working.collect_gradients()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if working is not None:
        working.refresh()


def _copy(module: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _main_metric(model: TaskModel, part: str, decided: Sequence[Any]) -> float:
    """By tallies: the whole table of metrics takes longer than the steps of an epoch of short documents on a GPU.

    -inf where there is no metric, as of a model whose loss diverged: any other epoch is better.
    """
    tallies = model.tallies(part, decided)
    value = float(metric_of(model.tally, tallies.sum(axis=0), len(tallies)))
    return -math.inf if math.isnan(value) else value


def _predict(
    encoder: Encoder, states_of: States, model: TaskModel, part: str, settings: Eval, autocast: Callable[[], Any]
) -> list[Any]:
    """What the model says of each example of a part, in its order."""
    encoder.model.eval()
    with autocast():
        return in_batches(
            model.read(part),
            for_prediction(settings, encoder.device),
            lambda group: model.predict(states_of([e.document for e in group]), group),
        )


def for_prediction(settings: Eval, device: torch.device) -> Eval:
    """The settings with the batches of prediction: those of training on a CPU, larger ones on a GPU."""
    if device.type != "cuda":
        return settings
    larger = {name: getattr(settings, name) * _LARGER for name in ("batch_tokens", "batch_documents")}
    return settings.model_copy(update=larger)


@torch.no_grad()
def in_batches(examples: Sequence[Any], settings: Eval, compute: Callable[[list[Any]], Iterable[Any]]) -> list[Any]:
    """What `compute` gives for each example, in their order; it gets them batch by batch, as `longest_first` says."""
    order = longest_first([e.document.size for e in examples])
    results: list[Any] = [None] * len(examples)
    first = 0
    for group in groups(examples, order, settings):
        for place, result in zip(order[first : first + len(group)], compute(group), strict=True):
            results[place] = result
        first += len(group)
    return results


def longest_first(sizes: Sequence[int]) -> np.ndarray:
    """(sizes,) int64 indices, long documents first: each next one fits into what the last gave back. The other way
    round each needs a little more than any before, and the memory that is kept grows to many times what is used."""
    return np.argsort(np.negative(sizes), kind="stable")


def groups(examples: Sequence[Any], order: np.ndarray, settings: Eval) -> Iterator[list[Any]]:
    """Whole documents, within the batch's two bounds; one above batch_tokens makes a batch of its own."""
    group: list[Any] = []
    tokens = 0
    for index in order:
        size = examples[index].document.size
        if group and (len(group) == settings.batch_documents or tokens + size > settings.batch_tokens):
            yield group
            group, tokens = [], 0
        group.append(examples[index])
        tokens += size
    if group:
        yield group
