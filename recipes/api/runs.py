"""Runs: train a model as a strategy says, score models on tasks, and search for settings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medlingua.adapters.encoder import Permission
from medlingua.recipes.resolve import resolve, resolve_eval
from medlingua.recipes.settings import Run

if TYPE_CHECKING:
    import optuna
    from pandas import DataFrame


def adapt(run: Run | Mapping[str, Any], folder: str | Path | None = None) -> Path:
    """Train and evaluate a model as `adapt --strategy ...` does; returns the folder of the run.

    The folder has the model in `model/`, the report in `report.html` and all scores in `results.jsonl`. A run that
    was stopped goes on where it was, by the same call.

    run: the settings, as a Run or as a mapping, nested like a settings file. Its `preset`, if any, lies below them.
    folder: default `runs/<name of the run>`. Raises InputError for settings and files that cannot be used.

    >>> run = Run(
    ...     strategy="continue",
    ...     lang="fr",
    ...     base="clinical-bert",
    ...     data={"paths": ["notes.csv"], "text_field": "text"},
    ...     train={"tokens": 2_000, "precision": "fp32"},
    ...     eval={"tasks": "none"},
    ... )
    >>> folder = adapt(run, "first-run")
    >>> (folder / "report.html").exists(), (folder / "model").is_dir()
    (True, True)
    """
    from medlingua.recipes.walk import adapt as walk

    if not isinstance(run, Run) or not run.phases:
        given = run.model_dump(exclude_unset=True) if isinstance(run, Run) else dict(run)
        run = resolve(given, preset=given.get("preset"))
    place = Path("runs") / run.name if folder is None else Path(folder)
    walk(run, place)
    return place


def evaluate(
    models: str | Path | Sequence[str | Path],
    lang: str,
    *,
    data: str | Path | None = None,
    tasks: Literal["all"] | Sequence[str] = "all",
    seeds: int = 3,
    folder: str | Path = "evaluation",
    allow: Iterable[Permission] = (),
    **settings: Any,
) -> "DataFrame":
    """Fine-tune and score models on the tasks of a language; one row a score, of all that `folder` holds.

    data: the data root, where the tasks of the pack lie. tasks: their names. seeds: fine-tuning runs a task.
    settings: any other setting of `eval`, such as `epochs` or `lr`. Raises InputError where no task can be read.

    >>> scores = evaluate("clinical-bert", "fr", tasks=["synthetic_outcome"], seeds=1, epochs=1, min_steps=0)
    >>> sorted(scores.columns)[:4]
    ['examples', 'gold', 'language', 'metric']
    >>> sorted(set(scores.model))
    ['clinical-bert', 'majority']
    """
    from medlingua.recipes.commands.evaluate import evaluate as score
    from medlingua.reports.read import read_scores
    from pandas import DataFrame

    chosen = resolve_eval({**settings, "tasks": tasks if tasks == "all" else list(tasks), "seeds": seeds}, ())
    names = (models,) if isinstance(models, str | Path) else models
    place = Path(folder)
    score(tuple(map(str, names)), lang, None if data is None else str(data), chosen, tuple(allow), place)
    return DataFrame([score.model_dump() for score in read_scores(place / "results.jsonl")])


def finetune(
    model: str | Path,
    lang: str,
    task: str,
    *,
    data: str | Path | None = None,
    seeds: int = 3,
    seed: int | None = None,
    folder: str | Path = "finetuned",
    allow: Iterable[Permission] = (),
    **settings: Any,
) -> Path:
    """Fine-tune a model on one task as `adapt finetune` does; returns the folder of the saved model.

    data: the data root, where the task lies. seeds: fine-tuning runs. seed: the one whose model is saved; None for
    the best on dev. folder: of the model (`model/`), the scores and the report. settings: any other setting of
    `eval`. Raises InputError where the task cannot be read.

    >>> finetune("clinical-bert", "fr", "synthetic_outcome", seeds=1, epochs=1, min_steps=0).as_posix()
    'finetuned/model'
    """
    from medlingua.recipes.commands.finetune import finetune as train

    chosen = resolve_eval({**settings, "tasks": [task], "seeds": seeds}, ())
    root = None if data is None else str(data)
    return train(str(model), lang, root, chosen, seed, tuple(allow), Path(folder))


def sweep(settings: str | Path | Mapping[str, Any], folder: str | Path, *, resume: bool = False) -> "optuna.Study":
    """Search for settings with Optuna; returns the study. The same call elsewhere is one more worker.

    settings: a sweep file, or the same as a mapping: `trials`, `objective`, `settings` of every trial, and the
    `space` that is searched. folder: of the trials, each a run, and of the sweep's report. resume: only where the
    folder holds the sweep already. Raises InputError for what is no sweep.

    >>> study = sweep(
    ...     {
    ...         "trials": 2,
    ...         "settings": {
    ...             "strategy": "continue",
    ...             "lang": "fr",
    ...             "base": "clinical-bert",
    ...             "data": {"paths": ["notes.csv"], "text_field": "text"},
    ...             "train": {"tokens": 1_000, "precision": "fp32"},
    ...         },
    ...         "space": {"train": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
    ...     },
    ...     "first-sweep",
    ... )
    >>> len(study.trials), study.best_params.keys() == {"train.lr"}
    (2, True)
    """
    from medlingua.recipes.experiments.sweep import sweep as work

    return work(settings if isinstance(settings, Mapping) else Path(settings), Path(folder), resume=resume)
