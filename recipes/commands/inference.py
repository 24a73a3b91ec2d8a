"""The subcommands that use models: notes annotated, texts embedded, a model put on the hub."""

from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import Allow, TextField, permitted


def apply(
    model: Annotated[Path, typer.Argument(help="A folder that adapt finetune wrote: OUT/model.")],
    files: Annotated[list[str], typer.Argument(help="Notes: files, folders, patterns; txt, JSONL, CSV, parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the annotations.")] = Path("annotated"),
    form: Annotated[str, typer.Option("--format", help="brat, jsonl, conll, docbin (spaCy) or csv.")] = "jsonl",
    text_field: TextField = None,
    allow: Allow = None,
) -> None:
    """Annotate notes of any length with a fine-tuned model. The same command resumes a stopped one."""
    from typing import get_args

    from medlingua.languages.errors import InputError, nearest
    from medlingua.languages.writers import Format

    if form not in get_args(Format):
        raise InputError(f"--format {form}: unknown ({nearest(form, get_args(Format))})")
    allowed = permitted(allow)
    from medlingua.recipes.inference.apply import apply as annotate

    print(annotate(model, files, form, text_field, allowed, out))  # type: ignore[arg-type]
