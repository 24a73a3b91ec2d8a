"""A fine-tuned model as a folder: what plain transformers opens, and what this project needs to apply it."""

import json
import shutil
from pathlib import Path
from typing import Any

from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.task_heads import Output, save_with_head, save_without_head, stock_class
from medlingua.languages.errors import InputError, reason
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import TaskModel
from medlingua.recipes.evaluation.heads import POOLED, task_model
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.settings import Eval
from medlingua.reports.reliability import Bin
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig

KEY = "medlingua"  # of config.json
_HEAD = "head.safetensors"
_ABOUT = ("name", "kind", "negative", "positive", "scale", "label_prefix", "licence", "access", "non_commercial")


class TaskRecord(BaseModel):
    """What a fine-tuned model has learnt, in its config.json.

    settings: eval.*. chosen: thresholds and margins by dev. temperature: of its logits, by dev.
    probability_warning: why its probabilities are not to be relied on. dev, test: scores of the seed that was kept.
    reliability: of its predictions on test. longest: words of an entity, of a span head alone. stock_class: of
    transformers, which has this head; "" where it has the encoder alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSpec
    language: str
    spacy: str
    labels: tuple[str, ...]
    base: str
    protocol: str
    metric: str
    settings: Eval
    seed: int
    epoch: int
    chosen: dict[str, float]
    temperature: float
    probability_warning: str = ""
    dev: dict[str, float]
    test: dict[str, float]
    reliability: tuple[Bin, ...] = ()
    longest: int | None = None
    synthetic: bool = False
    stock_class: str = ""


def spec_of(task: Task) -> TaskSpec:
    """Of the task's record what is true of its labels wherever its files lie."""
    return TaskSpec(**task.spec.model_dump(include=set(_ABOUT)))


def save_task_model(folder: Path, encoder: Encoder, model: TaskModel, record: TaskRecord) -> TaskRecord:
    """Write encoder, head, tokenizer and record into `folder`, in place of what is there; whole or not at all.

    Returns the record with the class of transformers that has this head. The head is also written by itself, as
    training had it.
    """
    output = _output_of(model, encoder, record.settings)
    name = stock_class(encoder, output) if output else None
    record = record.model_copy(update={"stock_class": name or ""})
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    about: dict[str, Any] = {KEY: record.model_dump(mode="json", exclude_none=True)}
    if output and name:
        head: nn.Module = model.head
        if output == "answers":  # the third output, of no answer, has no place in the stock class
            head = nn.Linear(encoder.model.config.hidden_size, 2)
            head.load_state_dict({key: value[:2] for key, value in model.head.state_dict().items()})
            head.to(encoder.device)
        if record.task.kind == "multilabel":
            about["problem_type"] = "multi_label_classification"
        save_with_head(encoder, head, output, part, _outputs(model) if output in ("tokens", "text") else (), about)
    else:
        save_without_head(encoder, part, about)
    weights = {key: value.detach().cpu().contiguous() for key, value in model.head.state_dict().items()}
    save_file(weights, part / _HEAD)
    shutil.copymode(part / "config.json", part / _HEAD)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return record


def _output_of(model: TaskModel, encoder: Encoder, settings: Eval) -> Output | None:
    """The kind of stock class that has the model's head, if there is one."""
    kind = model.task.spec.kind
    if kind == "tagging":
        return "tokens"
    if kind == "ner":
        return None if isinstance(model, SpanNer) else "tokens"
    if kind == "answers":
        return "answers"
    if kind in POOLED and settings.pooling == "first":
        return "choice" if kind == "choice" else "text"
    return None


def _outputs(model: TaskModel) -> tuple[str, ...]:
    return model.tags if isinstance(model, Ner) else model.task.labels


def read_record(folder: Path) -> TaskRecord:
    """The record in a fine-tuned model's config.json. InputError where there is none, or not one of ours."""
    file = folder / "config.json"
    if not file.is_file():
        inside = folder / "model"
        right = str(inside) if (inside / "config.json").is_file() else "the folder model/ that adapt finetune wrote"
        raise InputError(f"{folder}: no config.json, so no model; give {right}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        entry = config.get(KEY)
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file}: no JSON object ({reason(error)}); restore it") from error
    if entry is None:
        named = ", ".join(map(str, config.get("architectures") or ())) or "a model"
        raise InputError(
            f"{folder}: {named} that adapt finetune did not write: config.json does not say how its labels are read. "
            "Fine-tune it on a task first: adapt finetune MODEL --lang L --task NAME"
        )
    try:
        return TaskRecord.model_validate(entry)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(
            f"{file}: {KEY}.{where} is not what adapt finetune of this version writes; fine-tune the model again"
        ) from error


def width_of(folder: Path) -> int:
    """Of the hidden states, by config.json, where DistilBERT has another name for it."""
    return int(AutoConfig.from_pretrained(folder, local_files_only=True).hidden_size)


def load_task_model(folder: Path, allow: tuple[Permission, ...] = ()) -> tuple[Encoder, TaskModel, TaskRecord]:
    """A saved model, ready to predict. InputError for a folder that is not one, and for a damaged head."""
    record = read_record(folder)
    encoder = encoders.load(str(folder), head="fresh", allow=allow)
    task = Task(record.task, record.language, (), (), (), label_set=record.labels)
    model = task_model(task, encoder, record.spacy, record.settings)
    if isinstance(model, SpanNer) and record.longest:
        model.most = record.longest
    try:
        model.head.load_state_dict(load_file(folder / _HEAD))
    except Exception as error:  # no file, no safetensors, other sizes
        raise InputError(
            f"{folder / _HEAD}: not the head of this model ({reason(error)}); copy the whole folder again"
        ) from error
    model.head.eval()
    return encoder, model, record
