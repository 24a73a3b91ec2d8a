"""Tables of where models err: by label, by kind of error, by length and place, and what one finds and another not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from .quantities import count
from .rows import Counts, ErrorRow
from .tables import NOTHING, frame_of

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

_GROUPS = {"length": "Document", "place": "Place in the document", "mention": "Mention"}
_MOST_LABELS = 30
_FLIPS = 10_000


@dataclass(frozen=True, slots=True)
class Errors:
    """The tables of one model on one task, all seeds together. labels: by label; kinds: of errors; confusion: gold
    against predicted labels; groups: by what divides the items."""

    model: str
    labels: DataFrame
    left_out: int  # labels without a row
    kinds: DataFrame | None
    confusion: DataFrame | None
    groups: tuple[tuple[str, DataFrame], ...]


def errors_by_task(rows: Sequence[ErrorRow]) -> dict[str, tuple[list[Errors], DataFrame | None]]:
    """By task (and protocol): the tables of each model, and what pairs of models find."""
    tasks: dict[str, list[ErrorRow]] = {}
    for row in rows:
        tasks.setdefault(f"{row.task}, {row.language} ({row.protocol})", []).append(row)
    tables = {}
    for name, of_task in tasks.items():
        by_model: dict[str, list[ErrorRow]] = {}
        for row in of_task:
            by_model.setdefault(row.model, []).append(row)
        tables[name] = [_errors(model, of_model) for model, of_model in by_model.items()], _pairs(by_model)
    return tables


def _errors(model: str, rows: Sequence[ErrorRow]) -> Errors:
    labels = _summed(row.labels for row in rows)
    shown = sorted(labels, key=lambda of: (-of.gold, of.name))[:_MOST_LABELS]
    kinds = {name: sum(row.kinds.get(name, 0) for row in rows) for name in rows[0].kinds}
    names = {name for row in rows for name in row.groups}
    groups = tuple(
        (title, _table(_summed(row.groups.get(name, ()) for row in rows), title))
        for name, title in _GROUPS.items()
        if name in names
    )
    return Errors(
        model,
        _table(shown, "Label"),
        len(labels) - len(shown),
        _kinds(kinds),
        _confusion(rows),
        groups,
    )


def _summed(of_rows: Iterable[Sequence[Counts]]) -> list[Counts]:
    sums: dict[str, Counter[str]] = {}
    for counts in of_rows:
        for one in counts:
            sums.setdefault(one.name, Counter()).update(right=one.right, predicted=one.predicted, gold=one.gold)
    return [Counts(name=n, right=s["right"], predicted=s["predicted"], gold=s["gold"]) for n, s in sums.items()]


def _table(counts: Sequence[Counts], title: str) -> DataFrame:
    return frame_of(
        [
            {
                title: one.name,
                "Precision": _ratio(one.right, one.predicted),
                "Recall": _ratio(one.right, one.gold),
                "F1": _ratio(2 * one.right, one.predicted + one.gold),
                "Gold": count(one.gold),
                "Predicted": count(one.predicted),
            }
            for one in counts
        ]
    )


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else NOTHING


_MEANINGS = {
    "correct": "same borders and label",
    "label": "same borders, another label",
    "boundary": "other borders, same label",
    "both": "other borders, another label",
    "missed": "nothing predicted there",
    "spurious": "nothing annotated there",
}


def _kinds(kinds: Mapping[str, int]) -> DataFrame | None:
    if not kinds:
        return None
    errors = sum(kinds.values()) - kinds["correct"]
    rows = []
    for kind, meaning in _MEANINGS.items():
        share = "" if kind == "correct" else f"{kinds[kind] / errors:.1%}" if errors else NOTHING
        rows.append({"Kind": kind, "Meaning": meaning, "Number": count(kinds[kind]), "Of the errors": share})
    return frame_of(rows)


def _confusion(rows: Sequence[ErrorRow]) -> DataFrame | None:
    """The most frequent pairs of different labels."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for gold, predicted, n in row.confusion:
            if gold != predicted:
                pairs[gold, predicted] += n
    if not pairs:
        return None
    most = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_LABELS]
    return frame_of([{"Gold": g, "Predicted": p, "Number": count(n)} for (g, p), n in most])


def _pairs(by_model: Mapping[str, Sequence[ErrorRow]]) -> DataFrame | None:
    """What one of two models finds and the other does not, by their first common seed."""
    import numpy as np

    rows = []
    for first, second in combinations(by_model, 2):
        of_first = {row.seed: row.recovered for row in by_model[first]}
        of_second = {row.seed: row.recovered for row in by_model[second]}
        common = sorted({*of_first} & {*of_second})
        if not common:
            continue
        left, right = of_first[common[0]], of_second[common[0]]
        if [len(x) for x in left] != [len(x) for x in right]:
            continue
        cells = Counter(pair for a, b in zip(left, right, strict=True) for pair in zip(a, b, strict=True))
        differences = np.array([a.count("1") - b.count("1") for a, b in zip(left, right, strict=True)])
        rows.append(
            {
                "Models": f"{first} and {second}",
                "Both": count(cells["1", "1"]),
                "First alone": count(cells["1", "0"]),
                "Second alone": count(cells["0", "1"]),
                "Neither": count(cells["0", "0"]),
                "p": f"{sign_flip_p(differences):.3f}",
            }
        )
    return frame_of(rows) if rows else None


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of a paired permutation test over documents: the share of random signs of the (documents,)
    differences whose sum is as far from zero (Fisher 1935), with the observed signs among them."""
    import numpy as np

    observed = abs(int(differences.sum()))
    changed = differences[differences != 0]
    if not len(changed):
        return 1.0
    draw = np.random.default_rng(0)
    as_far, done = 0, 0
    while done < _FLIPS:
        size = min(_FLIPS - done, max(1, 1_000_000 // len(changed)))
        signs = draw.integers(0, 2, (size, len(changed))) * 2 - 1
        as_far += int((np.abs(signs @ changed) >= observed).sum())
        done += size
    return (as_far + 1) / (_FLIPS + 1)
