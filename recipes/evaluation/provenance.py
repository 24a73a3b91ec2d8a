"""evaluation.json: what the scores of a folder depend on, so that scores that differ in it are never mixed."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.cache import digest_of_task
from medlingua.recipes.settings import Eval
from medlingua.reports.read import write_whole

_FILE = "evaluation.json"


def record(
    folder: Path, tasks: Iterable[Task], settings: Eval | None = None, models: Mapping[str, str] | None = None
) -> None:
    """Add what new scores depend on to evaluation.json of `folder`.

    settings: None for the output of another system, whose scores depend on the task alone. models: a digest by name.
    InputError where the folder has scores by other settings, of another model of the same name, of a task whose
    documents were different, or scores that no evaluation wrote.
    """
    file, has_scores = folder / _FILE, (folder / "results.jsonl").is_file()
    if has_scores and not file.is_file():
        if settings is None:
            return  # the output of another system may join the scores of a run or of a study
        raise InputError(
            f"{folder} has scores that no evaluation wrote (there is no {_FILE}), as a run's folder has: "
            "give another --out"
        )
    about: dict[str, dict[str, Any]] = {
        "settings": {} if settings is None else settings.model_dump(mode="json", exclude={"tasks", "seeds"}),
        "models": dict(models or {}),
        "tasks": {task.spec.name: digest_of_task(task) for task in tasks},
    }
    if has_scores:  # an evaluation that failed has none, and may be corrected
        about = _merged(json.loads(file.read_text(encoding="utf-8")), about, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(about, indent=2) + "\n")


def _merged(
    earlier: dict[str, dict[str, Any]], about: dict[str, dict[str, Any]], folder: Path
) -> dict[str, dict[str, Any]]:
    changed = []
    if earlier["settings"]:
        changed += [
            f"eval.{key}" for key, value in about["settings"].items() if earlier["settings"].get(key) != value
        ]
    for group in ("models", "tasks"):
        known = earlier[group]
        changed += [f"the {group[:-1]} {n}" for n, value in about[group].items() if known.get(n, value) != value]
    if changed:
        raise InputError(
            f"{folder} has scores that differ in {', '.join(changed)}: give another --out, or remove the folder"
        )
    return {group: {**earlier[group], **about[group]} for group in about}
