"""`adapt canaries` and `adapt privacy`: what a model gives away of its text."""

from pathlib import Path
from typing import Annotated

import typer
from medlingua.languages.errors import InputError
from medlingua.recipes.commands.options import Allow


def canaries(
    lang: Annotated[str | None, typer.Option("--lang", help="fr, es, de, en, or the path of a pack.toml.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Numbers that are planted.")] = 20,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Documents that each stands in.")] = 8,
    candidates: Annotated[int, typer.Option("--candidates", help="Numbers that they are ranked among.")] = 1_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the numbers and of the cases around them.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder of canaries.jsonl and canaries.json.")] = Path(
        "canaries"
    ),
) -> None:
    """Record numbers to plant in a training text, so that adapt privacy can tell what a model remembers."""
    if lang is None:
        raise InputError("--lang is needed: the language of the sentence that holds the numbers")
    from medlingua.recipes.evaluation.privacy import plant

    print(plant(lang, count, repeats, candidates, seed, out))


def privacy(
    models: Annotated[list[str], typer.Argument(help="Model folders.")],
    canaries: Annotated[
        Path | None, typer.Option("--canaries", help="The canaries.json of what was planted in their text.")
    ] = None,
    allow: Allow = None,
) -> None:
    """What models give away: pieces that look like identifiers, and the exposure of planted numbers."""
    from medlingua.recipes.evaluation.privacy import audit
    from medlingua.recipes.resolve import permissions

    print(audit(models, canaries, permissions(allow or [])))
