"""Scores: every model, every task, every seed, by the same code, score by score, so that a stopped run can resume."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from statistics import fmean, median

from medlingua.adapters.lora import check_lora
from medlingua.languages.errors import InputError
from medlingua.languages.task import Task
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation import cache
from medlingua.recipes.evaluation.baselines import baselines, baselines_of_folds, nearest_words, score_cosines
from medlingua.recipes.evaluation.cache import Cell
from medlingua.recipes.evaluation.candidate import Candidate, Evaluation, load_candidate, load_encoder
from medlingua.recipes.evaluation.errors import errors_of
from medlingua.recipes.evaluation.finetune import Fitted, TaskModel, fit
from medlingua.recipes.evaluation.heads import protocol_under
from medlingua.recipes.evaluation.keep import check_saved, keep_best
from medlingua.recipes.evaluation.mentions import dev_rows, score_mentions
from medlingua.recipes.evaluation.questions import check_questions
from medlingua.recipes.evaluation.results import in_order, plain, score_row, write_predictions
from medlingua.recipes.evaluation.task_parts import Shared, part_rows, shared_parts
from medlingua.recipes.evaluation.tasks.ner import Ner, spans_of
from medlingua.recipes.evaluation.tasks.similarity import Similarity
from medlingua.recipes.evaluation.tasks.tagging import tags_of
from medlingua.recipes.evaluation.trials import tuned_by_dev
from medlingua.recipes.evaluation.warm_start import warm
from medlingua.recipes.settings import Eval
from medlingua.reports.read import append_row, read_scores
from medlingua.reports.rows import Score

_LISTED = 20  # of the labels that only test has: of codes there are thousands


def score_models(models: Mapping[str, str], tasks: Iterable[Task], evaluation: Evaluation) -> None:
    """Fine-tune and score each model (name -> folder or hub id), into results.jsonl and predictions/.

    Scores that results.jsonl holds already are not computed again.
    """
    settings = evaluation.settings
    if evaluation.warm_start is not None and settings.body == "frozen":
        raise InputError("eval.warm_start trains the body, and eval.body = 'frozen' keeps it: leave one of them out")
    if settings.lora is not None:
        check_lora("eval.lora")
        if settings.body == "frozen":
            raise InputError("eval.lora trains the body, and eval.body = 'frozen' keeps it: leave one of them out")
    if evaluation.cache is not None:
        for file in (evaluation.results, evaluation.task_parts, evaluation.folder / "errors.jsonl"):
            file.unlink(missing_ok=True)
    tasks = tuple(tasks)
    if settings.long_questions == "refuse":
        check_questions(models, tasks, evaluation.allow)
    shared = shared_parts(tasks)
    for task in tasks:
        _describe(task, settings.seeds)
        for name, where in models.items():
            _score_model(name, where, task, evaluation, shared[task.spec.name])


def score_dev(where: str, tasks: Iterable[Task], evaluation: Evaluation) -> list[Score]:
    """Fine-tune the model in `where` on each task with each seed and score it on dev, into results.jsonl.

    Test is never looked at: this is what settings are chosen by (TRAPS V6). Returns all dev scores of the folder;
    those that it holds already are not computed again.
    """
    settings, results = evaluation.settings, evaluation.results
    done = {(s.task, s.seed) for s in read_scores(results) if s.split == "dev"}
    for task in tasks:
        missing = [seed for seed in range(settings.seeds) if (task.spec.name, seed) not in done]
        if not missing:
            continue
        if task.spec.kind == "normalization":
            encoder = load_encoder("trained", where, task, evaluation)
            append_row(results, *dev_rows("trained", encoder, task, missing))
            continue
        candidate = load_candidate("trained", where, task, evaluation)
        for seed in missing:
            fits = _fits(candidate, settings, seed, f"{task.spec.name} on dev", False, evaluation)
            note = (
                f"epoch {fits[0].epoch} of {fits[0].epochs} by dev"
                if len(fits) == 1
                else f"mean over dev of {len(fits)} folds"
            )
            means = {metric: fmean(one.dev[metric] for one in fits) for metric in fits[0].dev}
            rows = (score_row(candidate.whole, "trained", m, v, seed, note, "dev") for m, v in means.items())
            append_row(results, *rows)
    return [s for s in read_scores(results) if s.split == "dev"]


def pooled(model: TaskModel, folds: Sequence[Fitted]) -> Fitted:
    """The folds as one: every document was tested in one of them, and all are scored at once. model: of the whole
    task. Epoch and dev are the median and the mean."""
    decided = [predicted for fold in folds for predicted in fold.decided]
    dev = {metric: fmean(fold.dev[metric] for fold in folds) for metric in folds[0].dev}
    epoch, epochs = (int(median(counts)) for counts in ([f.epoch for f in folds], [f.epochs for f in folds]))
    return Fitted(epoch, epochs, {}, dev, model.score("test", decided), decided)


def _describe(task: Task, seeds: int) -> None:
    """Lines on the size of the work, on what no model can find, and on what was changed or left out."""
    trained = task.spec.kind != "normalization"
    runs = f"fine-tuning runs of each model: {seeds}" if trained else "nothing is trained"
    say(
        f"task {task.spec.name}: {len(task.train):,} train, {len(task.dev):,} dev and {len(task.test):,} test "
        f"documents, {runs}"
    )
    for note in task.notes:
        say(f"task {task.spec.name}: {note}")
    for number, tested in enumerate(task.folds or (task,), 1):
        if tested.unseen and trained:  # whose terminology may have them
            counted = ", ".join(f"{label} ({n})" for label, n in islice(tested.unseen.items(), _LISTED))
            if (more := len(tested.unseen) - _LISTED) > 0:
                counted += f", and {more:,} more"
            fold = f", fold {number}" if task.folds else ""
            say(f"task {task.spec.name}{fold}: labels that only test has, all missed: {counted}")
    if task.spec.kind == "tagging":
        known = {tag for example in task.train for tag in tags_of(example)}
        if untaught := sorted(set(task.labels) - known):
            say(f"task {task.spec.name}: tags of dev that train lacks: {', '.join(untaught[:_LISTED])}")
    if task.train_language:
        say(
            f"task {task.spec.name}: learnt on {task.train_language}; {task.excluded:,} cases of train and dev are "
            "left out, which test has too"
        )
    if task.spec.kind == "ner" and (broken := sum(s.discontinuous for e in task.test for s in spans_of(e))):
        say(f"task {task.spec.name}: {broken:,} discontinuous entities in test, all missed by every head")


def _score_model(name: str, where: str, task: Task, evaluation: Evaluation, shared: Shared) -> None:
    """The seeds of one model on one task that results.jsonl lacks, and the baselines where it lacks all."""
    settings, results = evaluation.settings, evaluation.results
    protocol = protocol_under(task, settings, evaluation.warm_start)
    rows = [s for s in read_scores(results) if (s.task, s.protocol) == (task.spec.name, protocol)]
    done = {(s.model, s.seed) for s in rows}
    missing = [seed for seed in range(settings.seeds) if (name, seed) not in done]
    if evaluation.keep is not None and task.spec.kind != "normalization":
        check_saved(evaluation.keep, name, task, missing, settings.seeds)
    if not missing:
        return
    if task.spec.kind == "normalization":
        if (name, 0) not in done:
            encoder = load_encoder(name, where, task, evaluation)
            append_row(evaluation.task_parts, *part_rows(task, name, encoder.tokenizer, shared))
            score_mentions(name, encoder, task, evaluation.folder, first=not done)
        return
    candidate = load_candidate(name, where, task, evaluation)
    append_row(evaluation.task_parts, *part_rows(task, name, candidate.encoder.tokenizer, shared))
    whole = candidate.whole
    if all(seed is not None for _, seed in done):
        append_row(results, *(baselines_of_folds(whole, candidate.folds) if candidate.folds else baselines(whole)))
    neighbours = f"{name}, nearest words"
    if (
        candidate.states is not None  # of a frozen body
        and isinstance(whole, Ner)
        and not candidate.folds
        and (neighbours, None) not in done
    ):
        candidate.states.read(whole, ("train", "test"), settings, candidate.passes.autocast, neighbours)
        with candidate.passes.autocast():  # the states are those that the heads are fitted on
            append_row(results, *nearest_words(whole, neighbours, candidate.states))
    by_cosine = f"{name}, cosine"
    if settings.body == "frozen" and isinstance(whole, Similarity) and (by_cosine, 0) not in done:
        score_cosines(whole, candidate.encoder, by_cosine, evaluation.folder)
    keys = _cache_keys(candidate, evaluation, missing)
    for seed in missing:
        cell = cache.read(evaluation.cache, keys[seed]) if evaluation.cache is not None else None
        if cell is None:
            cell = _fitted_cell(candidate, settings, seed, evaluation)
            if evaluation.cache is not None:
                cache.write(evaluation.cache, keys[seed], cell)
        write_predictions(evaluation.folder / "predictions", name, whole, seed, cell)
        if errors := errors_of(name, whole.task, whole.protocol, seed, cell.predicted):
            append_row(evaluation.folder / "errors.jsonl", errors)
        note = f"epoch {cell.epoch} of {cell.epochs} by dev" + (", median of the folds" if candidate.folds else "")
        if settings.trials and not candidate.folds:
            note += f", lr {cell.chosen['lr']:.2g} by dev of {settings.trials} trials"
        append_row(results, *(score_row(whole, name, metric, v, seed, note) for metric, v in cell.test.items()))


def _cache_keys(candidate: Candidate, evaluation: Evaluation, seeds: Iterable[int]) -> dict[int, str]:
    if evaluation.cache is None:
        return {}
    model, task = cache.digest_of_model(candidate.encoder), cache.digest_of_task(candidate.whole.task)
    if candidate.before is not None:
        task += cache.digest_of_task(candidate.before.task)
    through = ", through a copy" if candidate.passes.copy_in is not None else ""
    protocol, precision = candidate.whole.protocol, evaluation.precision.name + through
    return {seed: cache.name_of(model, task, protocol, evaluation.settings, seed, precision) for seed in seeds}


def _fitted_cell(candidate: Candidate, settings: Eval, seed: int, evaluation: Evaluation) -> Cell:
    whole = candidate.whole
    fits = _fits(candidate, settings, seed, f"{whole.task.spec.name}, {candidate.name}", True, evaluation)
    fitted = pooled(whole, fits) if candidate.folds else fits[0]
    predicted = [[plain(item) for item in in_order(items)] for items in fitted.decided]
    tallies = whole.tallies("test", fitted.decided).astype(float).tolist()
    lr = {"lr": candidate.tuned[0].lr} if settings.trials and not candidate.folds else {}
    chosen = {**fitted.chosen, **lr}
    return Cell(fitted.epoch, chosen, fitted.dev, fitted.test, predicted, tallies, fitted.epochs)


def _fits(
    candidate: Candidate, settings: Eval, seed: int, label: str, test: bool, evaluation: Evaluation
) -> list[Fitted]:
    """The model fine-tuned with one seed on each part of the task. test: whether test is predicted."""
    encoder, passes, states = candidate.encoder, candidate.passes, candidate.states
    keep = evaluation.keep if test else None
    before = copy.deepcopy(encoder.model.state_dict()) if keep else {}
    fits = []
    for number, part in enumerate(candidate.parts):
        what = f"{label}, fold {number + 1} of {len(candidate.folds)}" if candidate.folds else label
        if states is not None:
            states.read(part, ("train", "dev", "test") if test else ("train", "dev"), settings, passes.autocast, what)
        if number not in candidate.tuned:
            candidate.tuned[number] = tuned_by_dev(encoder, part, candidate.before, settings, passes, what, states)
        with (
            warm(encoder, part, candidate.before, settings, seed, passes, what) as fresh,
            progress(f"{what}, seed {seed}", 1.0) as bar,
        ):
            fitted = fit(
                encoder, part, candidate.tuned[number], seed, passes, bar.update,
                last=test, fresh_head=fresh, restore=keep is None, states_of=states,
            )  # fmt: skip
            fits.append(fitted)
            if keep is not None:
                keep_best(keep, candidate, number, fitted, seed)
                encoder.model.load_state_dict(before)
    return fits
