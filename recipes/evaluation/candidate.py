"""One model on one task, loaded, and how it is scored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.tokenizer import loss_message
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Overlap
from medlingua.languages.task import Task
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.cached_states import CachedStates
from medlingua.recipes.evaluation.finetune import Passes, TaskModel
from medlingua.recipes.evaluation.heads import precedes, protocol_under, task_model
from medlingua.recipes.evaluation.questions import cut_questions
from medlingua.recipes.evaluation.reading import States, token_states
from medlingua.recipes.evaluation.warm_start import overlap_lines, without_tested
from medlingua.recipes.settings import Eval

_WITHOUT_LABELS = ("answers", "choice", "similarity")  # kinds whose outputs do not depend on the task


@dataclass(frozen=True, slots=True)
class Keep:
    """Fine-tuned models that are saved, one a model and task. folder: of a model's name and a task's. seed: the one
    that is saved; None for the best by dev, the first of equals."""

    folder: Callable[[str, str], Path]
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How models are scored, and where their scores go.

    spacy: code of the language for words. folder: of results.jsonl and predictions/. cache: a folder of scores by
    content; with one, results.jsonl is written again from it, and what it lacks is computed. warm_start: the task of
    settings.warm_start, learnt before each other one. overlaps: of the pack. keep: which fine-tuned models are saved;
    none unless it is given.
    """

    settings: Eval
    spacy: str
    folder: Path
    precision: machine.Precision
    allow: Iterable[Permission] = ()
    cache: Path | None = None
    warm_start: Task | None = None
    overlaps: tuple[Overlap, ...] = ()
    keep: Keep | None = None

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    @property
    def task_parts(self) -> Path:
        return self.folder / "tasks.jsonl"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model on one task, loaded. parts: the folds of the task, or the task itself. before: the task that is
    learnt first. states: of a frozen body. tuned: of each part its settings by dev, once they are known."""

    name: str
    where: str
    spacy: str
    encoder: Encoder
    whole: TaskModel
    parts: Sequence[TaskModel]
    before: TaskModel | None
    states: CachedStates | None
    passes: Passes
    tuned: dict[int, Eval] = field(default_factory=dict)

    @property
    def states_of(self) -> States:
        """Hidden states of documents: kept ones of a frozen body, else computed."""
        return self.states or partial(token_states, self.encoder)

    @property
    def folds(self) -> Sequence[TaskModel]:
        return self.parts if self.whole.task.folds else ()


def load_encoder(name: str, where: str, task: Task, evaluation: Evaluation) -> Encoder:
    """A model without its head, which no task needs, and lines on what it has for nothing or lacks."""
    encoder = encoders.load(where, head="fresh", allow=evaluation.allow)
    if encoder.dropped:
        say(f"{name}: the head of another task is left out: {', '.join(encoder.dropped)}")
    if "uncased" not in evaluation.allow and (lost := loss_message(encoder.tokenizer, task.language)):
        say(f"{name}: its tokenizer loses {lost}, which {task.language} needs; --allow uncased leaves this line out")
    return encoder


def load_candidate(name: str, where: str, task: Task, evaluation: Evaluation) -> Candidate:
    settings, warm_start = evaluation.settings, evaluation.warm_start
    if task.spec.kind not in _WITHOUT_LABELS and not task.labels:
        raise InputError(
            f"task {task.spec.name}: no labels in its train and dev parts, so there is nothing to learn; look at its "
            f"files with adapt tasks {task.spec.name}"
        )
    encoder = load_encoder(name, where, task, evaluation)
    for line in overlap_lines(name, encoder.lineage, task, evaluation.overlaps):
        say(line)
    encoder.model.to(machine.device())
    states = CachedStates(encoder) if settings.body == "frozen" else None
    if settings.long_questions == "cut":
        task, cut = cut_questions(task, encoder)
        if cut:
            say(f"task {task.spec.name}, {name}: {cut:,} questions are cut to what the model can read")
    whole = task_model(task, encoder, evaluation.spacy, settings)
    parts = [task_model(fold, encoder, evaluation.spacy, settings) for fold in task.folds] or [whole]
    before = None
    if precedes(warm_start, task):
        before = task_model(
            without_tested(warm_start, task, evaluation.overlaps), encoder, evaluation.spacy, settings
        )
    whole.protocol = protocol_under(task, settings, warm_start)
    return Candidate(
        name,
        where,
        evaluation.spacy,
        encoder,
        whole,
        parts,
        before,
        states,
        passes_of(encoder, evaluation.precision),
    )


def passes_of(encoder: Encoder, precision: machine.Precision) -> Passes:
    """Those of fine-tuning: on a GPU in bf16 they go through a copy, as in pretraining."""
    half = encoder.device.type == "cuda" and precision.name == "bf16"
    return Passes(autocast_of(encoder, precision), torch.bfloat16 if half else None)


def autocast_of(encoder: Encoder, precision: machine.Precision) -> Callable[[], Any]:
    """What opens a context of the precision."""
    enabled = precision.name == "bf16"
    return lambda: torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=enabled)
