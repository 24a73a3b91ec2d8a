"""A study: arms of equal budgets from one file, trained, then scored on the same tasks and put side by side.

    tokens = 300_000                 # of every arm that trains
    [settings]                       # of every arm, like a run's own file
    train = { lr = 5e-4 }
    [[arms]]
    name = "Longformer"
    strategy = "convert"
    base = "FOLDER"                  # or "arm:NAME", the model of an arm above
    settings = { adapt = { length = 1024 } }
    [[arms]]
    name = "base"
    model = "FOLDER"                 # a control, scored as it is

Every arm is a run of its own below arms/, every score a cell below cells/: the same command goes on, and a second
one trains nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import load_pack, read_toml
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluate import score_models
from medlingua.recipes.settings import Eval, Run, Settings, resolve
from medlingua.recipes.tasks_at_hand import find
from medlingua.recipes.walk import adapt
from medlingua.reports.compare import write_comparison
from medlingua.reports.read import read_run, write_whole
from medlingua.reports.rows import ArmRow, ArmsRow
from pydantic import Field, ValidationError


class Arm(Settings):
    name: str
    strategy: Literal["convert", "continue", "scratch"] | None = None
    base: str = ""
    model: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)


class Study(Settings):
    tokens: int = Field(gt=0)
    settings: dict[str, Any] = Field(default_factory=dict)
    arms: tuple[Arm, ...] = Field(min_length=2)


def study(file: Path, lang: str, data: str | None, allow: tuple[Any, ...], folder: Path) -> Path:
    """Train what is not trained, score what is not scored. Returns the path of report.html."""
    given = read_study(file)
    pack = load_pack(lang)
    runs = {arm.name: _run(given, arm, lang, data, allow, folder) for arm in given.arms if not arm.model}
    settings = next(iter(runs.values())).eval if runs else Eval.model_validate(given.settings.get("eval", {}))
    at_hand = find(pack, Path(data) if data else None, settings.tasks, allow)
    for line in at_hand.left_out:
        say(line)
    models, rows = {}, []
    for arm in given.arms:
        if arm.model:
            models[arm.name] = arm.model
            rows.append(ArmRow(name=arm.name, strategy="as it is", base=arm.model))
            continue
        run, place = runs[arm.name], folder / "arms" / _slug(arm.name)
        say(f"arm {arm.name}: {arm.strategy}, {given.tokens:,} tokens")
        # Scored below, side by side: how they are scored is no part of an arm.
        adapt(run.model_copy(update={"eval": Eval(tasks="none")}), place)
        models[arm.name] = str(place / "model")
        rows.append(_row(arm, place))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "arms.json", ArmsRow(arms=tuple(rows)).model_dump_json(indent=2) + "\n")
    precision = machine.precision_of("auto", machine.device())
    score_models(
        models, at_hand.tasks, settings, pack.spacy, folder, allow=allow, precision=precision, cells=folder / "cells"
    )
    return write_comparison(folder)


def read_study(file: Path) -> Study:
    """InputError for what is no study: unknown keys, arms of one name, a base that is no arm above."""
    if not file.is_file():
        raise InputError(f"study file {file} does not exist")
    try:
        made = Study.model_validate(read_toml(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {where}: {first['msg']}") from error
    seen: list[str] = []
    for arm in made.arms:
        if arm.name in seen:
            raise InputError(f"{file}: two arms are called '{arm.name}'")
        if bool(arm.model) == bool(arm.strategy):
            raise InputError(f"{file}: arm '{arm.name}' needs a strategy to train by, or a model to score as it is")
        above = arm.base.removeprefix("arm:")
        if arm.base.startswith("arm:") and above not in seen:
            raise InputError(f"{file}: arm '{arm.name}' starts from '{above}' ({nearest(above, seen or ['none'])})")
        seen.append(arm.name)
    return made


def _run(given: Study, arm: Arm, lang: str, data: str | None, allow: tuple[Any, ...], folder: Path) -> Run:
    merged = _merged(given.settings, arm.settings)
    merged["train"] = {**merged.get("train", {}), "tokens": given.tokens}
    base = arm.base
    if base.startswith("arm:"):
        base = str(folder / "arms" / _slug(base.removeprefix("arm:")) / "model")
    flags = {**merged, "strategy": arm.strategy, "lang": lang, "allow": list(allow)}
    if base:
        flags["base"] = base
    if data:
        flags["data"] = {**merged.get("data", {}), "root": data}
    return resolve(flags)


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Groups of settings, one level deep: an arm's own over what all have."""
    groups: Iterable[str] = {**common, **own}
    return {
        key: {**common.get(key, {}), **own.get(key, {})}
        if isinstance(common.get(key, {}), dict) and isinstance(own.get(key, {}), dict)
        else own.get(key, common.get(key))
        for key in groups
    }


def _row(arm: Arm, folder: Path) -> ArmRow:
    record = read_run(folder)
    bits = {row.model: row.bits_per_byte for row in record.evaluations}
    assert record.cost is not None
    return ArmRow(
        name=arm.name,
        strategy=str(arm.strategy),
        base=arm.base or "nothing",
        tokens=record.cost.tokens,
        seconds=record.cost.train_seconds,
        peak_memory_bytes=record.cost.peak_memory_bytes,
        parameters=record.plan.parameters if record.plan else None,
        bits_before=bits.get("base", bits.get("start")),
        bits_after=bits.get("trained"),
    )


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
