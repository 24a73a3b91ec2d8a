"""The subcommands that explain: settings, a file of settings to start from, base models, tasks."""

import json
from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import Base, Data, Lang, Strategy, needed


def settings(
    word: Annotated[str | None, typer.Argument(help="Show the settings that this word is about.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON schema, for editors and tools.")] = False,
) -> None:
    """Every setting: type, default, meaning."""
    from medlingua.recipes.commands.settings_guide import listed
    from medlingua.recipes.settings import Run

    print(json.dumps(Run.model_json_schema(), indent=2) if as_json else listed(word))


def init(
    strategy: Strategy = None,
    lang: Lang = None,
    base: Base = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("run.toml"),
) -> None:
    """Write a commented settings file for a strategy and a language, to use with --config."""
    from medlingua.recipes.commands.settings_guide import write_starter

    chosen = needed(strategy, "--strategy", "one of convert, continue, scratch, which the file is for")
    print(write_starter(chosen, needed(lang, "--lang", "the language that the file is for"), base, out))


def bases(lang: Lang = None) -> None:
    """Base models of a language, and the English clinical ones that `continue` starts from."""
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.bases import table_of_bases
    from medlingua.recipes.commands.columns import aligned

    rows = table_of_bases(load_pack(needed(lang, "--lang", "the language whose bases are listed")))
    print("\n".join(aligned(rows)))


def tasks(
    name: Annotated[str | None, typer.Argument(help="Show all about this task.")] = None,
    lang: Lang = None,
    data: Data = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="A model's folder: lengths in its tokens, not in words.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Labelled tasks of a language: what is there or needed, licence, sizes, labels, protocol, published figures."""
    from medlingua.recipes.commands.tasks import list_tasks

    code = needed(lang, "--lang", "the language whose tasks are listed")
    print(list_tasks(code, data, name, tokenizer, as_json))
