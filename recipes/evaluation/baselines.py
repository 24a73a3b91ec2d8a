"""Scores that need no training: what a model must beat, and the best that its head could reach."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from medlingua.adapters.encoder import Encoder
from medlingua.recipes.evaluation.cache import Cell
from medlingua.recipes.evaluation.finetune import TaskModel
from medlingua.recipes.evaluation.reading import States
from medlingua.recipes.evaluation.results import score_row, write_predictions
from medlingua.recipes.evaluation.tasks import nearest
from medlingua.recipes.evaluation.tasks.answers import Answers
from medlingua.recipes.evaluation.tasks.choice import Choice
from medlingua.recipes.evaluation.tasks.labels import Labels
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.recipes.evaluation.tasks.similarity import Similarity, correlations, cosines, value_of
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.evaluation.tasks.tagging import Tagging
from medlingua.reports.read import append_row
from medlingua.reports.rows import Score

BASELINE = "majority"
MEAN = "train's mean"
PRIOR = "label shares"
DICTIONARY = "dictionary"
UPPER_BOUND = "flat tags, upper bound"
SPAN_BOUND = "span head, upper bound"


def baselines(model: TaskModel) -> Iterator[Score]:
    """What needs no training: the majority answer, or what flat tags can reach at best."""
    if isinstance(model, Ner):
        bound = SPAN_BOUND if isinstance(model, SpanNer) else UPPER_BOUND
        yield score_row(model, bound, model.main_metric, model.upper_bound("test"), None, "")
        for metric, value in model.by_dictionary("test").items():
            yield score_row(model, DICTIONARY, metric, value, None, "train's mentions found again, word by word")
    elif isinstance(model, Tagging):
        for metric, value in model.by_word_form("test").items():
            yield score_row(model, DICTIONARY, metric, value, None, "each word form's most frequent tag in train")
    elif isinstance(model, Answers):
        baselines = (("no answer", model.silent("test")), ("likest sentence", model.by_overlap("test")))
        for name, values in baselines:
            for metric, value in values.items():
                yield score_row(model, name, metric, value, None, "nothing trained")
    elif isinstance(model, Similarity):
        for metric, value in model.constant("test").items():
            yield score_row(model, MEAN, metric, value, None, "train's mean value for every pair")
    elif isinstance(model, Labels | Pairs | Choice):
        for metric, value in model.majority("test").items():
            yield score_row(model, BASELINE, metric, value, None, "always train's most frequent label")
        if isinstance(model, Labels) and model.multi:
            for metric, value in model.prior("test").items():
                note = "train's label shares for every document, by dev's threshold"
                yield score_row(model, PRIOR, metric, value, None, note)


def baselines_of_folds(model: TaskModel, folds: Sequence[TaskModel]) -> Iterator[Score]:
    """What each fold's train set gives without training, the mean over folds; a bound holds for all at once."""
    scores_of: dict[tuple[str, str], list[Score]] = {}
    for fold in folds:
        for score in baselines(fold):
            scores_of.setdefault((score.model, score.metric), []).append(score)
    for (name, metric), scores in scores_of.items():
        if isinstance(model, Ner) and name in (UPPER_BOUND, SPAN_BOUND):
            yield score_row(model, name, metric, model.upper_bound("test"), None, "")
            continue
        mean, note = fmean(s.value for s in scores), f"{scores[0].note}; mean over folds"
        yield score_row(model, name, metric, mean, None, note)


def score_cosines(model: Similarity, encoder: Encoder, name: str, folder: Path) -> None:
    """The cosine of frozen embeddings on the test pairs, into results.jsonl and predictions/.

    It counts as one seed, so that it has an interval over pairs.
    """
    predictions = cosines(encoder, model.task.test)
    scores = correlations(np.array([value_of(example) for example in model.task.test]), predictions)
    predicted = [[value] for value in predictions.tolist()]
    cell = Cell(0, {}, {}, scores, predicted, model.tallies("test", predicted).astype(float).tolist())
    write_predictions(folder / "predictions", name, model, 0, cell)
    note = "cosine of mean hidden states, nothing trained"
    append_row(
        folder / "results.jsonl", *(score_row(model, name, metric, v, 0, note) for metric, v in scores.items())
    )


def nearest_words(model: Ner, name: str, states_of: States | None) -> Iterator[Score]:
    """Tags of the nearest words of train, by the model's hidden states."""
    task, label = model.task, f"{model.task.spec.name}, {name}"
    train = nearest.read(model.encoder, task.train, model.read("train"), model.spacy, f"{label}, train", states_of)
    test = nearest.read(model.encoder, task.test, model.read("test"), model.spacy, f"{label}, test", states_of)
    tags = nearest.tag(test, train, model.read("test"))
    for metric, value in model.score("test", tags).items():
        yield score_row(model, name, metric, value, None, "tags of the nearest words of train, nothing trained")
