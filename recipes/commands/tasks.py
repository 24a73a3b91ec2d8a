"""`adapt tasks`: the labelled tasks of a language, what each needs, and what those at hand hold."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import Pack, TaskSpec, load_pack
from medlingua.languages.task import Task
from medlingua.languages.task_statistics import (
    Measure,
    Statistics,
    parts_of,
    shared_documents,
    statistics_of,
    words_in,
)
from medlingua.languages.tasks import available, read_task
from medlingua.languages.vocabulary import read_tokenizer
from medlingua.recipes.commands.columns import aligned
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.heads import protocol_under
from medlingua.recipes.settings import Eval
from medlingua.reports.published import published_of

_ACCESS = {"open": "open", "request": "on request", "gated": "gated", "local": "local"}
_NOTHING = "-"
_LABELS = 20  # that are listed with their counts


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of the pack. searched: whether there is a data root to look in. task: read, where its files are at hand.
    problem: why they cannot be read."""

    spec: TaskSpec
    language: str
    searched: bool
    task: Task | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        if self.task is not None:
            return "there"
        if self.problem:
            return "broken"
        access = _ACCESS[self.spec.access]
        return f"missing, {access}" if self.searched else access

    @property
    def protocol(self) -> str:
        """Under the settings that an evaluation has where none are given."""
        if self.task is not None:
            return protocol_under(self.task, Eval())
        part = Task(
            self.spec, self.language, (), (), (), train_language=(self.spec.learn_from or "").partition("/")[0]
        )
        return protocol_under(replace(part, folds=(part,) * (self.spec.folds or 0)), Eval())


@dataclass(frozen=True, slots=True)
class Lister:
    """pack, root: where tasks are looked for. unit: what lengths are in; measure: of a text."""

    pack: Pack
    root: Path | None
    unit: str
    measure: Measure

    def entry(self, spec: TaskSpec) -> Entry:
        if self.root is None or not available(spec, self.root):
            return Entry(spec, self.pack.code, self.root is not None)
        try:
            return Entry(spec, self.pack.code, True, read_task(spec, self.root, self.pack.code))
        except InputError as error:
            return Entry(spec, self.pack.code, True, problem=str(error))

    def line(self, entry: Entry) -> dict[str, str]:
        """The task in the table of all."""
        spec = entry.spec
        of = {part: statistics_of(examples, self.measure) for part, examples in _parts(entry).items()}
        whole = None if entry.task is None else statistics_of(_examples(entry.task), self.measure)
        return {
            "name": spec.name,
            "kind": spec.kind,
            "state": entry.state,
            "licence": (spec.licence or "not stated") + (" (non-commercial)" if spec.non_commercial else ""),
            "examples": "/".join(f"{part.examples:,}" for part in of.values()) or _NOTHING,
            f"{self.unit}, median": _NOTHING if whole is None else f"{whole.lengths.median:,}",
            "90 %": _NOTHING if whole is None else f"{whole.lengths.high:,}",
            "longest": _NOTHING if whole is None else f"{whole.lengths.longest:,}",
            "labels": _NOTHING if whole is None or whole.values else f"{len(whole.labels):,}",
            "nested": _share(whole, "nested"),
            "in fragments": _share(whole, "discontinuous"),
            "protocol": entry.protocol,
            "published": _best(entry),
        }

    def lines(self, entry: Entry) -> Iterator[str]:
        """All about one task."""
        spec = entry.spec
        yield f"{spec.name}  ({self.pack.code}, {spec.kind})  {spec.note}"
        yield f"state      {entry.state}"
        yield f"needs      {needs(spec)}"
        yield f"licence    {spec.licence or 'not stated'} ({spec.licence_source or 'source not stated'})"
        if spec.non_commercial:
            yield "           non-commercial use only"
        if not spec.verified:
            yield "           not verified: its files were not seen when the pack was written"
        yield f"division   {_division(spec)}"
        yield f"protocol   {entry.protocol}"
        for part, examples in _parts(entry).items():
            yield from self._of_part(part, statistics_of(examples, self.measure))
        for note in entry.task.notes if entry.task is not None else ():
            yield f"reader     {note}"
        yield from self._overlaps(entry)
        for figure in published_of([(spec.name, self.pack.code)]):
            yield f"published  {figure.model}: {figure.metric_name} {figure.value:.4f} ({figure.source})"
            yield f"           {figure.protocol}"

    def _of_part(self, part: str, of: Statistics) -> Iterator[str]:
        lengths = of.lengths
        yield (
            f"{part:<9}  {of.examples:,} examples, {of.documents:,} texts; {self.unit}: {lengths.total:,}, median "
            f"{lengths.median:,}, 90 % up to {lengths.high:,}, longest {lengths.longest:,}"
        )
        if of.values is not None:
            low, mean, high = of.values
            yield f"           values from {low:g} to {high:g}, mean {mean:.3g}"
        else:
            listed = ", ".join(f"{label} {count:,}" for label, count in list(of.labels.items())[:_LABELS])
            more = f", and {len(of.labels) - _LABELS:,} more" if len(of.labels) > _LABELS else ""
            yield f"           {sum(of.labels.values()):,} labels of {len(of.labels):,} kinds: {listed}{more}"
        if of.without_gold:
            yield f"           {of.without_gold:,} examples without gold"
        if of.spans:
            yield f"           {of.nested:,} nested ({of.nested / of.spans:.1%}), {of.discontinuous:,} in fragments"

    def _overlaps(self, entry: Entry) -> Iterator[str]:
        others = {name: o.reason for o in self.pack.overlaps for name in o.names if o.holds(entry.spec.name, name)}
        for reason in dict.fromkeys(others.values()):
            names = ", ".join(name for name, why in others.items() if why == reason)
            yield f"overlaps   {names}: {reason}"
        if entry.task is None:
            return
        alike: dict[str, list[str]] = {}  # names of the tasks by what they share
        for spec in self.pack.tasks:
            if spec.name in others and (other := self.entry(spec).task) is not None:
                shared = shared_documents(entry.task, other)
                parts = "; ".join(f"{count:,} texts of {one} in {two}" for (one, two), count in shared.items())
                alike.setdefault(parts or "no text", []).append(spec.name)
        for counted, tasks in alike.items():
            yield f"           with {', '.join(tasks)}: {counted}"


def list_tasks(lang: str, root: str | None, name: str | None, tokenizer: str | None, as_json: bool) -> str:
    """A table of all tasks, or lines on one; or both as JSON. InputError for an unknown name, a named
    task that cannot be read, or a missing root."""
    pack = load_pack(lang)
    folder = None if root is None else Path(root)
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data {folder}: no such folder")
    specs = {spec.name: spec for spec in pack.tasks}
    if name in pack.broken_tasks:
        raise InputError(f"task {name}: {pack.broken_tasks[name]}")
    if name is not None and name not in specs:
        raise InputError(f"unknown task '{name}' of language {pack.code} ({nearest(name, specs)})")
    lister = Lister(pack, folder, *(("words", words_in) if tokenizer is None else ("tokens", _tokens(tokenizer))))
    if name is not None:
        entry = lister.entry(specs[name])
        if entry.problem:
            raise InputError(entry.problem)
        return _as_json([_record(lister, entry)]) if as_json else "\n".join(lister.lines(entry))
    if as_json:
        return _as_json([_record(lister, lister.entry(spec)) for spec in pack.tasks])
    for problem in pack.broken_tasks.values():
        say(problem)
    if not specs:
        raise InputError(f"pack {pack.code} has no tasks; add [[tasks]] to {pack.folder / 'pack.toml'}")
    entries, rows = list[Entry](), list[dict[str, str]]()
    with progress(f"reading the tasks of {pack.code}", len(specs)) as bar:
        for number, spec in enumerate(specs.values(), 1):
            entries.append(lister.entry(spec))
            rows.append(lister.line(entries[-1]))
            bar.update(number, spec.name)
    order = sorted(range(len(rows)), key=lambda i: (entries[i].task is None, not entries[i].problem))
    absent: dict[str, list[str]] = {}  # names of the tasks by what they need
    for entry in (entries[i] for i in order):
        if entry.task is None:
            absent.setdefault(entry.problem or needs(entry.spec), []).append(entry.spec.name)
    listed = [f"{', '.join(names)}: {what}" for what, names in absent.items()]
    table = aligned([rows[i] for i in order])
    return "\n".join([*table, "", _summary(entries), *(["", "Not read:", *listed] if listed else [])])


def _as_json(records: list[dict[str, Any]]) -> str:
    return json.dumps(records, ensure_ascii=False, indent=2)


def _summary(entries: list[Entry]) -> str:
    there, broken = sum(e.task is not None for e in entries), sum(bool(e.problem) for e in entries)
    if not entries[0].searched:
        return f"{len(entries)} tasks; --data ROOT says which are at hand"
    return f"{len(entries)} tasks: {there} at hand, {broken} unreadable, {len(entries) - there - broken} missing"


def needs(spec: TaskSpec) -> str:
    """Which files, and where they are had."""
    source = spec.address or (f"https://huggingface.co/datasets/{spec.hub}" if spec.hub else "")
    files = f"{spec.path}/ under the data root" if spec.path else "a path in a pack.toml of your own"
    access = {"open": "from", "request": "on request, at", "gated": "after its terms are accepted, at", "local": "at"}
    return f"{files}, {access[spec.access]} {source}" if source else files


def _division(spec: TaskSpec) -> str:
    by = f"the column '{spec.group}'" if spec.group else "document"
    if isinstance(spec.splits, dict):
        return f"original: {', '.join(spec.splits)}" + ("" if "dev" in spec.splits else "; dev is an eighth of train")
    return f"{spec.folds} folds by {by}" if spec.folds else f"70/10/20 by {by}"


def _parts(entry: Entry) -> dict[str, tuple[Any, ...]]:
    return {} if entry.task is None else parts_of(entry.task)


def _examples(task: Task) -> tuple[Any, ...]:
    return tuple(example for examples in parts_of(task).values() for example in examples)


def _share(of: Statistics | None, name: str) -> str:
    return _NOTHING if of is None or not of.spans else f"{getattr(of, name) / of.spans:.1%}"


def _best(entry: Entry) -> str:
    figures = published_of([(entry.spec.name, entry.language)])
    return f"{figures[0].value:.4f} {figures[0].metric_name}, {figures[0].model}" if figures else _NOTHING


def _record(lister: Lister, entry: Entry) -> dict[str, Any]:
    figures = published_of([(entry.spec.name, entry.language)])
    return {
        **entry.spec.model_dump(mode="json", exclude_defaults=True),
        "state": entry.state,
        "problem": entry.problem,
        "protocol": entry.protocol,
        "unit": lister.unit,
        "parts": {part: asdict(statistics_of(of, lister.measure)) for part, of in _parts(entry).items()},
        "notes": [] if entry.task is None else list(entry.task.notes),
        "published": [figure.model_dump(mode="json") for figure in figures],
    }


def _tokens(folder: str) -> Measure:
    tokenizer = read_tokenizer(folder)

    def measure(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return measure
