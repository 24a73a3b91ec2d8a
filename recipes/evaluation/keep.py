"""Which fine-tuned models are saved: one a task, the best by dev or that of a given seed."""

from collections.abc import Sequence

from medlingua.languages.errors import InputError
from medlingua.languages.task import Task
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.calibration import predictions_of, reliability, temperature_of
from medlingua.recipes.evaluation.candidate import Candidate, Keep
from medlingua.recipes.evaluation.finetune import Fitted
from medlingua.recipes.evaluation.saved_task import TaskRecord, read_record, save_task_model, spec_of
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.reports.quantities import short_path


def check_saved(keep: Keep, name: str, task: Task, missing: Sequence[int], seeds: int) -> None:
    """InputError where the model to be saved is of a seed that is not run, or was run without saving it."""
    folder, first = keep.folder(name, task.spec.name), len(missing) == seeds
    if keep.seed is not None and keep.seed >= seeds:
        raise InputError(
            f"seed {keep.seed} is not among the {seeds} that are run, which count from 0: set --seeds to "
            f"{keep.seed + 1} or more"
        )
    if not first and not folder.is_dir() and (keep.seed is None or keep.seed not in missing):
        raise InputError(
            f"{folder.parent} has scores of {name} on {task.spec.name} whose model was not saved: give another --out"
        )


def keep_best(keep: Keep, candidate: Candidate, number: int, fitted: Fitted, seed: int) -> None:
    """Save the model of a part of the task as it is now, unless another seed is wanted, or one that was better on dev
    is saved."""
    model, settings = candidate.parts[number], candidate.tuned[number]
    folder = keep.folder(candidate.name, model.task.spec.name)
    if keep.seed not in (None, seed):
        return
    if folder.is_dir() and read_record(folder).dev[model.main_metric] >= fitted.dev[model.main_metric]:
        return
    encoder, task = candidate.encoder, model.task
    temperature, warning = temperature_of(candidate, model, settings)
    if warning:
        say(f"task {task.spec.name}: {warning}")
    tested = predictions_of(candidate, model, "test", fitted.chosen, temperature, settings)
    record = TaskRecord(
        task=spec_of(task),
        language=task.language,
        spacy=candidate.spacy,
        labels=task.labels,
        base=short_path(candidate.where),
        protocol=candidate.whole.protocol,
        metric=model.main_metric,
        settings=settings,
        seed=seed,
        epoch=fitted.epoch,
        chosen=fitted.chosen,
        temperature=temperature,
        probability_warning=warning,
        dev=fitted.dev,
        test=fitted.test,
        reliability=reliability(tested, task.test),
        longest=model.most if isinstance(model, SpanNer) else None,
        synthetic=task.synthetic,
    )
    save_task_model(folder, encoder, model, record)
