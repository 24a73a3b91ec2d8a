"""What a protocol's id stands for: how a score came about, and so what it may be ranked with.

An id is a name and a version, "ner-strict/1", and what a run chose besides, after commas: "ner-strict/1, frozen
body". A change that moves scores makes a new version.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

_SPANS = "label and all character borders equal, each gold entity once; nested and discontinuous gold counts"
_ONE_LABEL = "the one label equal, case and all"
_SPLITS = "the authors' where the task names them; else 70/10/20 by a hash of the document or its group"
_EPOCH = "best epoch on dev by the main metric; test is read once"
_WINDOWS = "read whole, in overlapping windows where it exceeds the model; each token is owned by one window"
_SEEDS = "each seed draws head, order and dropout; eval.lr and eval.epochs, the same for every model"
_UNTRAINED = "nothing is drawn"


@dataclass(frozen=True, slots=True)
class Protocol:
    """metric, matching, averaging, splits, choice (of the model and its thresholds), documents (longer than the
    model), training (seeds and hyperparameters); in words, "" where it is not known of a published score."""

    name: str
    version: int
    metric: str
    matching: str
    averaging: str
    splits: str
    choice: str
    documents: str
    training: str

    @property
    def id(self) -> str:
        return f"{self.name}/{self.version}"


PARTS = tuple(field.name for field in fields(Protocol) if field.name not in ("name", "version"))

_RECORDS = (
    Protocol(
        "ner-strict", 1, "F1 of entities", _SPANS, "micro, over all entities of all documents", _SPLITS, _EPOCH,
        _WINDOWS, _SEEDS,
    ),
    Protocol(
        "labels-single", 1, "F1 of labels", _ONE_LABEL, "macro, over the labels of test's gold", _SPLITS, _EPOCH,
        _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "labels-multi", 1, "F1 of labels; MAP beside", "each label of a document equal", "micro, over all labels",
        _SPLITS, _EPOCH + "; one threshold for all labels, best on dev", _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "relations", 1, "F1 of relations", "the label of each candidate pair equal",
        "micro, without the label of no relation", _SPLITS, _EPOCH, _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "pairs-single", 1, "F1 of labels", _ONE_LABEL, "macro, over the labels of test's gold", _SPLITS, _EPOCH,
        _WINDOWS + "; the first text opens every window of the second", _SEEDS,
    ),
    Protocol(
        "pairs-perturbed", 1, "F1 of the positive label; faithfulness and consistency beside",
        "the one label equal; of changed items, against the prediction or the gold of their source",
        "over the control set, which nobody changed", _SPLITS, _EPOCH,
        _WINDOWS + "; the first text opens every window of the second", _SEEDS,
    ),
    Protocol(
        "similarity", 1, "Spearman's correlation; EDRM beside", "values on the task's scale, cut to it",
        "over the pairs of test", _SPLITS, _EPOCH, _WINDOWS + "; the first text opens every window of the second",
        _SEEDS,
    ),
    Protocol(
        "choice", 1, "exact match", "the set of right options and no other", "mean over questions", _SPLITS,
        _EPOCH + "; one threshold, best on dev", _WINDOWS + "; the question opens every window of an option", _SEEDS,
    ),
    Protocol(
        "answers", 1, "F1 of words", "words after SQuAD's rules, best over the gold answers", "mean over questions",
        _SPLITS, _EPOCH + "; the margin of no answer, best on dev",
        _WINDOWS + "; the question opens every window", _SEEDS,
    ),
    Protocol(
        "terms-retrieval", 1, "share found", "the English name of the same thing is nearest", "mean over names",
        "things of no name that training saw", "the model as it is", "names are short", _UNTRAINED,
    ),
    Protocol(
        "terms-hierarchy", 1, "rank correlation", "likeness of names against steps in the hierarchy",
        "over pairs of things", "things of no name that training saw", "the model as it is", "names are short",
        _UNTRAINED,
    ),
)  # fmt: skip
_BY_ID = {record.id: record for record in _RECORDS}


def _frozen(record: Protocol, match: re.Match[str]) -> Protocol:
    return replace(record, training=record.training + "; a linear head on states that stay")


def _tuned(record: Protocol, match: re.Match[str]) -> Protocol:
    told = f"; learning rate best on dev of {match[1]} trials, the same for every model"
    return replace(record, training=record.training + told)


def _span_head(record: Protocol, match: re.Match[str]) -> Protocol:
    return replace(record, training=record.training + "; a span head, which may say entities inside entities")


def _folds(record: Protocol, match: re.Match[str]) -> Protocol:
    told = f"{match[1]} folds by a hash of the document or its group: each is tested once, the next one is dev"
    return replace(record, splits=told, averaging=record.averaging + "; all folds at once")


def _elsewhere(record: Protocol, match: re.Match[str]) -> Protocol:
    told = (
        f"train and dev in {match[1]}, test in the task's language; no case of test is learnt from, in any language"
    )
    return replace(record, splits=f"{record.splits}; {told}")


def _after(record: Protocol, match: re.Match[str]) -> Protocol:
    told = f"; learnt after the train set of {match[1]}, without documents that test has"
    return replace(record, training=record.training + told)


_VARIANTS: tuple[tuple[re.Pattern[str], Callable[[Protocol, re.Match[str]], Protocol]], ...] = (
    (re.compile(r"frozen body"), _frozen),
    (re.compile(r"tuned in (\d+) trials"), _tuned),
    (re.compile(r"span head"), _span_head),
    (re.compile(r"(\d+) folds"), _folds),
    (re.compile(r"after ([\w.-]+)"), _after),
    (re.compile(r"learnt on (\w+)"), _elsewhere),
)


def protocol_of(identifier: str) -> Protocol | None:
    """The record of a score's protocol id; None for one that this version does not know."""
    base, *chosen = identifier.split(", ")
    record = _BY_ID.get(base)
    for words in chosen:
        known = [(change, match) for pattern, change in _VARIANTS if (match := pattern.fullmatch(words))]
        if record is None or not known:
            return None
        ((change, match),) = known
        record = change(record, match)
    return record
