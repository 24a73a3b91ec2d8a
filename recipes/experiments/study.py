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

Models may be named in a table [bases] and called "base:NAME", for --base to change them.

Every arm is a run of its own below arms/, every score a cell below cells/: the same command resumes, and a second
one trains nothing.
"""

import copy
from pathlib import Path
from typing import Any, Literal

from medlingua.adapters.encoder import read_tokenizer
from medlingua.adapters.tokenizer import lost_distinctions
from medlingua.languages.errors import InputError, mismatch, nearest
from medlingua.languages.pack import Pack, load_pack, read_toml
from medlingua.languages.tasks import available
from medlingua.recipes import machine
from medlingua.recipes.bases import located
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.resolve import check_keys, merge, resolve, setting
from medlingua.recipes.settings import Eval, Run, Settings
from medlingua.recipes.text.sources import SYNTHETIC, remedy
from medlingua.recipes.text.task_set import find_tasks
from medlingua.recipes.walk import adapt
from medlingua.reports.compare import write_comparison
from medlingua.reports.read import read_run, write_whole
from medlingua.reports.rows import ArmRow, ArmsRow
from pydantic import Field, ValidationError

STUDIES = Path(__file__).parents[1] / "studies"


class Arm(Settings):
    """`unfit`: what is done where the base's tokenizer merges words of the language; None: it is an error."""

    name: str
    strategy: Literal["convert", "continue", "scratch"] | None = None
    base: str = ""
    model: str = ""
    unfit: Literal["replace", "leave out"] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Study(Settings):
    """`bases`: models by name, which arms call "base:NAME" and --base changes. `tasks`: of each language, where a
    data root is given, and "synthetic" for runs on synthetic text; eval.tasks of the settings goes before them."""

    tokens: int = Field(gt=0)
    bases: dict[str, str] = Field(default_factory=dict)
    tasks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    arms: tuple[Arm, ...] = Field(min_length=2)


def study(study_plan: Study, lang: str, data: str | None, allow: tuple[Any, ...], folder: Path) -> Path:
    """Train what is not trained, score what is not scored. Returns the path of report.html, or of arms.json where no
    task is scored."""
    pack = load_pack(lang)
    _check_text(study_plan, pack, data)
    arms = [fit for arm in study_plan.arms if (fit := fitting(arm, pack.code, allow)) is not None]
    study_plan = study_plan.model_copy(update={"arms": tuple(arms), "settings": with_tasks(study_plan, pack, data)})
    runs = {arm.name: _run(study_plan, arm, lang, data, allow, folder) for arm in arms if not arm.model}
    settings = next(iter(runs.values())).eval if runs else Eval.model_validate(study_plan.settings.get("eval", {}))
    task_set = find_tasks(
        pack, Path(data) if data else None, settings.tasks, allow, settings.warm_start, _is_synthetic(study_plan)
    )
    for line in task_set.left_out:
        say(line)
    models: dict[str, str] = {}
    rows = []
    for arm in arms:
        if arm.model:
            where = located(arm.model)
            if (same := next((name for name, model in models.items() if model == where), None)) is not None:
                say(f"arm {arm.name}: the same model as {same}, scored once")
                continue
            models[arm.name] = where
            rows.append(ArmRow(name=arm.name, strategy="as it is", base=arm.model))
            continue
        run, place = runs[arm.name], folder / "arms" / _slug(arm.name)
        say(f"arm {arm.name}: {arm.strategy}, {study_plan.tokens:,} tokens")
        # Scored below, side by side: how they are scored is no part of an arm.
        adapt(run.model_copy(update={"eval": Eval(tasks="none")}), place)
        models[arm.name] = str(place / "model")
        rows.append(_row(arm, place))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "arms.json", ArmsRow(arms=tuple(rows)).model_dump_json(indent=2) + "\n")
    if not task_set.tasks:  # nothing to compare but what the arms' own reports have
        for row in rows:
            if row.bits_before is not None and row.bits_after is not None:
                say(f"{row.name}: bits per byte {row.bits_before:.3f} -> {row.bits_after:.3f}")
        return folder / "arms.json"
    precision = machine.precision_of("auto", machine.device())
    how = Evaluation(
        settings,
        pack.spacy,
        folder,
        precision,
        allow,
        cache=folder / "cells",
        warm_start=task_set.warm_start,
        overlaps=pack.overlaps,
    )
    score_models(models, task_set.tasks, how)
    return write_comparison(folder)


def studies() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in STUDIES.glob("*.toml")))


def read_study(
    file: str, bases: tuple[str, ...] = (), tokens: int | None = None, sets: tuple[str, ...] = ()
) -> Study:
    """A study file, or one that comes with the package, by name. bases: of --base, MODEL or NAME=MODEL; tokens and
    sets go before what the file says. InputError for what is no study: unknown keys, arms of one name, a base that is
    no arm above."""
    path = Path(file) if file.endswith(".toml") else STUDIES / f"{file}.toml"
    if not path.is_file():
        named = "" if file.endswith(".toml") else f" ({nearest(file, studies())}; or give a STUDY.toml)"
        raise InputError(f"study {file} does not exist{named}")
    value = read_toml(path)
    try:
        content = Study.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{path}: {_message(error)}") from error
    settings = copy.deepcopy(content.settings)
    check_keys(settings, Run, f"{path}, settings")
    for item in sets:
        layer = setting(item)
        check_keys(layer, Run, f"--set {item}")
        merge(settings, layer)
    known = {**content.bases, **_bases(bases, content.bases, str(path))}
    seen: list[str] = []
    folders: dict[str, str] = {}
    arms = []
    for arm in content.arms:
        where = f"{path}: arm '{arm.name}'"
        check_keys(arm.settings, Run, where)
        if arm.name in seen:
            raise InputError(f"{path}: two arms are called '{arm.name}'")
        if (other := folders.setdefault(_slug(arm.name), arm.name)) != arm.name:
            raise InputError(f"{path}: arms '{other}' and '{arm.name}' would have one folder: call one otherwise")
        if bool(arm.model) == bool(arm.strategy):
            raise InputError(f"{where} needs a strategy to train by, or a model to score as it is")
        above = arm.base.removeprefix("arm:")
        if arm.base.startswith("arm:") and above not in seen:
            raise InputError(f"{where} starts from '{above}' ({nearest(above, seen or ['none'])})")
        seen.append(arm.name)
        models = {key: _named(getattr(arm, key), known, where) for key in ("base", "model")}
        arms.append(arm.model_copy(update=models))
    return content.model_copy(update={"settings": settings, "arms": tuple(arms), "tokens": tokens or content.tokens})


def _bases(listed: tuple[str, ...], known: dict[str, str], where: str) -> dict[str, str]:
    models: dict[str, str] = {}
    if listed and not known:
        raise InputError(f"{where}: the study names no bases for --base to change; write them into its arms")
    for item in listed:
        name, separator, model = item.partition("=")
        if not separator:
            models |= dict.fromkeys(known, item)
        elif name not in known:
            raise InputError(f"--base {item}: the study has no base '{name}'; {nearest(name, known)}")
        else:
            models[name] = model
    return models


def _named(base: str, known: dict[str, str], where: str) -> str:
    name = base.removeprefix("base:")
    if base.startswith("base:") and name not in known:
        raise InputError(f"{where}: no base '{name}'; {nearest(name, known)}")
    return known[name] if base.startswith("base:") else base


def _message(error: ValidationError) -> str:
    """The first thing that is wrong, with the nearest known name."""
    first = error.errors(include_url=False)[0]
    place = [*first["loc"]]
    where = ".".join(map(str, place))
    if first["type"] == "extra_forbidden":
        model = Arm if place[0] == "arms" else Study
        return f"unknown key '{where}'; {nearest(str(place[-1]), model.model_fields)}"
    if first["type"] == "literal_error":
        known = [word.strip(" '") for word in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: unknown '{first['input']}'; {nearest(str(first['input']), known)}"
    return f"{where}: {mismatch(first)}"


def with_tasks(study_plan: Study, pack: Pack, data: str | None) -> dict[str, Any]:
    """The study's settings, with those of its tasks of the language whose files are there; the others are named."""
    wanted = "synthetic" if _is_synthetic(study_plan) else pack.code
    tasks = study_plan.tasks.get(wanted)
    own = study_plan.settings.get("eval", {})
    if tasks is None and study_plan.tasks and "tasks" not in own:
        say(f"the study names tasks for {', '.join(study_plan.tasks)} and none for {wanted}: all at hand are scored")
    if tasks is None or "tasks" in own:
        return study_plan.settings
    missing = []
    if data is not None:
        missing = [spec.name for spec in pack.tasks if spec.name in tasks and not available(spec, Path(data))]
    if missing:
        say(f"the study's tasks {', '.join(missing)} are not under {data} and are not scored")
    chosen = [name for name in tasks if name not in missing]
    return {**study_plan.settings, "eval": {**own, "tasks": chosen or "none"}}


def _check_text(study_plan: Study, pack: Pack, data: str | None) -> None:
    """InputError where an arm trains and there is no text, before any arm is begun."""
    for arm in study_plan.arms:
        named = {**study_plan.settings.get("data", {}), **arm.settings.get("data", {})}
        if not (arm.model or data or any(named.get(key) for key in ("paths", "root", "corpora", "prepared"))):
            raise InputError(f"arm {arm.name}: no text to train on: {remedy(pack)}")


def _is_synthetic(study_plan: Study) -> bool:
    return SYNTHETIC in study_plan.settings.get("data", {}).get("paths", ())


def fitting(arm: Arm, code: str, allow: tuple[Any, ...]) -> Arm | None:
    """The arm, with another vocabulary where its base's cannot write the language; None for one to leave out."""
    if arm.unfit is None:
        return arm
    lost = lost_distinctions(read_tokenizer(located(arm.base), None, allow), code)
    if not lost:
        return arm
    reason = f"arm {arm.name}: the base's tokenizer loses {' and '.join(lost)}"
    if arm.unfit == "leave out":
        say(f"{reason}; it is left out")
        return None
    say(f"{reason}; its vocabulary is replaced")
    return arm.model_copy(update={"settings": _merged(arm.settings, {"adapt": {"vocabulary": "replace"}})})


def _run(study_plan: Study, arm: Arm, lang: str, data: str | None, allow: tuple[Any, ...], folder: Path) -> Run:
    merged = _merged(study_plan.settings, arm.settings)
    merged["train"] = {**merged.get("train", {}), "tokens": study_plan.tokens}
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
    """An arm's own settings over what all have."""
    merged = copy.deepcopy(common)
    merge(merged, own)
    return merged


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
