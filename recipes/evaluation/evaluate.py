"""Scores: every model, every task, every seed, by the same code; cell by cell, so a stopped run goes on."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, Protocol, TypeGuard

import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.languages.annotations import Span
from medlingua.languages.errors import InputError
from medlingua.languages.task import Task
from medlingua.languages.words import words
from medlingua.recipes import machine
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.cache import Cell, digest_of_model, digest_of_task, keep, name_of, read
from medlingua.recipes.evaluation.cached_states import KeptStates
from medlingua.recipes.evaluation.finetune import Fitted, TaskModel, fit
from medlingua.recipes.evaluation.tasks import nearest
from medlingua.recipes.evaluation.tasks.answers import Answers
from medlingua.recipes.evaluation.tasks.choice import Choice
from medlingua.recipes.evaluation.tasks.labels import Labels, protocol_of_labels
from medlingua.recipes.evaluation.tasks.ner import Ner, all_scores, spans_of, tallies_of
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.recipes.evaluation.tasks.perturbed import Perturbed
from medlingua.recipes.evaluation.tasks.similarity import Similarity
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.evaluation.trials import tuned_by_dev
from medlingua.recipes.evaluation.warm_start import warm, without_tested
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import Tally
from medlingua.reports.read import append_row, read_scores, write_whole
from medlingua.reports.rows import Score

BASELINE = "majority"
MEAN = "train's mean"
PRIOR = "label shares"
DICTIONARY = "dictionary"
UPPER_BOUND = "flat tags, upper bound"
SPAN_BOUND = "span head, upper bound"


def score_models(
    models: Mapping[str, str],
    tasks: Iterable[Task],
    settings: Eval,
    spacy: str,
    folder: Path,
    *,
    allow: Iterable[Permission] = (),
    precision: machine.Precision,
    cells: Path | None = None,
    first: Task | None = None,
) -> None:
    """Fine-tune and score each model (name -> folder or hub id), into results.jsonl and predictions/.

    Scores that results.jsonl holds already are not computed again. cells: a folder of cells kept by content, which
    decide instead: results.jsonl is written anew from them, and what they lack is computed. first: the task of
    settings.warm_start, learnt before each other one.
    """
    if first is not None and settings.body == "frozen":
        raise InputError("eval.warm_start trains the body, and eval.body = 'frozen' keeps it: leave one of them out")
    results = folder / "results.jsonl"
    if cells is not None:
        results.unlink(missing_ok=True)
    for task in tasks:
        for number, tested in enumerate(task.folds or (task,), 1):
            if tested.unseen:
                counted = ", ".join(f"{label} ({n})" for label, n in tested.unseen.items())
                fold = f", fold {number}" if task.folds else ""
                say(f"task {task.spec.name}{fold}: labels that only test has, all missed: {counted}")
        if task.learnt_on:
            say(
                f"task {task.spec.name}: learnt on {task.learnt_on}; {task.left_out:,} cases of train and dev are "
                "left out, which test has too"
            )
        if task.spec.kind == "ner" and (broken := sum(s.discontinuous for e in task.test for s in spans_of(e))):
            say(f"task {task.spec.name}: {broken:,} discontinuous entities in test, all missed by every head")
        for name, where in models.items():
            protocol = protocol_under(task, settings, first)
            done = {
                (s.model, s.seed) for s in read_scores(results) if (s.task, s.protocol) == (task.spec.name, protocol)
            }
            missing = [seed for seed in range(settings.seeds) if (name, seed) not in done]
            if not missing:
                continue
            encoder = encoders.load(where, head="fresh", allow=allow)  # a task needs no masked-LM head
            encoder.model.to(machine.device())
            states_of = KeptStates(encoder) if settings.body == "frozen" else None
            model = _task_model(task, encoder, spacy, settings)
            folds = [_task_model(fold, encoder, spacy, settings) for fold in task.folds]
            before = None
            if _is_before(first, task):
                before = _task_model(without_tested(first, task), encoder, spacy, settings)
            model.protocol = protocol
            if all(seed is not None for _, seed in done):
                append_row(results, *(_bounds_of_folds(model, folds) if folds else _bounds(model)))
            if settings.body == "frozen" and isinstance(model, Ner):
                append_row(results, *_by_neighbours(model, f"{name}, nearest words", done))
            digests = None
            if cells is not None:
                read_first = digest_of_task(before.task) if before is not None else ""
                digests = digest_of_model(encoder), digest_of_task(task) + read_first
            tuned: dict[int, Eval] = {}
            for seed in missing:
                cell, kept = None, ""
                if cells is not None and digests is not None:
                    kept = name_of(*digests, model.protocol, settings, seed, precision.name)
                    cell = read(cells, kept)
                if cell is None:
                    autocast = _autocast(encoder, precision)
                    what = f"{task.spec.name}, {name}"
                    found = []
                    for number, part in enumerate(folds or [model]):
                        of = f"{what}, fold {number + 1} of {len(folds)}" if folds else what
                        if states_of is not None:
                            states_of.read(part, ("train", "dev", "test"), settings, autocast, of)
                        if number not in tuned:
                            tuned[number] = tuned_by_dev(encoder, part, before, settings, autocast, of, states_of)
                        with (
                            warm(encoder, part, before, settings, seed, autocast, of) as fresh,
                            progress(f"{of}, seed {seed}", 1.0) as bar,
                        ):
                            fitted = fit(
                                encoder, part, tuned[number], seed, autocast, bar.update,
                                fresh_head=fresh, states_of=states_of,
                            )  # fmt: skip
                            found.append(fitted)
                    fitted = pooled(model, found) if folds else found[0]
                    said = [[_plain(item) for item in _ordered(items)] for items in fitted.decided]
                    tallies = model.tallies("test", fitted.decided).astype(float).tolist()
                    chosen = {**fitted.chosen, **({"lr": tuned[0].lr} if settings.trials and not folds else {})}
                    cell = Cell(fitted.epoch, chosen, fitted.dev, fitted.test, said, tallies)
                    if cells is not None:
                        keep(cells, kept, cell)
                _write_predictions(folder / "predictions", name, model, seed, cell)
                note = f"epoch {cell.epoch} by dev" + (", median of the folds" if folds else "")
                if settings.trials and not folds:
                    note += f", lr {cell.chosen['lr']:.2g} by dev of {settings.trials} trials"
                append_row(results, *(_score(model, name, metric, v, seed, note) for metric, v in cell.test.items()))


def pooled(model: TaskModel, folds: Sequence[Fitted]) -> Fitted:
    """The folds as one: every document was tested in one of them, and all are scored at once. model: of the whole
    task. Epoch and dev are told as median and mean."""
    decided = [said for fold in folds for said in fold.decided]
    dev = {metric: fmean(fold.dev[metric] for fold in folds) for metric in folds[0].dev}
    return Fitted(int(median(f.epoch for f in folds)), {}, dev, model.score("test", decided), decided)


def _bounds_of_folds(model: TaskModel, folds: Sequence[TaskModel]) -> Iterator[Score]:
    """What each fold's train set gives without training, the mean over folds."""
    found: dict[tuple[str, str], list[Score]] = {}
    for fold in folds:
        for score in _bounds(fold):
            found.setdefault((score.model, score.metric), []).append(score)
    for (name, metric), scores in found.items():
        yield _score(model, name, metric, fmean(s.value for s in scores), None, f"{scores[0].note}; mean over folds")


def score_dev(
    where: str,
    tasks: Iterable[Task],
    settings: Eval,
    spacy: str,
    folder: Path,
    *,
    allow: Iterable[Permission] = (),
    precision: machine.Precision,
    first: Task | None = None,
) -> list[Score]:
    """Fine-tune the model in `where` on each task with each seed and score it on dev, into results.jsonl of `folder`.

    Test is never looked at: this is what settings are chosen by (TRAPS V6). Returns all dev scores of the folder;
    those that it holds already are not computed again. first: as of score_models.
    """
    results = folder / "results.jsonl"
    done = {(s.task, s.seed) for s in read_scores(results) if s.split == "dev"}
    for task in tasks:
        missing = [seed for seed in range(settings.seeds) if (task.spec.name, seed) not in done]
        if not missing:
            continue
        encoder = encoders.load(where, head="fresh", allow=allow)
        encoder.model.to(machine.device())
        model = _task_model(task, encoder, spacy, settings)
        parts = [_task_model(fold, encoder, spacy, settings) for fold in task.folds] or [model]
        before = None
        if _is_before(first, task):
            before = _task_model(without_tested(first, task), encoder, spacy, settings)
        model.protocol = protocol_under(task, settings, first)
        autocast, what = _autocast(encoder, precision), f"{task.spec.name} on dev"
        states_of = KeptStates(encoder) if settings.body == "frozen" else None
        if states_of is not None:
            for part in parts:
                states_of.read(part, ("train", "dev"), settings, autocast, what)
        tuned = [tuned_by_dev(encoder, part, before, settings, autocast, what, states_of) for part in parts]
        for seed in missing:
            found = []
            for part, how in zip(parts, tuned, strict=True):
                with (
                    warm(encoder, part, before, settings, seed, autocast, what) as fresh,
                    progress(f"{what}, seed {seed}", 1.0) as bar,
                ):
                    fitted = fit(
                        encoder, part, how, seed, autocast, bar.update,
                        last=False, fresh_head=fresh, states_of=states_of,
                    )  # fmt: skip
                    found.append(fitted)
            note = f"epoch {found[0].epoch} by dev" if len(found) == 1 else f"mean over dev of {len(found)} folds"
            means = {metric: fmean(one.dev[metric] for one in found) for metric in found[0].dev}
            append_row(results, *(_score(model, "trained", m, v, seed, note, "dev") for m, v in means.items()))
    return [s for s in read_scores(results) if s.split == "dev"]


def protocol_under(task: Task, settings: Eval, first: Task | None = None) -> str:
    """The protocol id of a task under these settings; `reports.protocols` tells what it stands for."""
    spec = task.spec
    match spec.kind:
        case "ner":
            words = [SpanNer.protocol if settings.ner_head == "spans" else Ner.protocol]
        case "pairs":
            words = [Pairs.protocol if spec.positive is None else Perturbed.protocol]
        case "similarity":
            words = [Similarity.protocol]
        case "answers":
            words = [Answers.protocol]
        case "choice":
            words = [Choice.protocol]
        case _:
            words = [protocol_of_labels(spec)]
    if task.folds:
        words.append(f"{len(task.folds)} folds")
    if _is_before(first, task):
        words.append(f"after {first.spec.name}")
    if task.learnt_on:
        words.append(f"learnt on {task.learnt_on}")
    if settings.body == "frozen":
        words.append("frozen body")
    if settings.trials:
        words.append(f"tuned in {settings.trials} trials")
    return ", ".join(words)


def _is_before(first: Task | None, task: Task) -> TypeGuard[Task]:
    return first is not None and first.spec.name != task.spec.name


def _task_model(task: Task, encoder: Encoder, spacy: str, settings: Eval) -> TaskModel:
    match task.spec.kind:
        case "ner":
            return SpanNer(task, encoder, spacy) if settings.ner_head == "spans" else Ner(task, encoder, spacy)
        case "pairs":
            return Perturbed(task, encoder) if task.spec.positive is not None else Pairs(task, encoder)
        case "similarity":
            return Similarity(task, encoder)
        case "answers":
            return Answers(task, encoder, spacy)
        case "choice":
            return Choice(task, encoder)
        case _:
            return Labels(task, encoder)


def _autocast(encoder: Encoder, precision: machine.Precision) -> Callable[[], Any]:
    enabled = precision.name == "bf16"
    return lambda: torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=enabled)


def _bounds(model: TaskModel) -> Iterator[Score]:
    """What needs no training: the majority answer, or what flat tags can reach at best."""
    if isinstance(model, Ner):
        bound = SPAN_BOUND if isinstance(model, SpanNer) else UPPER_BOUND
        yield _score(model, bound, model.main_metric, model.upper_bound("test"), None, "")
        for metric, value in model.by_dictionary("test").items():
            yield _score(model, DICTIONARY, metric, value, None, "train's mentions found again, word by word")
    elif isinstance(model, Answers):
        baselines = (("no answer", model.silent("test")), ("likest sentence", model.by_overlap("test")))
        for name, values in baselines:
            for metric, value in values.items():
                yield _score(model, name, metric, value, None, "nothing trained")
    elif isinstance(model, Similarity):
        for metric, value in model.constant("test").items():
            yield _score(model, MEAN, metric, value, None, "train's mean value for every pair")
    elif isinstance(model, Labels | Pairs | Choice):
        for metric, value in model.majority("test").items():
            yield _score(model, BASELINE, metric, value, None, "always train's most frequent label")
        if isinstance(model, Labels) and model.multi:
            for metric, value in model.prior("test").items():
                note = "train's label shares for every document, by dev's threshold"
                yield _score(model, PRIOR, metric, value, None, note)


def _by_neighbours(model: Ner, name: str, done: set[tuple[str, int | None]]) -> Iterator[Score]:
    if (name, None) in done:
        return
    known = nearest.read(model.encoder, model.task.train, model.read("train"), model.spacy)
    wanted = nearest.read(model.encoder, model.task.test, model.read("test"), model.spacy)
    said = nearest.tag(wanted, known, model.read("test"))
    for metric, value in model.score("test", said).items():
        yield _score(model, name, metric, value, None, "tags of the nearest words of train, nothing trained")


def keep_answers(folder: Path, name: str, task: Task, spacy: str, spans: list[tuple[Span, ...]], note: str) -> None:
    """Score spans of a NER task's test documents that came from elsewhere, beside what results.jsonl holds already.

    They count as one seed: how another draw would come out is not known.
    """
    said = _FromElsewhere(task)
    scores = all_scores(task.test, spans, [words(example.document.text, spacy) for example in task.test])
    plain = [[_plain(span) for span in of] for of in spans]
    tallies = tallies_of(task.test, spans).astype(float).tolist()
    _write_predictions(folder / "predictions", name, said, 0, Cell(0, {}, {}, scores, plain, tallies))
    append_row(
        folder / "results.jsonl", *(_score(said, name, metric, value, 0, note) for metric, value in scores.items())
    )


class _Scored(Protocol):
    """What a score says of how it came about."""

    protocol: str
    main_metric: str
    tally: Tally
    task: Task


class _FromElsewhere:
    def __init__(self, task: Task) -> None:
        self.task, self.protocol, self.main_metric, self.tally = task, Ner.protocol, Ner.main_metric, Ner.tally


def _score(
    model: _Scored,
    name: str,
    metric: str,
    value: float,
    seed: int | None,
    note: str,
    split: Literal["dev", "test"] = "test",
) -> Score:
    task = model.task
    examples = task.dev if split == "dev" else task.test
    return Score(
        model=name,
        task=task.spec.name,
        language=task.language,
        split=split,
        metric=metric,
        protocol=model.protocol,
        value=value,
        seed=seed,
        examples=len(examples),
        gold=sum(len(set(_items(e.gold))) for e in examples),
        synthetic=task.synthetic,
        note=note,
    )


def _items(gold: Any) -> Iterable[Any]:
    return [gold] if isinstance(gold, str | float) else gold


def _write_predictions(folder: Path, name: str, model: _Scored, seed: int, cell: Cell) -> None:
    """predictions/<task>-<model>-<seed>.jsonl: what was said of each test document, with dev's choices first."""
    folder.mkdir(exist_ok=True)
    head = {
        "task": model.task.spec.name, "language": model.task.language, "model": name, "seed": seed,
        "protocol": model.protocol, "metric": model.main_metric, "tally": model.tally,
    }  # fmt: skip
    lines = [json.dumps({**head, "epoch": cell.epoch, "chosen": cell.chosen, "dev": cell.dev})]
    for example, said, tally in zip(model.task.test, cell.predicted, cell.tallies, strict=True):
        row = {"id": example.id, "words": len(example.document.text.split()), "predicted": said, "tally": tally}
        lines.append(json.dumps(row, ensure_ascii=False))
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    write_whole(folder / f"{model.task.spec.name}-{safe}-{seed}.jsonl", "\n".join(lines) + "\n")


def _ordered(said: Iterable[Any]) -> list[Any]:
    if isinstance(said, list):  # answers, the best first
        return said
    return sorted(
        said, key=lambda item: (item.start, item.end, item.label) if isinstance(item, Span) else (0, 0, item)
    )


def _plain(item: Any) -> Any:
    return {"fragments": item.fragments, "label": item.label} if isinstance(item, Span) else item
