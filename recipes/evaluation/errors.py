"""Where a model errs: its test predictions against gold, counted by label, kind of error, length and place."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.results import file_name
from medlingua.reports.error_page import Shown
from medlingua.reports.rows import Counts, ErrorRow

Kind = Literal["correct", "label", "boundary", "both", "missed", "spurious"]
KINDS: tuple[Kind, ...] = ("correct", "label", "boundary", "both", "missed", "spurious")
_LENGTHS = ((100, "up to 100 words"), (400, "101 to 400 words"), (1_000, "401 to 1,000 words"))
_LONGEST = "more than 1,000 words"
_PLACES = ("first quarter", "second quarter", "third quarter", "last quarter")
_CONTEXT = 80  # characters on each side of an error
_COUNTED = ("ner", "classification", "multilabel", "relations", "pairs")


@dataclass(frozen=True, slots=True)
class Match:
    """A gold item with what was predicted in its place; one of them is None where there is none."""

    kind: Kind
    gold: Any
    predicted: Any


def errors_of(
    model: str, task: Task, protocol: str, seed: int, predicted: Sequence[Sequence[Any]]
) -> ErrorRow | None:
    """predicted: of each test document, as predictions/ has it. None for kinds whose items have no labels."""
    if task.spec.kind not in _COUNTED:
        return None
    matches = [matched(example, of) for example, of in zip(task.test, predicted, strict=True)]
    by_label = _Tally()
    by: dict[str, _Tally] = {"length": _Tally(), "place": _Tally(), "mention": _Tally()}
    seen = {(_surface(span, e), span.label) for e in task.train for span in _spans(e.gold)}
    for example, of in zip(task.test, matches, strict=True):
        length = _length(example.document.text)
        for match in of:
            by_label.add(match, lambda item: _label(item))
            by["length"].add(match, lambda item, length=length: length)
            if task.spec.kind == "ner":
                by["place"].add(match, lambda item, e=example: _place(item, e))
                by["mention"].add(
                    match,
                    lambda item, e=example: (
                        "seen in train" if (_surface(item, e), item.label) in seen else "not seen in train"
                    ),
                )
    order = {"length": (*(name for _, name in _LENGTHS), _LONGEST), "place": _PLACES, "mention": ()}
    every = [match for of in matches for match in of]
    kinds = Counter(match.kind for match in every)
    pairs = Counter(_confused(task, matches))
    return ErrorRow(
        model=model,
        task=task.spec.name,
        language=task.language,
        protocol=protocol,
        seed=seed,
        labels=by_label.counts(),
        groups={name: tally.counts(order[name]) for name, tally in by.items() if tally.gold},
        kinds={kind: kinds[kind] for kind in KINDS} if task.spec.kind == "ner" else {},
        confusion=tuple((gold, other, n) for (gold, other), n in sorted(pairs.items())),
        recovered=tuple(
            "".join("1" if m.kind == "correct" else "0" for m in of if m.gold is not None) for of in matches
        ),
    )


class _Tally:
    """Right, predicted and gold items by name."""

    def __init__(self) -> None:
        self.right, self.predicted, self.gold = Counter[str](), Counter[str](), Counter[str]()

    def add(self, match: Match, name: Any) -> None:
        if match.gold is not None:
            self.gold[name(match.gold)] += 1
            self.right[name(match.gold)] += match.kind == "correct"
        if match.predicted is not None:
            self.predicted[name(match.predicted)] += 1

    def counts(self, order: Sequence[str] = ()) -> tuple[Counts, ...]:
        names = order or sorted({*self.gold, *self.predicted})
        return tuple(
            Counts(name=n, right=self.right[n], predicted=self.predicted[n], gold=self.gold[n])
            for n in names
            if self.gold[n] or self.predicted[n]
        )


def matched(example: Example, predicted: Iterable[Any]) -> list[Match]:
    """Gold and predicted items, one to one, in the order of gold: equal ones first, then entities with the same
    borders, then overlapping ones of the same label, then other overlapping ones, those that share most first."""
    items = [*dict.fromkeys(map(item_of, predicted))]
    if isinstance(example.gold, tuple):
        return _matched_spans([*dict.fromkeys(example.gold)], items)
    gold = {example.gold} if isinstance(example.gold, str) else example.gold
    assert isinstance(gold, set | frozenset)
    both = [Match("correct", label, label) for label in sorted(gold & {*items})]
    missed = [Match("missed", label, None) for label in sorted(gold - {*items})]
    return [*both, *missed, *(Match("spurious", None, label) for label in sorted({*items} - gold))]


def _matched_spans(gold: list[Span], predicted: list[Span]) -> list[Match]:
    pairs: dict[int, tuple[Kind, int]] = {}
    taken: set[int] = set()
    for kind in ("correct", "label", "boundary", "both"):
        candidates = sorted(
            (
                (-shared, g, p)
                for g, span in enumerate(gold)
                for p, other in enumerate(predicted)
                if _kind(span, other) == kind and (shared := _shared(span, other))
            ),
        )
        for _, g, p in candidates:
            if g not in pairs and p not in taken:
                pairs[g] = kind, p
                taken.add(p)
    matches = [
        Match(pairs[g][0], span, predicted[pairs[g][1]]) if g in pairs else Match("missed", span, None)
        for g, span in enumerate(gold)
    ]
    return [*matches, *(Match("spurious", None, span) for p, span in enumerate(predicted) if p not in taken)]


def _kind(gold: Span, predicted: Span) -> Kind:
    if gold.fragments == predicted.fragments:
        return "correct" if gold.label == predicted.label else "label"
    return "boundary" if gold.label == predicted.label else "both"


def _shared(gold: Span, predicted: Span) -> int:
    """Characters that both have."""
    return sum(max(0, min(b, d) - max(a, c)) for a, b in gold.fragments for c, d in predicted.fragments)


def item_of(entry: Any) -> Any:
    """A span or label of a line of predictions/."""
    if isinstance(entry, dict):
        return Span(tuple((int(a), int(b)) for a, b in entry["fragments"]), str(entry["label"]))
    return entry


def _confused(task: Task, matches: Sequence[Sequence[Match]]) -> Iterator[tuple[str, str]]:
    """(gold label, predicted label) of the same item; of one label a text also those that are right."""
    if task.spec.kind == "multilabel":
        return
    for of in matches:
        if task.spec.kind == "ner":
            yield from (
                (m.gold.label, m.predicted.label) for m in of if m.gold is not None and m.predicted is not None
            )
        else:
            gold = next(m.gold for m in of if m.gold is not None)
            yield from ((gold, m.predicted) for m in of if m.predicted is not None)


def shown_errors(folder: Path, model: str, task: Task) -> Iterator[Shown]:
    """The errors of a model's first seed on test in their context; for labels of a text, its beginning."""
    if task.spec.kind not in _COUNTED:
        return
    name = f"{task.spec.name}-{file_name(model)}"
    parts = ((path, path.stem.rpartition("-")) for path in (folder / "predictions").glob(f"{name}-*.jsonl"))
    seeds = {int(seed): path for path, (of, _, seed) in parts if of == name and seed.isdigit()}
    if not seeds:
        return
    file = seeds[min(seeds)]
    lines = file.read_text(encoding="utf-8").splitlines()[1:]
    for example, line in zip(task.test, lines, strict=True):
        text = example.document.text
        for match in matched(example, json.loads(line)["predicted"]):
            if match.kind == "correct":
                continue
            item = match.gold if match.gold is not None else match.predicted
            start, end = (item.start, item.end) if isinstance(item, Span) else (0, 0)
            if isinstance(match.predicted, Span) and match.gold is not None:
                start, end = min(start, match.predicted.start), max(end, match.predicted.end)
            after = _CONTEXT if isinstance(item, Span) else 4 * _CONTEXT
            gold, predicted = ("" if side is None else _label(side) for side in (match.gold, match.predicted))
            yield Shown(
                model, task.spec.name, example.id, match.kind, gold, predicted,
                text[max(0, start - _CONTEXT) : start], text[start:end], text[end : end + after],
            )  # fmt: skip


def _label(item: Any) -> str:
    return item.label if isinstance(item, Span) else str(item)


def _spans(gold: Any) -> tuple[Span, ...]:
    return gold if isinstance(gold, tuple) else ()


def _surface(span: Span, example: Example) -> str:
    return " ".join(span.surface(example.document.text).casefold().split())


def _length(text: str) -> str:
    count = len(text.split())
    return next((name for most, name in _LENGTHS if count <= most), _LONGEST)


def _place(span: Span, example: Example) -> str:
    return _PLACES[min(3, 4 * span.start // max(1, len(example.document.text)))]
