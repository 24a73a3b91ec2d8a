"""Settings explained: as a list, and as a commented file to start from."""

import types
import typing
from pathlib import Path
from typing import Any, Literal

import tomli_w
from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import load_pack
from medlingua.recipes.bases import default_base
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import DECIDED, STRATEGIES, Phase, Run, Settings, setting_names
from medlingua.reports.read import write_whole
from pydantic.fields import FieldInfo

# Settings that a starter file shows, by strategy; the others are in `adapt settings`.
_STARTER = {
    "convert": ("adapt.target", "adapt.length", "adapt.window"),
    "continue": ("adapt.vocabulary", "adapt.new_pieces"),
    "scratch": ("adapt.architecture", "adapt.size", "adapt.length", "adapt.vocabulary", "adapt.new_pieces"),
}
_COMMON = (
    "objective.unit", "objective.mask_rate", "train.tokens", "train.lr", "train.batch_tokens", "train.micro_tokens",
    "train.context", "train.checkpoint_tokens", "train.eval_tokens", "train.seed", "eval.tasks", "eval.seeds",
)  # fmt: skip

_BY_THE_RUN = "decided by the run"


def listed(word: str | None = None) -> str:
    """Every setting with its type, default and meaning, or those that a word is about. InputError for none."""
    fields = {name: _field(name) for name in setting_names()}
    if word is not None:
        fields = {n: f for n, f in fields.items() if word.lower() in f"{n} {f.description or ''}".lower()}
        if not fields:
            raise InputError(f"adapt settings: no setting is about '{word}' ({nearest(word, setting_names())})")
    blocks = [
        f"{name}  {_kind(field.annotation)}, default {_default(name, field)}\n    {_meaning(field)}"
        for name, field in fields.items()
    ]
    if word is None:
        keys = ", ".join(key for key in Phase.model_fields if key != "decided")
        blocks.append(f"[[phases]]  keys of one stretch of training, each as in its group: {keys}")
    return "\n".join(blocks)


def write_starter(strategy: str, lang: str, base: str | None, out: Path) -> Path:
    """A commented settings file for a strategy and a language. InputError for a file that exists."""
    if strategy not in STRATEGIES:
        raise InputError(f"unknown strategy '{strategy}' ({nearest(strategy, STRATEGIES)})")
    if out.exists():
        raise InputError(f"{out} exists: give another --out")
    pack = load_pack(lang)
    default = None if strategy == "scratch" else default_base(pack, typing.cast(Any, strategy))
    model = base or (default.hub if default else None) or ""
    lines = [
        f"# A run of --strategy {strategy} for {pack.name}. Start it with:  adapt --config {out}",
        "# Settings that are commented out have the value shown. All settings: adapt settings.",
        f'strategy = "{strategy}"',
        _line("lang", lang.lower() if lang.lower() == pack.code else lang),
        _line("base", model) if model else '# base = "FOLDER"  # its tokenizer is kept, see adapt.vocabulary',
        "",
        "[data]",
        "# Your own text:",
        '# paths = ["notes/"]',
        '# text_field = "text"  # its column, in tables and JSONL',
        "# or the pack's corpora and tasks, under a data root:",
        '# root = "ROOT"',
    ]
    group = "data"
    for name in (*_STARTER[strategy], *_COMMON):
        head, _, key = name.partition(".")
        if head != group:
            lines += ["", f"[{head}]"]
            group = head
        field = _field(name)
        replaced = strategy == "scratch" and not model and name == "adapt.vocabulary"
        value = '"replace"' if replaced else _default(name, field)
        lines.append(f"# {_meaning(field)}")
        settable = value not in ("unset", _BY_THE_RUN)
        lines.append(f"{'' if replaced else '# '}{key} = {value}" if settable else f"# {key}: {value}")
    text = "\n".join(lines) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, text)
    resolve({}, config=out)  # what was written can be read
    return out


def _line(key: str, value: str) -> str:
    """In TOML, where a backslash or a quotation mark in a path is escaped."""
    return tomli_w.dumps({key: value}).rstrip("\n")


def _field(name: str) -> FieldInfo:
    model: type[Settings] = Run
    *groups, key = name.split(".")
    for group in groups:
        model = typing.cast(type[Settings], model.model_fields[group].annotation)
    return model.model_fields[key]


def _kind(annotation: Any) -> str:
    """A type as a person writes it: "a" | "b", number, text, list of text."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return " | ".join(f'"{choice}"' for choice in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_kind(part) for part in typing.get_args(annotation) if part is not type(None))
    if origin is tuple:
        return f"list of {_kind(typing.get_args(annotation)[0])}"
    names = {int: "whole number", float: "number", str: "text", bool: "true | false"}
    return names.get(annotation, "table")


def _default(name: str, field: FieldInfo) -> str:
    if name in DECIDED:
        return _BY_THE_RUN
    value = field.get_default(call_default_factory=True)
    if field.is_required() or value is None or value == "":
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' if isinstance(item, str) else f"{item}" for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())
