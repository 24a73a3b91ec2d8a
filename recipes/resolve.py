"""One Run from presets, files and flags, with errors that name the key and the nearest known one."""

import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError, kind_of, mismatch, nearest
from medlingua.languages.pack import known_languages, load_pack, read_toml
from medlingua.languages.permissions import Permission
from medlingua.recipes.bases import default_base, hub_id
from medlingua.recipes.familiar import familiar
from medlingua.recipes.settings import (
    DECIDED,
    DECIDED_BY_PHASE,
    STRATEGIES,
    Adapt,
    Eval,
    Run,
    Settings,
    setting_names,
)
from pydantic import ValidationError

PRESETS = Path(__file__).parent / "presets"
_FLAGS = "settings"  # what the last layer is called in a message: flags, or a mapping from Python
_HEAD_SHARE = 0.1  # of the tokens, for the masked-LM head after replaced-token detection
# Settings of adapt.* that some strategies have no use for: said, they are refused there rather than ignored.
_USED_BY = {
    ("length", "window"): ("convert", "scratch"),
    ("architecture", "size", "tokenizer", "carry", "layers"): ("scratch",),
    ("target", "theta", "scaling", "start", "start_share"): ("convert",),
}
# The same within a strategy: settings of adapt.*, and the setting with the value without which they do nothing.
_USED_WITH = {
    ("theta", "scaling", "start", "start_share"): ("target", ("rope",), "convert"),
    ("window",): ("target", ("longformer",), "convert"),
    ("rows", "dictionary"): ("vocabulary", ("extend", "replace", "repair"), "continue"),
    ("priority", "piece_documents"): ("vocabulary", ("extend",), "continue"),
    ("head_lang",): ("head", ("fresh",), "continue"),
}
# Settings of a group that a phase may have of its own.
_OF_PHASES = (
    ("objective", ("kind", "unit", "mask_rate", "mask_rate_end", "mask_rate_steps")),
    ("train", ("parameters", "context", "schedule", "lr", "warmup", "decay", "min_lr_rate")),
    ("data", ("mixture", "sampling_exponent")),
)


def presets() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def resolve(
    flags: dict[str, Any],
    *,
    preset: str | None = None,
    config: Path | None = None,
    sets: tuple[str, ...] = (),
) -> Run:
    """One Run from, in rising order: the preset, the config file, --set KEY=VALUE, the other flags.

    flags: nested like a config file, without None. preset: else the one that the settings name. InputError for
    unknown keys, presets and bad values.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    if config is not None:
        if not config.is_file():
            what = "is a folder: give a file in it" if config.is_dir() else "does not exist"
            raise InputError(f"settings file {config} {what}")
        layers.append((str(config), read_toml(config)))
    layers += [(f"--set {item}", setting(item)) for item in sets]
    layers.append((_FLAGS, flags))
    if preset is None:
        preset = next((layer["preset"] for _, layer in reversed(layers) if layer.get("preset") is not None), None)
    if preset is not None:
        if preset not in presets():
            raise InputError(f"unknown preset '{preset}' ({nearest(str(preset), presets())})")
        layers.insert(0, (f"preset {preset}", read_toml(PRESETS / f"{preset}.toml")))
    merged: dict[str, Any] = {}
    for where, layer in layers:
        check_keys(layer, Run, where)
        merge(merged, layer)
    if preset is not None:
        merged["preset"] = preset
    for needed in ("strategy", "lang"):
        if not merged.get(needed):
            raise InputError(f"--{needed} is needed: {_needs(needed)}")
    _name_base(merged)
    _check_phase_tokens(merged)
    checked = _validated(merged | {"phases": []}, layers)
    if _is_given(merged, "train.tokens"):
        merged["train"] = {
            **merged["train"],
            "tokens": checked.train.tokens,
        }  # a whole number, however it was written
    run = _validated(_with_decided(merged), layers)
    _check_used(run)
    return run


def _check_phase_tokens(merged: dict[str, Any]) -> None:
    """They are summed before the phases are validated."""
    for number, phase in enumerate(merged.get("phases", ())):
        tokens = phase.get("tokens", 0)
        if not isinstance(tokens, int):
            raise InputError(f"phases.{number}.tokens: expected a whole number, given {kind_of(tokens)}")


def _name_base(merged: dict[str, Any]) -> None:
    """A pack's name of a base becomes its hub id; where none is given, the strategy's default of the language."""
    strategy, base = merged["strategy"], merged.get("base")
    if not isinstance(merged["lang"], str) or strategy not in STRATEGIES or (not base and strategy == "scratch"):
        return  # what is wrong with them is for the validation to say
    pack = load_pack(merged["lang"])
    if pack.code in known_languages() and merged["lang"].lower() == pack.code:
        merged["lang"] = pack.code
    head_lang = merged.get("adapt", {}).get("head_lang")
    if isinstance(head_lang, str) and head_lang.lower() in known_languages():
        merged["adapt"] = {**merged["adapt"], "head_lang": head_lang.lower()}
    if not base:
        default = default_base(pack, strategy)
        if default is None or default.hub is None:
            raise InputError(f"--base is needed: {_needs('base')}")
        merged["base"] = default.hub
    elif isinstance(base, str):
        merged["base"] = hub_id(base, pack)


def resolve_eval(flags: dict[str, Any], sets: tuple[str, ...]) -> Eval:
    """The settings of an evaluation alone: eval.* keys of --set, then the flags."""
    merged: dict[str, Any] = {}
    for item in sets:
        layer = setting(item)
        check_keys(layer, Run, f"--set {item}")
        if set(layer) != {"eval"}:
            raise InputError(f"--set {item}: only eval.* settings apply here")
        merge(merged, layer["eval"])
    whole = {"strategy": "continue", "lang": "-", "base": "-", "eval": {**merged, **flags}}
    return _validated(whole).eval


def permissions(named: list[str]) -> tuple[Permission, ...]:
    """--allow of a command that has no Run of its own, checked like a run's."""
    return _validated({"strategy": "continue", "lang": "-", "base": "-", "allow": named}).allow


def read_run(folder: Path) -> Run:
    given = read_toml(folder / "run.toml")
    return _validated(given, [(str(folder / "run.toml"), given)])


def _needs(key: str) -> str:
    return {
        "strategy": f"one of {', '.join(STRATEGIES)}",
        "lang": "a language code, or the path of a pack.toml",
        "base": "the model to start from, a folder, a hub id or a name of adapt bases",
    }[key]


def _check_used(run: Run) -> None:
    default = Adapt()
    if not run.base and run.adapt.head != default.head:
        raise InputError("adapt.head is about a base without a masked-LM head: give the --base, or leave it out")
    for keys, strategies in _USED_BY.items():
        for key in keys:
            if run.strategy not in strategies and getattr(run.adapt, key) != getattr(default, key):
                raise InputError(
                    f"adapt.{key} says nothing to --strategy {run.strategy}, only to {' and '.join(strategies)}: "
                    "leave it out"
                )
    for keys, (other, values, strategy) in _USED_WITH.items():
        for key in keys:
            unused = run.strategy == strategy and getattr(run.adapt, other) not in values
            if unused and getattr(run.adapt, key) != getattr(default, key):
                raise InputError(
                    f"adapt.{key} says nothing without adapt.{other} = {' or '.join(map(repr, values))}: leave it out"
                )


def _with_decided(merged: dict[str, Any]) -> dict[str, Any]:
    """Complete settings, with the names of those that nobody gave and that the run decides."""
    train = dict(merged.get("train", {}))
    if "train.tokens" in merged.pop("decided", ()):  # the run.toml of another run: its tokens came from its epochs
        train.pop("epochs", None)
        merged["train"] = train
    if train.get("tokens") is not None and train.get("epochs") is not None:
        raise InputError("train.tokens and train.epochs say the same thing in two ways: give one of them")
    if train.get("tokens") is not None and merged.get("adapt", {}).get("head") == "fresh":
        tokens = min(Adapt().head_tokens, train["tokens"])  # no more than the run itself
        merged = {**merged, "adapt": {"head_tokens": tokens, **merged["adapt"]}}
    names = {name for name in (*DECIDED, "adapt.new_pieces") if not _is_given(merged, name)}
    completed = _with_phases(merged, names)
    for key in DECIDED_BY_PHASE:
        if not any(key in phase["decided"] for phase in completed["phases"]):
            names.discard(f"train.{key}")
    return {**completed, "decided": sorted(names)}


def _is_given(merged: dict[str, Any], name: str) -> bool:
    group, _, key = name.partition(".")
    return isinstance(merged.get(group), dict) and merged[group].get(key) is not None


def _with_phases(merged: dict[str, Any], undecided: set[str]) -> dict[str, Any]:
    """Phases complete: what each leaves out comes from the groups; one phase where none is listed."""
    defaults = _validated({**merged, "phases": []})
    common = {
        "tokens": defaults.train.tokens,
        "kind": defaults.objective.kind,
        "unit": defaults.objective.unit,
        "mask_rate": defaults.objective.mask_rate,
        "mask_rate_end": defaults.objective.mask_rate_end,
        "mask_rate_steps": defaults.objective.mask_rate_steps,
        "parameters": defaults.train.parameters,
        "mixture": [m.model_dump() for m in defaults.data.mixture],
        "sampling_exponent": defaults.data.sampling_exponent,
        "context": defaults.train.context,
        "schedule": defaults.train.schedule,
        "lr": defaults.train.lr,
        "warmup": defaults.train.warmup,
        "decay": defaults.train.decay,
        "min_lr_rate": defaults.train.min_lr_rate,
    }
    listed = merged.get("phases") or _default_phases(defaults)
    budget_given = "train.tokens" not in undecided
    shares = [phase["tokens"] for phase in listed if "tokens" in phase]
    if shares and len(shares) < len(listed):
        raise InputError("phases: give every phase its tokens, or none (then they share train.tokens evenly)")
    own_tokens = bool(merged.get("phases")) and bool(shares) and defaults.train.epochs is None
    if budget_given or not own_tokens:
        # A budget for a recipe of several phases is shared out as the recipe shares its own.
        shares = shares if any(shares) else [1] * len(listed)
        listed = [
            {**phase, "tokens": round(defaults.train.tokens * share / sum(shares))}
            for phase, share in zip(listed, shares, strict=True)
        ]
    phases = []
    for phase in listed:
        names = [key for key in ("lr", "warmup") if key not in phase and f"train.{key}" in undecided]
        if not budget_given and not own_tokens:
            names.append("tokens")
        phases.append({**common, **phase, "decided": names})
    train = {**merged.get("train", {}), "tokens": sum(phase["tokens"] for phase in phases)}
    return {**merged, "phases": phases, "train": train}


def _default_phases(run: Run) -> list[dict[str, Any]]:
    if run.objective.kind == "rtd" and run.train.tokens:
        # Detection trains no masked-LM head: it is trained alone at the end, so that the model can be measured.
        return [
            {"name": "replaced tokens", "tokens": round((1 - _HEAD_SHARE) * run.train.tokens)},
            {"name": "head", "kind": "mlm", "parameters": "head", "tokens": round(_HEAD_SHARE * run.train.tokens)},
        ]
    if run.new_rotations and run.adapt.start == "distil" and run.train.tokens:
        share = run.adapt.start_share
        return [
            {"name": "distil", "kind": "distil", "tokens": round(share * run.train.tokens)},
            {"tokens": round((1 - share) * run.train.tokens)},
        ]
    return [{}]


def setting(item: str) -> dict[str, Any]:
    """KEY=VALUE of --set, nested like a config file."""
    key, separator, value = item.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set {item}: write KEY=VALUE, for example --set train.lr=3e-4")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    nested: Any = parsed
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested  # type: ignore[no-any-return]


def merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    """Lay nested settings over others, in place.

    A phase keeps what it says. But where all phases below say it, as in the run.toml of a run, a group's setting that
    comes later would say nothing: it replaces theirs.
    """
    phases = into.get("phases") or ()
    given = {key for group, keys in _OF_PHASES for key in keys if key in layer.get(group, ())}
    replaced = {key for key in given if all(key in phase for phase in phases)}
    if phases and replaced:
        into["phases"] = [{k: v for k, v in phase.items() if k not in replaced} for phase in phases]
    _merge(into, layer)


def _merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _model_of(annotation: Any) -> type[Settings] | None:
    """The Settings class in an annotation: itself, or inside tuple[...]."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, Settings) else None
    for part in typing.get_args(annotation):
        if (model := _model_of(part)) is not None:
            return model
    return None


def _takes_truth(annotation: Any) -> bool:
    """Whether true and false are values of a setting."""
    return annotation in (bool, Any) or any(_takes_truth(part) for part in typing.get_args(annotation))


def check_keys(layer: dict[str, Any], model: type[Settings], where: str, prefix: str = "") -> None:
    """InputError for a key that `model` does not have; `where` says whose it is."""
    for key, value in layer.items():
        field = model.model_fields.get(key)
        if field is None:
            if hint := familiar(key):
                raise InputError(f"{where}: unknown setting '{prefix}{key}'; here it is {hint}")
            if not prefix and (full := [name for name in setting_names() if name.endswith(f".{key}")]):
                raise InputError(f"{where}: unknown setting '{key}'; give its group too: {' or '.join(full)}")
            known = [prefix + name for name in model.model_fields]
            raise InputError(f"{where}: unknown setting '{prefix}{key}' ({nearest(prefix + key, known)})")
        inner = _model_of(field.annotation)
        if inner is None:
            if isinstance(value, bool) and not _takes_truth(field.annotation):
                raise InputError(f"{where}: {prefix}{key} is not a setting that is true or false; give its value")
            continue
        if inner is not field.annotation and not isinstance(value, list | tuple):
            first = next(iter(inner.model_fields))
            raise InputError(
                f"{where}: '{prefix}{key}' is a list of tables, such as {prefix}{key} = [{{ {first} = ... }}]"
            )
        entries = value if isinstance(value, list | tuple) else [value]
        for entry in entries:
            if not isinstance(entry, dict):
                raise InputError(
                    f"{where}: '{prefix}{key}' is a group; set one of "
                    + ", ".join(f"{prefix}{key}.{name}" for name in inner.model_fields)
                )
            check_keys(entry, inner, where, f"{prefix}{key}.")


def _validated(merged: dict[str, Any], layers: Sequence[tuple[str, dict[str, Any]]] = ()) -> Run:
    """The settings as a Run. layers: what they were merged from, to say where a wrong one stands."""
    try:
        return Run.model_validate(merged)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for item in error.errors():
            # A setting of several kinds is tried as each, and fails as each.
            name = ".".join(part for part in map(str, item["loc"]) if "[" not in part and part != "int")
            choices = item.get("ctx", {}).get("expected")
            if name in problems:
                problems[name] += " (or a list)" if item["type"] == "tuple_type" else ""
            elif item["type"] == "literal_error" and isinstance(item["input"], str) and choices:
                known = [choice.strip(" '") for choice in choices.replace(" or ", ", ").split(",")]
                problems[name] = f"unknown {name} '{item['input']}' ({nearest(item['input'], known)})"
            else:
                problems[name] = f"{name}: {mismatch(item)}"
        deepest = [name for name in problems if not any(other.startswith(f"{name}.") for other in problems)]
        raise InputError("; ".join(_where(name, layers) + problems[name] for name in deepest)) from error


def _where(name: str, layers: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The file or option that gives a setting, at the beginning of a message; nothing for a flag of its own."""
    for where, layer in reversed(layers):
        inside: Any = layer
        for part in name.split(".")[:2]:
            inside = inside.get(part) if isinstance(inside, dict) else inside
        if inside is not None:
            return "" if where == _FLAGS else f"{where}: "
    return ""
