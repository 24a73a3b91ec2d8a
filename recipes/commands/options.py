"""Options that several commands share, with the values that a shell completes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from medlingua.languages.permissions import PERMISSIONS

if TYPE_CHECKING:
    from medlingua.recipes.settings import Run


def _strategies(incomplete: str) -> list[str]:
    return _beginning(("convert", "continue", "scratch"), incomplete)


def _languages(incomplete: str) -> list[str]:
    from medlingua.languages.pack import known_languages

    return _beginning(known_languages(), incomplete)


def _presets(incomplete: str) -> list[str]:
    from medlingua.recipes.resolve import presets

    return _beginning(presets(), incomplete)


def _bases(context: typer.Context, incomplete: str) -> list[str]:
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.bases import known_bases

    pack = load_pack(context.params.get("lang") or "en")
    return _beginning([base.name for base in known_bases(pack)], incomplete)


def _settings(incomplete: str) -> list[str]:
    from medlingua.recipes.settings import setting_names

    return [f"{name}=" for name in _beginning(setting_names(), incomplete)]


def _beginning(values: Any, incomplete: str) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]


Lang = Annotated[
    str | None,
    typer.Option("--lang", help="fr, es, de, en, or the path of a pack.toml.", autocompletion=_languages),
]
Data = Annotated[str | None, typer.Option("--data", help="Data root: the folder of the pack's corpora and tasks.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help=f"{', '.join(PERMISSIONS)}: refused unless named."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any setting: KEY=VALUE, e.g. train.lr=3e-4; see adapt settings.", autocompletion=_settings
    ),
]
EvalSets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of eval: KEY=VALUE, e.g. eval.lr=2e-4; see adapt settings eval."),
]
Preset = Annotated[str | None, typer.Option("--preset", help="A recipe by name, e.g. demo.", autocompletion=_presets)]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings; adapt init writes one.")]
Corpus = Annotated[
    list[str] | None,
    typer.Option(
        "--corpus",
        help="Your own text, and no other: files, folders, patterns; txt, JSONL, CSV, parquet. "
        "'synthetic': generated cases.",
    ),
]
TextField = Annotated[str | None, typer.Option("--text-field", help="Column of the text in tables and JSON lines.")]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Model to start from: a folder, a hub id, or a name of adapt bases. Default: the pack's.",
        autocompletion=_bases,
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option("--strategy", help="convert, continue or scratch.", autocompletion=_strategies),
]
Lr = Annotated[float | None, typer.Option("--lr", help="Learning rate: train.lr.")]
Tokens = Annotated[int | None, typer.Option("--tokens", help="Tokens to train on: train.tokens.")]
Task = Annotated[str | None, typer.Option("--task", help="A NER task of the language, by name.")]
Scores = Annotated[Path, typer.Option("--out", help="Folder of the scores and their report.")]


def given(**values: Any) -> dict[str, Any]:
    """The options that were given, nested like a config file; None and empty groups are left out."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        inner = given(**value) if isinstance(value, dict) else value
        if inner is not None and inner != {} and inner != []:
            nested[key] = inner
    return nested


def needed(value: str | None, flag: str, why: str) -> str:
    """The value of a flag that a command cannot do without; InputError where it is missing."""
    from medlingua.languages.errors import InputError

    if value is None:
        raise InputError(f"{flag} is needed: {why}")
    return value


def resolved(flags: dict[str, Any], preset: str | None, config: Path | None, sets: list[str] | None) -> "Run":
    from medlingua.recipes.resolve import resolve

    return resolve(flags, preset=preset, config=config, sets=tuple(sets or ()))


def permitted(allow: list[str] | None) -> Any:
    from medlingua.recipes.resolve import permissions

    return permissions(allow or [])
