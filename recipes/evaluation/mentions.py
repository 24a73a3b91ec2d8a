"""Scores of normalization, into results.jsonl and predictions/: by a model's embeddings, by spelling, by chance."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from medlingua.adapters.encoder import Encoder
from medlingua.languages.task import Task
from medlingua.recipes import machine
from medlingua.recipes.evaluation.cache import Cell
from medlingua.recipes.evaluation.results import score_row, write_predictions
from medlingua.recipes.evaluation.tasks.normalization import Normalization
from medlingua.reports.read import append_row
from medlingua.reports.rows import Score

STRING = "same spelling"
CHANCE = "chance"
REACHABLE = "codes with a term, upper bound"
_NOTE = "cosine of mean hidden states, nothing trained"


def score_mentions(name: str, encoder: Encoder, task: Task, folder: Path, first: bool) -> None:
    """Score a model on the test mentions of a task, into results.jsonl and predictions/ of the folder.

    It counts as one seed, so that it has an interval over documents. first: whether no model has been scored on the
    task yet; the baselines are then written, too.
    """
    model = Normalization(task)
    if first:
        append_row(folder / "results.jsonl", *_baselines(model))
    rankings, scores = _scored(model, "test", name, encoder)
    cell = Cell(
        0, {}, {}, scores, model.plain("test", rankings), model.tallies("test", rankings).astype(float).tolist()
    )
    write_predictions(folder / "predictions", name, model, 0, cell)
    append_row(folder / "results.jsonl", *_rows(model, name, scores, 0, _note(model)))


def dev_rows(name: str, encoder: Encoder, task: Task, seeds: Iterable[int]) -> list[Score]:
    """The scores on dev, the same for each seed."""
    model = Normalization(task)
    _, scores = _scored(model, "dev", name, encoder)
    return [
        score_row(model, name, metric, value, seed, _note(model), "dev")
        for seed in seeds
        for metric, value in scores.items()
    ]


def _scored(
    model: Normalization, part: str, name: str, encoder: Encoder
) -> tuple[list[list[tuple[str, ...]]], dict[str, float]]:
    encoder.model.eval().to(machine.device())
    rankings = model.by_embedding(part, encoder, name)
    return rankings, model.score(part, rankings)


def _baselines(model: Normalization) -> Iterator[Score]:
    note = "codes of terms spelt like the mention, but for case and accents"
    yield from _rows(model, STRING, model.score("test", model.by_string("test")), None, note)
    yield from _rows(model, CHANCE, model.chance("test"), None, f"{len(model.codes):,} codes in a random order")
    bound = {model.main_metric: model.upper_bound("test")}
    yield from _rows(model, REACHABLE, bound, None, "mentions whose code has a term")


def _rows(
    model: Normalization, name: str, scores: Mapping[str, float], seed: int | None, note: str
) -> Iterator[Score]:
    for metric, value in scores.items():
        yield score_row(model, name, metric, value, seed, note)


def _note(model: Normalization) -> str:
    return f"{_NOTE}; {len(model.codes):,} codes, {len(model.terms):,} terms"
