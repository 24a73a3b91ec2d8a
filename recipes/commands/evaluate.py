"""`adapt evaluate`: models on the tasks of a language, all by the same protocols."""

import hashlib
from pathlib import Path

from medlingua.adapters.encoder import Permission
from medlingua.adapters.hub import check_reachable
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.recipes import machine
from medlingua.recipes.bases import PACKAGE
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.candidate import Evaluation, Keep
from medlingua.recipes.evaluation.errors import shown_errors
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.provenance import record
from medlingua.recipes.evaluation.results import file_name
from medlingua.recipes.folder import digest, model_of
from medlingua.recipes.settings import Eval
from medlingua.recipes.text.task_set import find_tasks
from medlingua.reports.compare import write_comparison
from medlingua.reports.error_page import write_error_page
from medlingua.reports.task_card import write_task_card

_MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "tokenizer.json")


def evaluate(
    models: tuple[str, ...],
    lang: str,
    data: str | None,
    settings: Eval,
    allow: tuple[Permission, ...],
    folder: Path,
    keep: Keep | None = None,
    show_text: bool = False,
) -> Path:
    """Score models on the tasks of a language, into results.jsonl and a report of `folder`; the report's path.

    show_text: also a page of errors with the words of the texts, errors.html.
    A folder that has scores takes more models, seeds and tasks. InputError where it has scores by other settings, of
    another model of the same name, of a task whose documents were different, or scores that no evaluation wrote.
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
    names = _named(models, pack, data)
    record(folder, tasks.tasks, settings, {name: _digest_of_files(place) for name, place in names.items()})
    precision = machine.precision_of("auto", machine.device())
    how = Evaluation(
        settings, pack.spacy, folder, precision, allow, warm_start=tasks.warm_start, overlaps=pack.overlaps, keep=keep
    )
    score_models(names, tasks.tasks, how)
    if keep is not None:
        for task in tasks.tasks:
            if task.spec.kind == "normalization":
                say(f"task {task.spec.name}: nothing is trained, so there is no model to save")
                continue
            for name in names:
                write_task_card(folder, keep.folder(name, task.spec.name))
    if show_text:
        shown = (error for task in tasks.tasks for name in names for error in shown_errors(folder, name, task))
        write_error_page(folder, list(shown))
    return write_comparison(folder)


def task_models(folder: Path) -> Keep:
    """Each model and task in a folder of its own, the best seed by dev."""
    return Keep(lambda name, task: folder / "models" / f"{task}-{file_name(name)}")


def _named(models: tuple[str, ...], pack: Pack, root: str | None) -> dict[str, str]:
    """Each model with the name it has in tables: its folder's, where no two are alike. Of a run, its model.

    InputError where one is not there, before hours are spent on the first.
    """
    places = {model: model_of(model, pack, root) for model in models}
    for place in places.values():
        check_reachable(place, None)
    names = {_name(model): place for model, place in places.items()}
    return names if len(names) == len(places) else places


def _name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() or model.startswith(PACKAGE) else model


def _digest_of_files(place: str) -> str:
    """Of a model's folder; a hub id stands for itself."""
    if not Path(place).is_dir():
        return place
    files = sorted(file for pattern in _MODEL_FILES for file in Path(place).glob(pattern))
    return hashlib.blake2b("".join(map(digest, files)).encode(), digest_size=16).hexdigest()
