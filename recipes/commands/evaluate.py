"""`adapt evaluate`: models on the tasks of a language, all by the same protocols."""

import hashlib
import json
from pathlib import Path
from typing import Any

from medlingua.adapters.encoder import Permission
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.cache import digest_of_task
from medlingua.recipes.evaluation.evaluate import Evaluation, score_models
from medlingua.recipes.folder import digest, model_of
from medlingua.recipes.settings import Eval
from medlingua.recipes.text.task_set import TaskSet, find_tasks
from medlingua.reports.compare import write_comparison
from medlingua.reports.read import write_whole

_ABOUT = "evaluation.json"
_MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "tokenizer.json")


def evaluate(
    models: tuple[str, ...],
    lang: str,
    data: str | None,
    settings: Eval,
    allow: tuple[Permission, ...],
    folder: Path,
) -> Path:
    """Score models on the tasks of a language, into results.jsonl and a report of `folder`; the report's path.

    A folder that has scores takes more models, seeds and tasks. InputError where it has scores by other settings, of
    another model of the same name, or of a task whose documents were different.
    """
    machine.keep_pages()
    pack = load_pack(lang)
    tasks = find_tasks(pack, Path(data) if data else None, settings.tasks, allow, settings.warm_start)
    for line in tasks.left_out:
        say(line)
    if not tasks.tasks:
        raise InputError(
            f"no task of language {pack.code} is at hand: give --data ROOT, or name synthetic ones with --tasks"
        )
    names = _named(models)
    about = _checked(folder, _about(names, settings, tasks))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _ABOUT, json.dumps(about, indent=2) + "\n")
    precision = machine.precision_of("auto", machine.device())
    how = Evaluation(settings, pack.spacy, folder, precision, allow, warm_start=tasks.warm_start)
    score_models(names, tasks.tasks, how)
    return write_comparison(folder)


def _named(models: tuple[str, ...]) -> dict[str, str]:
    """Each model with the name it has in tables: its folder's, where no two are alike. Of a run, its model."""
    places = {model: model_of(model) for model in models}
    names = {Path(model).name if Path(model).is_dir() else model: place for model, place in places.items()}
    return names if len(names) == len(places) else places


def _about(names: dict[str, str], settings: Eval, tasks: TaskSet) -> dict[str, Any]:
    """What the scores of a folder depend on."""
    return {
        "settings": settings.model_dump(mode="json", exclude={"tasks", "seeds"}),
        "models": {name: _digest_of_files(place) for name, place in names.items()},
        "tasks": {task.spec.name: digest_of_task(task) for task in tasks.tasks},
    }


def _digest_of_files(place: str) -> str:
    """Of a model's folder; a hub id stands for itself."""
    if not Path(place).is_dir():
        return place
    files = sorted(file for pattern in _MODEL_FILES for file in Path(place).glob(pattern))
    return hashlib.blake2b("".join(map(digest, files)).encode(), digest_size=16).hexdigest()


def _checked(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """`about` with what the folder has already; InputError where the two do not go together."""
    file = folder / _ABOUT
    if not file.is_file() or not (folder / "results.jsonl").is_file():  # an evaluation that failed has no scores
        return about
    earlier = json.loads(file.read_text(encoding="utf-8"))
    changed = [f"eval.{key}" for key, value in about["settings"].items() if earlier["settings"].get(key) != value]
    for group in ("models", "tasks"):
        known = earlier[group]
        changed += [f"the {group[:-1]} {n}" for n, value in about[group].items() if known.get(n, value) != value]
    if changed:
        raise InputError(
            f"{folder} has scores that differ in {', '.join(changed)}: give another --out, or remove the folder"
        )
    return {**about, **{group: {**earlier[group], **about[group]} for group in ("models", "tasks")}}
