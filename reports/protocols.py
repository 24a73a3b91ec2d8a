"""Protocols: what the id of a score means, and so which scores it may be ranked with.

An id is a name and a version, "ner-strict/1", followed by the options of a run: "ner-strict/1, frozen body". A change
to the code that changes scores makes a new version.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

_SPANS = "same label and character offsets, each gold entity once; nested and discontinuous entities count"
_ONE_LABEL = "same label, case-sensitive"
_SPLITS = "the original ones where they exist; else 70/10/20 by a hash of the document or its group"
_EPOCH = "best epoch on dev by the main metric; test is scored once"
_WINDOWS = "read whole, in overlapping windows if longer than the model; each token is predicted in one window"
_SEEDS = "a seed decides head, order and dropout; eval.lr and eval.epochs are the same for every model"
UNTRAINED = "no training"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a score is measured, in words; "" where it is not known of a published score.

    choice: of the model and its thresholds. documents: how documents longer than the model are read. training: seeds
    and hyperparameters.
    """

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
        "tagging", 1, "F1 of tags; also accuracy", "same tag of the same word, whose borders the data set gives",
        "macro, over the tags of the test set", _SPLITS, _EPOCH, _WINDOWS, _SEEDS,
    ),
    Protocol(
        "labels-single", 1, "F1 of labels", _ONE_LABEL, "macro, over the labels of the test set", _SPLITS, _EPOCH,
        _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "labels-multi", 1, "F1 of labels; also MAP", "same label of the same document", "micro, over all labels",
        _SPLITS, _EPOCH + "; one threshold for all labels, best on dev", _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "relations", 1, "F1 of relations", "same label of the same candidate pair",
        "micro, without the label for no relation", _SPLITS, _EPOCH, _WINDOWS + "; tokens averaged", _SEEDS,
    ),
    Protocol(
        "pairs-single", 1, "F1 of labels", _ONE_LABEL, "macro, over the labels of the test set", _SPLITS, _EPOCH,
        _WINDOWS + "; every window of the second text starts with the first", _SEEDS,
    ),
    Protocol(
        "pairs-perturbed", 1, "F1 of the positive label; also faithfulness and consistency",
        "same label; changed items are compared with the prediction or the gold label of their source",
        "over the unchanged control set", _SPLITS, _EPOCH,
        _WINDOWS + "; every window of the second text starts with the first", _SEEDS,
    ),
    Protocol(
        "similarity", 1, "Spearman's correlation; also Pearson's, and EDRM",
        "values, clipped to the scale of the task",
        "over the pairs of the test set", _SPLITS, _EPOCH,
        _WINDOWS + "; every window of the second text starts with the first",
        _SEEDS,
    ),
    Protocol(
        "choice", 1, "exact match", "exactly the set of correct options", "mean over questions", _SPLITS,
        _EPOCH + "; one threshold, best on dev", _WINDOWS + "; every window of an option starts with the question",
        _SEEDS,
    ),
    Protocol(
        "answers", 1, "F1 of words", "words normalized as in SQuAD, best over the gold answers",
        "mean over questions",
        _SPLITS, _EPOCH + "; the margin for no answer, best on dev",
        _WINDOWS + "; every window starts with the question", _SEEDS,
    ),
    Protocol(
        "normalization", 1, "accuracy at 1; also at 5", "the mention's code is that of the nearest term, by cosine",
        "micro, over all mentions of all documents", _SPLITS, "the model without fine-tuning",
        "mentions are read without their documents", UNTRAINED,
    ),
    Protocol(
        "terms-retrieval", 1, "share of names found", "the English name of the same concept is nearest",
        "mean over names",
        "concepts whose names were not trained on", "the model without fine-tuning", "names are short", UNTRAINED,
    ),
    Protocol(
        "terms-hierarchy", 1, "rank correlation", "similarity of names against distance in the hierarchy",
        "over pairs of concepts", "concepts whose names were not trained on", "the model without fine-tuning",
        "names are short",
        UNTRAINED,
    ),
)  # fmt: skip
_BY_ID = {record.id: record for record in _RECORDS}


def _frozen(record: Protocol, match: re.Match[str]) -> Protocol:
    rate = "0.01" if match[1] else "0.001"
    option = f"; a linear head on frozen hidden states, with a learning rate of {rate} unless eval.head_lr is given"
    return replace(record, training=record.training + option)


def _tuned(record: Protocol, match: re.Match[str]) -> Protocol:
    option = f"; learning rate best on dev of {match[1]} trials, the same trials for every model"
    return replace(record, training=record.training + option)


def _span_head(record: Protocol, match: re.Match[str]) -> Protocol:
    return replace(record, training=record.training + "; a span head, which can predict nested entities")


def _first_token(record: Protocol, match: re.Match[str]) -> Protocol:
    documents = record.documents.removesuffix("; tokens averaged")
    return replace(record, documents=f"{documents}; labels read from the first token, averaged over windows")


def _folds(record: Protocol, match: re.Match[str]) -> Protocol:
    splits = f"{match[1]} folds by a hash of the document or its group: each is tested once, the next one is dev"
    return replace(record, splits=splits, averaging=record.averaging + "; all folds at once")


def _cross_lingual(record: Protocol, match: re.Match[str]) -> Protocol:
    option = f"train and dev in {match[1]}, test in the language of the task; no test case is in train or dev"
    return replace(record, splits=f"{record.splits}; {option}")


def _warm_start(record: Protocol, match: re.Match[str]) -> Protocol:
    option = f"; first trained on the train set of {match[1]}, without documents of the test set"
    return replace(record, training=record.training + option)


def _cut_questions(record: Protocol, match: re.Match[str]) -> Protocol:
    return replace(record, documents=f"{record.documents}; questions too long for a model are cut for it")


_VARIANTS: tuple[tuple[re.Pattern[str], Callable[[Protocol, re.Match[str]], Protocol]], ...] = (
    (re.compile(r"frozen body(/2)?"), _frozen),
    (re.compile(r"tuned in (\d+) trials"), _tuned),
    (re.compile(r"span head"), _span_head),
    (re.compile(r"first token"), _first_token),
    (re.compile(r"(\d+) folds"), _folds),
    (re.compile(r"after ([\w.-]+)"), _warm_start),
    (re.compile(r"learnt on (\w+)"), _cross_lingual),
    (re.compile(r"long questions cut"), _cut_questions),
)


def protocol_of(identifier: str) -> Protocol | None:
    """The protocol of an id; None for one that this version does not know."""
    base, *options = identifier.split(", ")
    record = _BY_ID.get(base)
    for option in options:
        known = [(change, match) for pattern, change in _VARIANTS if (match := pattern.fullmatch(option))]
        if record is None or not known:
            return None
        ((change, match),) = known
        record = change(record, match)
    return record
