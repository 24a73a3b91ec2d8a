"""A sweep as its file says it: the settings that vary and how, the fixed ones, the objective, sampler and pruner.

trials = 20
objective = "bits_per_byte"      # or a task's dev score: "synthetic_ner"; or a list of them
sampler = "TPESampler"           # Optuna's names; { name = "TPESampler", n_startup_trials = 5 } with arguments
pruner = "MedianPruner"          # at each evaluation during training, by bits per byte, whatever the objective
earlier = ["runs/sweep"]         # folders of sweeps whose best settings are tried first, on this budget
full_tokens = 5_000_000          # of the run that --best tells
[settings]                       # of every trial, like a run's own file
strategy = "continue"
lang = "fr"
base = "FOLDER"
train = { tokens = 200_000 }
[space]
train.lr = { low = 1e-4, high = 1e-2, log = true }
objective.unit = { choices = ["piece", "word", "span"] }
adapt.vocabulary = { choices = ["keep", "extend"] }
adapt.new_pieces = { low = 500, high = 8_000, log = true, when = { adapt.vocabulary = "extend" } }
"""

import copy
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import optuna
from medlingua.languages.errors import InputError, mismatch, nearest
from medlingua.languages.pack import read_toml
from medlingua.recipes.resolve import merge, resolve
from medlingua.recipes.settings import Run, Settings
from pydantic import Field, ValidationError, model_validator

BITS = "bits_per_byte"
# What decides how long a trial is or what it is measured on: trials that differ in it cannot be compared.
_FIXED = {
    "train.tokens": "trials are compared at equal tokens",
    "train.epochs": "trials are compared at equal tokens",
    "train.precision": "trials are measured alike",
    "lang": "trials are measured on the same text",
    "data.root": "trials are measured on the same text",
    "data.held_out": "trials are measured on the same text",
    "data.held_out_documents": "trials are measured on the same text",
    "eval.tasks": "the objective names the tasks",
    "eval.seeds": "trials are scored alike",
}
# A sampler that remembers by its seed what it has drawn keeps one; the others get one a trial.
_ONE_SEED = {"QMCSampler", "GridSampler", "BruteForceSampler"}


class Parameter(Settings):
    """One setting that varies: between low and high, or among choices; `when` others have a value, or always."""

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = Field(default=None, gt=0)
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> "Parameter":
        for name, value in self.when.items():
            if value == []:
                raise ValueError(f"'when' lists no value of {name}: this setting would never be drawn")
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.step:
                raise ValueError("give choices, or low and high, not both")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give choices, or low and high")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale has no place for low {self.low}")
        if self.log and self.step:
            raise ValueError("a log scale takes no step")
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.trial.BaseTrial, name: str, integer: bool) -> Any:
        if self.choices:
            by_name = {_storable(choice): choice for choice in self.choices}
            return by_name[trial.suggest_categorical(name, list(by_name))]
        assert self.low is not None
        assert self.high is not None
        if integer:
            step = {} if self.step is None else {"step": int(self.step)}
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, **step)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


def _storable(choice: Any) -> Any:
    """Optuna keeps scalars alone; lists and tables go by what they are called in JSON."""
    return choice if isinstance(choice, str | int | float | bool) else json.dumps(choice)


class Named(Settings):
    """A class of Optuna's by its name, with its arguments."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "arguments" not in value:
            return {"name": value.get("name"), "arguments": {k: v for k, v in value.items() if k != "name"}}
        return value

    def build(self, of: ModuleType, suffix: str, **more: Any) -> Any:
        """The object; `more` are arguments that it gets where it takes them. InputError for an unknown name."""
        kind = getattr(of, self.name, None)
        if not isinstance(kind, type) or not self.name.endswith(suffix):
            known = [n for n in of.__all__ if n.endswith(suffix) and not n.startswith("Base")]
            raise InputError(f"unknown {suffix.lower()} '{self.name}' ({nearest(self.name, known)})")
        takes = inspect.signature(kind).parameters
        arguments = {**{k: v for k, v in more.items() if k in takes}, **self.arguments}
        try:
            return kind(**arguments)
        except (TypeError, ValueError, ImportError) as error:
            raise InputError(f"{suffix.lower()} {self.name}: {error}") from error


class Sweep(Settings):
    trials: int = Field(gt=0)
    objective: tuple[str, ...] = Field(default=(BITS,), min_length=1)
    sampler: Named = Named(name="TPESampler")
    pruner: Named | None = None  # None: MedianPruner; no pruning with several objectives, which Optuna cannot
    seed: int = Field(default=0, ge=0)
    earlier: tuple[str, ...] = ()  # folders of sweeps whose best trials' settings are tried first
    storage: str = ""  # a URL of Optuna's, a file's from the sweep's folder; empty: a journal there
    full_tokens: int | None = Field(default=None, gt=0)
    settings: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Parameter] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        settings = {**value}
        if isinstance(settings.get("objective"), str):
            settings["objective"] = (settings["objective"],)
        if isinstance(settings.get("space"), dict):
            settings["space"] = flat(settings["space"])
            for entry in settings["space"].values():
                if isinstance(entry, dict) and isinstance(entry.get("when"), dict):
                    entry["when"] = flat(entry["when"])
        return settings

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        return ["minimize" if name == BITS else "maximize" for name in self.objective]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose dev scores are objectives."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.objective if name != BITS))

    def sampler_for(self, number: int) -> optuna.samplers.BaseSampler:
        """Of one trial: its draws depend on the seed, the trial's number and what is known, not on who draws."""
        seed = self.seed if self.sampler.name in _ONE_SEED else self.seed * 1_000_003 + number
        sampler: optuna.samplers.BaseSampler = self.sampler.build(optuna.samplers, "Sampler", seed=seed)
        return sampler

    def pruner_of(self) -> optuna.pruners.BasePruner:
        default = Named(name="MedianPruner" if len(self.objective) == 1 else "NopPruner")
        pruner: optuna.pruners.BasePruner = (self.pruner or default).build(optuna.pruners, "Pruner")
        if len(self.objective) > 1 and not isinstance(pruner, optuna.pruners.NopPruner):
            raise InputError("pruner: Optuna prunes trials of one objective; with several, leave it out")
        return pruner

    def values(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """The settings of a trial, drawn in the order of the space; absent where a condition does not hold."""
        drawn: dict[str, Any] = {}
        for name, parameter in self.space.items():
            if all(other in drawn and drawn[other] in _listed(v) for other, v in parameter.when.items()):
                drawn[name] = parameter.suggest(trial, name, _is_integer(name, parameter))
        return drawn

    def holds(self, name: str, value: Any) -> bool:
        """Whether the space has this setting and could draw this value of it, as Optuna keeps it."""
        parameter = self.space.get(name)
        if parameter is None:
            return False
        if parameter.choices:
            return value in [_storable(choice) for choice in parameter.choices]
        assert parameter.low is not None
        assert parameter.high is not None
        return isinstance(value, int | float) and parameter.low <= value <= parameter.high

    def first_run(self) -> Run:
        """The run of the first value of each setting."""
        return self.run(_first(self, {}))

    def run(self, values: Mapping[str, Any]) -> Run:
        """The run of these values. InputError where there can be none."""
        try:
            return resolve(self.merged(values))
        except InputError as error:
            raise InputError(str(error).removeprefix("settings: ")) from error

    def merged(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fixed settings with these values among them, nested as in a run's own file."""
        merged = copy.deepcopy(self.settings)
        for name, value in values.items():
            *groups, key = name.split(".")
            nested = {key: value}
            for group in reversed(groups):
                _table(merged, group)
                nested = {group: nested}
            merge(merged, nested)
        return merged


def read_sweep(source: Path | Mapping[str, Any], flags: Mapping[str, Any]) -> Sweep:
    """A sweep from its file, or from the same as a mapping; flags: settings that the command line adds.

    InputError for what is no sweep, for a test score as objective, and for a value of the space that a run refuses.
    """
    where = str(source) if isinstance(source, Path) else "sweep"
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"sweep file {source} does not exist")
    content = read_toml(source) if isinstance(source, Path) else json.loads(json.dumps(dict(source)))
    if unknown := [key for key in content if key not in Sweep.model_fields]:
        raise InputError(f"{where}: unknown key '{unknown[0]}' ({nearest(unknown[0], Sweep.model_fields)})")
    if not content.get("space"):
        raise InputError(f"{where}: the space is empty: give [space] a setting, e.g. train.lr = {{ low, high }}")
    try:
        settings = _table(content, "settings")
        for key in (key for key, value in flags.items() if isinstance(value, dict)):
            _table(settings, key)
        merge(settings, dict(flags))
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, message = [*first["loc"]], mismatch(first)
        if first["type"] == "extra_forbidden":
            known = Parameter.model_fields if place[0] == "space" else Named.model_fields
            message = f"unknown key '{place[-1]}' ({nearest(str(place.pop()), known)})"
        raise InputError(f"{where}: {'.'.join(map(str, place))}: {message}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    _check(sweep, where)
    return sweep


def _table(settings: dict[str, Any], group: str) -> dict[str, Any]:
    """The settings of a group, an empty table where there are none. InputError where something else stands there."""
    inside = settings.setdefault(group, {})
    if not isinstance(inside, dict):
        raise InputError(f"{group} = {inside!r} stands where a table of settings has to")
    return inside


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": {...}}} -> {"train.lr": {...}}, down to what says how a setting varies."""
    settings: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and not set(value) & set(Parameter.model_fields):
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[prefix + key] = value
    return settings


def _check(sweep: Sweep, where: str) -> None:
    for name in sweep.objective:
        if "test" in re.split(r"[\W_]+", name.lower()):
            raise InputError(
                f"{where}: objective '{name}': a score on test is no objective, it would be fitted to. "
                f"Name a task (its dev score), or {BITS}"
            )
    for name, why in _FIXED.items():
        if name in sweep.space:
            raise InputError(f"{where}: space.{name}: {why}, so it cannot vary; put it in [settings]")
    above: list[str] = []
    for name, parameter in sweep.space.items():
        for other in parameter.when:
            if other not in above:
                raise InputError(
                    f"{where}: space.{name}: 'when' names '{other}', which is no setting above it in the space "
                    f"({nearest(other, above)})"
                )
        above.append(name)
    sweep.sampler_for(0)
    sweep.pruner_of()
    for name, parameter in sweep.space.items():
        for value in parameter.extremes:
            values = {**_conditions(sweep, name), name: value}
            try:
                sweep.run(_first(sweep, values))
            except InputError as error:
                raise InputError(f"{where}: space.{name} = {value!r}: {error}") from error


def _conditions(sweep: Sweep, name: str) -> dict[str, Any]:
    """The values under which a setting exists."""
    needed: dict[str, Any] = {}
    for other, value in sweep.space[name].when.items():
        needed |= {**_conditions(sweep, other), other: _listed(value)[0]}
    return needed


def _first(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, Any]:
    """These values, and the first of each other setting that exists with them."""
    drawn: dict[str, Any] = {}
    for name, parameter in sweep.space.items():
        if name in values or all(o in drawn and drawn[o] in _listed(v) for o, v in parameter.when.items()):
            drawn[name] = values.get(name, parameter.extremes[0])
    return drawn


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_integer(name: str, parameter: Parameter) -> bool:
    """Whether a setting takes whole numbers alone: both bounds are, and so is its kind."""
    kind: Any = Run
    for part in name.split("."):
        field = kind.model_fields.get(part)
        kind = field.annotation if field is not None else object
    kinds = getattr(kind, "__args__", (kind,))
    return isinstance(parameter.low, int) and isinstance(parameter.high, int) and float not in kinds
