"""The subcommands over many runs or tokenizers: sweeps, studies, vocabularies."""

import json
from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import (
    Allow,
    Corpus,
    Data,
    Lang,
    Sets,
    TextField,
    given,
    needed,
    permitted,
)


def vocabulary(
    tokenizers: Annotated[list[str], typer.Argument(help="Model folders, or tokenizer.json files.")],
    lang: Lang = None,
    data: Data = None,
    corpus: Corpus = None,
    text_field: TextField = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the tables as CSV.")] = None,
    allow: Allow = None,
) -> None:
    """What tokenizers do to a language: pieces a word, broken terms, what is lost."""
    from medlingua.recipes.experiments.vocabulary import Texts, study

    code = needed(lang, "--lang", "the language whose words are counted")
    texts = Texts(Path(data) if data else None, tuple(corpus or ()), text_field)
    print(study(tuple(tokenizers), code, texts, out, permitted(allow)))


def study(
    file: Annotated[str, typer.Argument(help="STUDY.toml: arms of equal budgets; or by name: strategies, recipes.")],
    lang: Lang = None,
    bases: Annotated[
        list[str] | None, typer.Option("--base", help="Model of the study's bases; NAME=MODEL for one of them.")
    ] = None,
    corpus: Corpus = None,
    data: Data = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Budget of every arm that trains.")] = None,
    sets: Sets = None,
    allow: Allow = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")] = Path("runs/study"),
) -> None:
    """Several arms (models or ways to train) of one budget, trained, scored on the same tasks and compared."""
    from medlingua.recipes.experiments.study import read_study
    from medlingua.recipes.experiments.study import study as run

    code = needed(lang, "--lang", "the language of the study")
    layers = [*(sets or ()), *([f"data.paths={json.dumps(corpus)}"] if corpus else [])]
    print(run(read_study(file, tuple(bases or ()), tokens, tuple(layers)), code, data, permitted(allow), out))


def sweep(
    file: Annotated[Path, typer.Argument(help="SWEEP.toml: a space of settings and an objective.")],
    lang: Lang = None,
    data: Data = None,
    allow: Allow = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the sweep; its workers share it.")] = Path(
        "runs/sweep"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on; an error where none was begun.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the trials, live; start none.")] = False,
    best: Annotated[bool, typer.Option("--best", help="Write the best settings; show the full run.")] = False,
) -> None:
    """Try settings with Optuna. The same command again is one more worker, and resumes what was stopped."""
    from medlingua.recipes.experiments import sweep as sweeps

    flags = given(lang=lang, data={"root": data}, allow=allow)
    if not status and not best:
        sweeps.sweep(file, out, flags, resume)
        print(out / "report.html")
        return
    opened, trials = sweeps.opened(file, out, flags)
    if status:
        sweeps.watch(opened, trials, out)
    if best:
        for line in sweeps.best(opened, trials, out):
            print(line)
