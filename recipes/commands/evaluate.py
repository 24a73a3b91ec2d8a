"""`adapt evaluate`: models on the tasks of a language, all by the same protocols."""

from pathlib import Path

from medlingua.adapters.encoder import Permission
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.evaluate import Evaluation, score_models
from medlingua.recipes.settings import Eval
from medlingua.recipes.text.task_set import find_tasks
from medlingua.reports.compare import write_comparison


def _named(models: tuple[str, ...]) -> dict[str, str]:
    """Each model with the name it has in tables: its folder's, where no two are alike. Of a run, its model."""
    places = {model: _of_run(model) for model in models}
    names = {Path(model).name if Path(model).is_dir() else model: place for model, place in places.items()}
    return names if len(names) == len(places) else places


def _of_run(model: str) -> str:
    folder = Path(model)
    if not (folder / "run.toml").is_file():
        return model
    if not (folder / "model").is_dir():
        raise InputError(f"{folder}: the run has no model yet; finish it with the command that began it")
    return str(folder / "model")


def evaluate(
    models: tuple[str, ...],
    lang: str,
    data: str | None,
    settings: Eval,
    allow: tuple[Permission, ...],
    folder: Path,
) -> Path:
    """Score models on the tasks of a language, into results.jsonl and a report of `folder`; the report's path."""
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
    folder.mkdir(parents=True, exist_ok=True)
    precision = machine.precision_of("auto", machine.device())
    how = Evaluation(settings, pack.spacy, folder, precision, allow, warm_start=tasks.warm_start)
    score_models(names, tasks.tasks, how)
    return write_comparison(folder)
