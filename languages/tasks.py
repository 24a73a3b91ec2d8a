"""Tasks, read by their records in a pack."""

import hashlib
import inspect
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

from .annotations import Example
from .archives import archive_and_member
from .errors import InputError, near, nearest, shown
from .pack import Kind, TaskSpec, load_pack
from .parallel import with_train_of
from .readers import READERS
from .task import Task, labels_of
from .terminology import read_terminology

_TESTED = "documents of train or dev left out, which test has too: {n}"
_BLANK = frozenset({"nan", "<na>", "null"})  # what other tools write into an empty cell
_ONE_LABEL = "all documents of train and dev have the same label: there is nothing to learn, and scores say nothing"
_FEW = 100  # documents or groups; by their hashes, 40 became 32, 2 and 6

# Kinds whose single documents may have no gold; a whole part without any is not labelled.
_MAY_LACK = ("ner", "normalization", "tagging", "multilabel", "answers")

_GOLD: dict[Kind, type] = {
    "ner": tuple,
    "tagging": tuple,
    "normalization": tuple,
    "answers": tuple,
    "multilabel": frozenset,
    "choice": frozenset,
    "classification": str,
    "pairs": str,
    "relations": str,
    "similarity": float,
}
_GOLD_WORDS = {tuple: "spans", frozenset: "a set of labels", str: "one label", float: "a number"}


def available(spec: TaskSpec, root: Path) -> bool:
    """Whether every file or folder that the task names is under `root`."""
    if spec.path is None or _missing(spec, root):
        return False
    return spec.learn_from is None or available(_source(spec), root)


def _source(spec: TaskSpec) -> TaskSpec:
    """The task of another language that this one learns from."""
    language, _, name = str(spec.learn_from).partition("/")
    known = {task.name: task for task in load_pack(language).tasks}
    if name not in known:
        raise InputError(f"task {spec.name}: learn_from names '{name}' of {language}; {nearest(name, known)}")
    return known[name]


def _places(spec: TaskSpec, root: Path) -> dict[str, tuple[Path, ...]]:
    """The split names (or "hash") and what to read for each."""
    folder = root / (spec.path or "")
    if isinstance(spec.splits, dict):
        listed = {split: (names,) if isinstance(names, str) else names for split, names in spec.splits.items()}
        return {split: tuple(folder / name for name in names) for split, names in listed.items()}
    if spec.file is not None:
        return {"hash": (folder / spec.file,)}
    if not folder.is_dir() or (spec.reader is not None and READERS[spec.reader].folder):
        return {"hash": (folder,)}
    # A table in a folder of its own: the data file is the one that is not a licence or a readme.
    tables = [file for file in sorted(folder.iterdir()) if _is_table(file)]
    absent = folder / "one data file (.csv, .tsv, .json, .jsonl, .parquet)"
    return {"hash": (tables[0] if len(tables) == 1 else absent,)}


def _is_table(file: Path) -> bool:
    return file.name.removesuffix(".gz").endswith((".csv", ".tsv", ".json", ".jsonl", ".parquet"))


def _missing(spec: TaskSpec, root: Path) -> list[Path]:
    places = [place for of_split in _places(spec, root).values() for place in of_split]
    places += [root / (spec.path or "") / name for name in (*spec.requires, *filter(None, [spec.terminology]))]
    return [place for place in places if not archive_and_member(place)[0].exists()]


def read_task(spec: TaskSpec, root: Path, language: str) -> Task:
    """Read a task below a data root, check it and divide it.

    Original splits are kept; where only dev is missing, an eighth of the train documents becomes dev.
    Hashed splits are 70/10/20 by document (or by the spec's `group` column), and documents with the same
    text go together: no text is in two parts. Fewer than 100 documents or groups are ranked by their hashes, as
    hashes alone stray far from these shares. Ids are unique in a task. Fragments of an entity are in the order of the
    text.
    """
    if spec.path is None or spec.reader is None:
        where = f"; get it at {spec.address or spec.hub}" if spec.address or spec.hub else ""
        raise InputError(f"task {spec.name} is known by name only{where} and describe its files in a pack.toml")
    if missing := _missing(spec, root):
        raise InputError(
            f"task {spec.name}: {missing[0]} is not there; fill the data root with `adapt fetch` or point "
            f"--data to one that has {spec.path}"
        )
    reader = READERS[spec.reader].read
    parameters = set(inspect.signature(reader).parameters)
    known = parameters - {"path", "source", "notes"}
    for name in spec.options:
        if name not in known:
            raise InputError(f"task {spec.name}: reader {spec.reader} has no option '{name}'; {nearest(name, known)}")
    notes: Counter[str] = Counter()
    options = {"source": f"task {spec.name}", **({"notes": notes} if "notes" in parameters else {}), **spec.options}
    parts = {
        split: tuple(_canonical(spec, example) for place in places for example in reader(place, **options))
        for split, places in _places(spec, root).items()
    }
    if spec.folds is not None:
        return _folded(spec, language, parts["hash"], root, _lines(parts, notes))
    parts = _without_tested(parts, notes)
    if "hash" in parts:
        bounds = (("train", 70), ("dev", 80), ("test", 100))
        parts = _divide(parts["hash"], spec.group, bounds, ranked=spec.splits == "ranked")
    elif "dev" not in parts:
        parts |= _divide(parts["train"], spec.group, (("train", 87.5), ("dev", 100)))
    lines = _lines(parts, notes)
    terminology = tuple(read_terminology(root / spec.path / spec.terminology)) if spec.terminology else ()
    task = Task(spec, language, parts["train"], parts["dev"], parts["test"], notes=lines, terminology=terminology)
    task = _with_one_label_told(task)
    _check(task, root)
    if spec.learn_from is None:
        return task
    return with_train_of(task, read_task(_source(spec), root, spec.learn_from.partition("/")[0]))


def _lines(parts: dict[str, tuple[Example, ...]], notes: Counter[str]) -> tuple[str, ...]:
    """What the reader left out or changed, and labels that may stand for none, a line each."""
    counted = Counter(notes)
    for example in (example for examples in parts.values() for example in examples):
        for label in _BLANK.intersection(map(str.casefold, labels_of(example.gold))):
            counted[f"documents whose label is '{label}', which may stand for an empty cell: {{n}}"] += 1
    return tuple(note.format(n=f"{n:,}") for note, n in sorted(counted.items()))


def _with_one_label_told(task: Task) -> Task:
    if _GOLD[task.spec.kind] is not str or len(task.labels) != 1:
        return task
    return replace(task, notes=(*task.notes, _ONE_LABEL))


def _without_tested(parts: dict[str, tuple[Example, ...]], notes: Counter[str]) -> dict[str, tuple[Example, ...]]:
    """The parts without documents of train and dev that test has too, under the same id and with the same text.

    A part that would be empty is given as it is: one file was named for two parts, which `_check_ids` refuses.
    """
    tested = {example.id: example.document.text for example in parts.get("test", ())}
    chosen = {
        part: tuple(e for e in examples if part == "test" or tested.get(e.id) != e.document.text) or examples
        for part, examples in parts.items()
    }
    if left_out := sum(len(parts[part]) - len(chosen[part]) for part in parts):
        notes[_TESTED] += left_out
    return chosen


def _canonical(spec: TaskSpec, example: Example) -> Example:
    if spec.kind == "similarity":
        return replace(example, gold=_value(spec, example))
    if _GOLD[spec.kind] is tuple and example.gold == frozenset():  # an empty list, whatever it is a list of
        return replace(example, gold=())
    if spec.kind == "multilabel" and isinstance(
        example.gold, tuple
    ):  # the document's codes are those of its mentions
        example = replace(example, gold=frozenset(labels_of(example.gold)))
    if spec.label_prefix is None:
        return example
    if isinstance(example.gold, str):
        return replace(example, gold=example.gold[: spec.label_prefix])
    labels = frozenset(label[: spec.label_prefix] for label in labels_of(example.gold))
    return replace(example, gold=labels)


def _value(spec: TaskSpec, example: Example) -> float:
    assert spec.scale is not None
    low, high = spec.scale
    try:
        value = float(str(example.gold).replace(",", "."))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(
            f"task {spec.name}: the value of {shown(example.id)} is no number from {low:g} to {high:g}; "
            "correct it, or the task's 'scale'",
            text=str(example.gold),
        )
    return value


def _check(task: Task, root: Path) -> None:
    """A task that cannot be trained or scored is an error before anything starts."""
    where = f"task {task.spec.name} ({root / (task.spec.path or '')})"
    for split, examples in (("train", task.train), ("dev", task.dev), ("test", task.test)):
        if not examples:
            raise InputError(
                f"{where}: no documents in {split}; give it more documents, or other splits: "
                "'ranked' divides few documents evenly"
            )
        for example in examples:
            if not isinstance(example.gold, _GOLD[task.spec.kind]):
                raise InputError(
                    f"{where}: {shown(example.id)} has {_GOLD_WORDS[type(example.gold)]} as its gold, which "
                    f"is not {task.spec.kind}; correct 'kind', or 'label_separator' in the options"
                )
            if task.spec.kind in ("pairs", "answers", "similarity") and not example.question:
                raise InputError(f"{where}: {shown(example.id)} has no question; name its column in the options")
            if task.spec.kind == "choice" and len(example.options) < 2:
                raise InputError(
                    f"{where}: {shown(example.id)} has {len(example.options)} options; a choice needs two"
                )
        if task.spec.kind in _MAY_LACK and not any(example.gold for example in examples):
            raise InputError(
                f"{where}: no document of {split} has any gold; it may be a part whose gold is held back: take the "
                "labelled file, or other splits"
            )
        ids_of = {example.id for example in examples}
        for example in examples:
            source = example.document.meta.get("changed_from", example.id)
            if task.spec.positive is not None and source not in ids_of:
                raise InputError(
                    f"{where}: {shown(example.id)} is changed from {shown(str(source))}, which is not in {split}; "
                    "add it"
                )
    if task.spec.kind == "relations" and task.spec.negative not in task.labels:
        raise InputError(
            f"{where}: relations need 'negative', the label of what is none, which is one of the "
            f"{len(task.labels)} labels",
            text=", ".join(task.labels),
        )
    if task.spec.positive is not None and task.spec.positive not in task.labels:
        raise InputError(
            f"{where}: none of the {len(task.labels)} labels is '{task.spec.positive}', which 'positive' names"
            f"{near(task.spec.positive, task.labels)}",
            text=", ".join(task.labels),
        )
    _check_ids(task, where)


def _check_ids(task: Task, where: str) -> None:
    ids = Counter(example.id for example in (*task.train, *task.dev, *task.test))
    if double := [name for name, n in ids.items() if n > 1]:
        raise InputError(f"{where}: {len(double)} ids occur more than once, first {shown(double[0])}; rename them")


def _folded(spec: TaskSpec, language: str, examples: tuple[Example, ...], root: Path, notes: tuple[str, ...]) -> Task:
    """Groups in the order of their hashes, dealt to the folds in turn."""
    assert spec.folds is not None
    keys = _keys(examples, spec.group)
    order = {key: i for i, key in enumerate(sorted(set(keys), key=_place))}
    if len(order) < spec.folds:
        raise InputError(
            f"task {spec.name}: {len(order)} documents or groups make no {spec.folds} folds; name fewer in 'folds'"
        )
    parts: list[list[Example]] = [[] for _ in range(spec.folds)]
    for example, key in zip(examples, keys, strict=True):
        parts[order[key] % spec.folds].append(example)
    folds = []
    for number, test in enumerate(parts):
        dev = (number + 1) % spec.folds
        train = [e for other, part in enumerate(parts) if other not in (number, dev) for e in part]
        folds.append(Task(spec, language, tuple(train), tuple(parts[dev]), tuple(test)))
        _check(folds[-1], root)
    whole = tuple(e for part in parts for e in part)
    task = Task(spec, language, (), (), whole, folds=tuple(folds), notes=notes)
    _check_ids(task, f"task {spec.name} ({root / (spec.path or '')})")
    return _with_one_label_told(task)


def _place(key: str) -> int:
    """Where a key stands, in no order that anybody chose: 64 bits of its hash."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _divide(
    examples: tuple[Example, ...], group: str | None, bounds: tuple[tuple[str, float], ...], ranked: bool = False
) -> dict[str, tuple[Example, ...]]:
    """Split by a hash that no order, machine or seed changes: each bound is a cumulative percentage, of the hashes'
    range, or (`ranked`, and for few groups) of the groups in the order of their hashes."""
    parts: dict[str, list[Example]] = {name: [] for name, _ in bounds}
    keys = _keys(examples, group)
    places = {key: _place(key) for key in keys}
    percent = {key: place / 2**64 * 100 for key, place in places.items()}
    if ranked or len(places) < _FEW:
        percent = {key: (i + 0.5) / len(places) * 100 for i, key in enumerate(sorted(places, key=places.__getitem__))}
    for example, key in zip(examples, keys, strict=True):
        parts[next(name for name, bound in bounds if percent[key] < bound)].append(example)
    return {name: tuple(chosen) for name, chosen in parts.items()}


def _keys(examples: tuple[Example, ...], group: str | None) -> list[str]:
    """One key an example; examples of one group, or with one text, have the same (the smallest of theirs)."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    keys = []
    texts: dict[str, str] = {}
    for example in examples:
        if group is None:
            key = example.id
        elif group in example.document.meta:
            key = str(example.document.meta[group])
        else:
            raise InputError(
                f"{example.document.source}: {shown(example.id)} has no column '{group}' to group by",
                text=", ".join(example.document.meta),
            )
        keys.append(key)
        text = " ".join(example.document.text.split()).casefold()
        low, high = sorted((find(key), find(texts.setdefault(text, key))))
        parent[high] = low
    return [find(key) for key in keys]
