"""The subcommands that use models: notes annotated, texts embedded, a model put on the hub."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import Allow, TextField, permitted
from medlingua.recipes.exits import SHOW_TEXT


def apply(
    model: Annotated[Path, typer.Argument(help="A folder that adapt finetune wrote: OUT/model.")],
    files: Annotated[list[str], typer.Argument(help="Notes: files, folders, patterns; txt, JSONL, CSV, parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the annotations.")] = Path("annotated"),
    form: Annotated[str, typer.Option("--format", help="brat, jsonl, conll, docbin (spaCy) or csv.")] = "jsonl",
    text_field: TextField = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option("--skip-unreadable", help="Leave out notes that cannot be read; a list names them."),
    ] = False,
    allow: Allow = None,
) -> None:
    """Annotate notes of any length with a fine-tuned model. The same command resumes a stopped one.

    --show-text also writes annotations.html, the first notes with what was found in them.
    """
    from typing import get_args

    from medlingua.languages.errors import InputError, nearest
    from medlingua.languages.writers import Format

    if form not in get_args(Format):
        raise InputError(f"--format {form}: unknown ({nearest(form, get_args(Format))})")
    allowed = permitted(allow)
    from medlingua.recipes.inference.apply import apply as annotate

    shown = SHOW_TEXT in sys.argv
    print(annotate(model, files, form, text_field, allowed, out, shown, skip_unreadable))  # type: ignore[arg-type]


def embed(
    model: Annotated[str, typer.Argument(help="A run's folder, a model's folder or a hub id.")],
    files: Annotated[list[str], typer.Argument(help="Texts: files, folders, patterns; txt, JSONL, CSV, parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the vectors and the model.")] = Path("embedded"),
    pooling: Annotated[str, typer.Option("--pooling", help="mean (of all tokens) or first (token).")] = "mean",
    text_field: TextField = None,
    allow: Allow = None,
) -> None:
    """A vector a text, of any length, as parquet; and the encoder as a folder for sentence-transformers."""
    from typing import get_args

    from medlingua.languages.errors import InputError, nearest
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.evaluation.pooling import Pooling
    from medlingua.recipes.folder import language_of, model_of

    if pooling not in get_args(Pooling):
        raise InputError(f"--pooling {pooling}: unknown ({nearest(pooling, get_args(Pooling))})")
    allowed = permitted(allow)
    place = model_of(model, load_pack(language_of([model]) or "en"))
    from medlingua.recipes.inference.embed import embed as write

    print(write(place, files, pooling, text_field, allowed, out))  # type: ignore[arg-type]


def push(
    folder: Annotated[Path, typer.Argument(help="A run, the output of adapt finetune, or a model's folder.")],
    repository: Annotated[str, typer.Argument(help="The repository on the hub: owner/name.")],
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="A corpus or task (or base) whose licence you have cleared, by name."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For all to see; else private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and upload nothing.")] = False,
) -> None:
    """Upload a model with its tokenizer and card to the hub, unless licences of its texts forbid it."""
    from medlingua.recipes.commands.push import push as upload

    print(upload(folder, repository, tuple(allow or ()), public, dry_run))
