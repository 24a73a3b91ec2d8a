"""Scores of a comparison, cached by content: one model on one task with one seed, under one protocol.

A cell is named by digests of everything that it depends on, so it is found again whatever the model is called or
where it lies, and it is never taken for that of a model, task or setting that has changed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medlingua.adapters.encoder import Encoder
from medlingua.languages.task import Task
from medlingua.recipes.settings import Eval
from medlingua.reports.read import write_whole


@dataclass(frozen=True, slots=True)
class Cell:
    """What one fine-tuning run found. predicted, tallies: an entry a test document, as plain JSON."""

    epoch: int
    chosen: dict[str, float]
    dev: dict[str, float]
    test: dict[str, float]
    predicted: list[Any]
    tallies: list[list[float]]
    epochs: int = 0  # that were run


def digest_of_model(encoder: Encoder, encoder_alone: bool = False) -> str:
    """Of the weights, the config and the tokenizer, as they were loaded. encoder_alone: without a head."""
    digest = hashlib.blake2b(digest_size=16)
    model = encoder.model.base_model if encoder_alone else encoder.model
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    config = {k: v for k, v in encoder.model.config.to_dict().items() if k not in ("_name_or_path", "dtype")}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    return digest.hexdigest()


def digest_of_task(task: Task) -> str:
    """Of its record, its terminology and every example: text, question, options and gold."""
    digest = hashlib.blake2b(task.spec.model_dump_json().encode() + task.language.encode(), digest_size=16)
    for fold in task.folds:
        digest.update(digest_of_task(fold).encode())
    if task.terminology:
        digest.update(repr(task.terminology).encode())
    for part in (task.train, task.dev, task.test):
        for example in part:
            gold = sorted(map(repr, example.gold)) if isinstance(example.gold, frozenset) else repr(example.gold)
            digest.update(repr((example.id, example.document.text, example.question, example.options, gold)).encode())
    return digest.hexdigest()


def name_of(model: str, task: str, protocol: str, settings: Eval, seed: int, precision: str) -> str:
    """The cell's name. model, task: digests."""
    settings_record = settings.model_dump(exclude={"tasks", "seeds"})
    parts = json.dumps([model, task, protocol, settings_record, seed, precision], sort_keys=True)
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def read(folder: Path, name: str) -> Cell | None:
    path = folder / f"{name}.json"
    return Cell(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write(folder: Path, name: str, cell: Cell) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", json.dumps(asdict(cell), ensure_ascii=False) + "\n")
