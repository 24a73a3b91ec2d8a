"""The command line: `adapt --strategy continue --lang fr`, and its subcommands.

Nothing heavy is imported until a command runs: `adapt --help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from medlingua.languages.errors import InputError
from medlingua.recipes.commands import data as text_commands
from medlingua.recipes.commands import experiments, inference, privacy, reference, scoring
from medlingua.recipes.commands.options import (
    Allow,
    Base,
    Config,
    Corpus,
    Data,
    Lang,
    Lr,
    Preset,
    Sets,
    Strategy,
    TextField,
    Tokens,
    given,
    resolved,
)
from medlingua.recipes.exits import SHOW_TEXT, STOPPED, exit_at_once, exits

if TYPE_CHECKING:
    from medlingua.recipes.settings import Run

app = typer.Typer(
    help="Adapt encoder language models to biomedical and clinical text in French, Spanish and German.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def adapt(
    context: typer.Context,
    strategy: Strategy = None,
    lang: Lang = None,
    base: Base = None,
    corpus: Corpus = None,
    text_field: TextField = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder. Default: runs/<id>.")] = None,
    preset: Preset = None,
    config: Config = None,
    lr: Lr = None,
    tokens: Tokens = None,
    sets: Sets = None,
    allow: Allow = None,
    show_text: Annotated[bool, typer.Option(SHOW_TEXT, help="Errors show the words they are about.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Adapt a model: read text, train, score before and after, and write a report.

    The same command resumes a stopped run.
    """
    if version:
        _show_version()
        return
    if context.invoked_subcommand is not None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                f"adapt {context.invoked_subcommand} is work for one process: start it without a launcher"
            )
        return
    if strategy is None and preset is None and config is None:
        if sys.argv[1:]:
            raise InputError("--strategy is needed: one of convert, continue, scratch (or --preset, or --config)")
        print(context.get_help())
        raise typer.Exit(0)
    text = {"root": data, "paths": corpus, "text_field": text_field}
    budget = {"lr": lr, "tokens": tokens}
    flags = given(strategy=strategy, lang=lang, base=base, data=text, train=budget, allow=allow)
    run = resolved(flags, preset, config, sets)
    _check_text(run)
    from medlingua.recipes.training.processes import join
    from medlingua.recipes.walk import adapt as walk

    folder = out or Path("runs") / run.name
    processes = join()
    page = walk(run, folder, processes=processes)
    if processes.is_main:
        print(page)


def _check_text(run: "Run") -> None:
    """An unknown language or a missing corpus is an error before torch is imported, which takes seconds."""
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.text.sources import select

    pack = load_pack(run.lang)
    if not run.data.prepared:
        select(run, pack)


def _show_version() -> None:
    from medlingua import __version__

    print(f"medlingua {__version__}")


@app.command()
def plan(
    strategy: Strategy = None,
    lang: Lang = None,
    base: Base = None,
    corpus: Corpus = None,
    text_field: TextField = None,
    data: Data = None,
    preset: Preset = None,
    config: Config = None,
    lr: Lr = None,
    tokens: Tokens = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Tokens, memory and hours of a run on this machine, measured before it starts."""
    text = {"root": data, "paths": corpus, "text_field": text_field}
    budget = {"lr": lr, "tokens": tokens}
    flags = given(strategy=strategy, lang=lang, base=base, data=text, train=budget, allow=allow)
    run = resolved(flags, preset, config, sets)
    if run.data.paths or run.data.root:  # a plan needs no text
        _check_text(run)
    from medlingua.recipes.commands.plan import plan as measure

    print(measure(run))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """Write report.md and report.html of a run again, from its files."""
    from medlingua.reports.page import write_report

    print(write_report(folder))


for command in (
    text_commands.prepare,
    text_commands.select,
    text_commands.terminology,
    text_commands.fetch,
    text_commands.doctor,
    scoring.evaluate,
    scoring.finetune,
    inference.apply,
    inference.embed,
    inference.push,
    scoring.prompts,
    scoring.answers,
    scoring.score,
    scoring.compare,
    experiments.vocabulary,
    experiments.study,
    experiments.sweep,
    privacy.canaries,
    privacy.privacy,
    reference.settings,
    reference.init,
    reference.bases,
    reference.tasks,
):
    app.command()(command)


def main() -> None:
    """Entry point; `exits` says what becomes of its errors."""
    # Before torch is imported: threads that wait without spinning are no slower alone, and twice as fast on
    # cores that others use too (reports/notes/2026-11-21-speed-of-a-training-step.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what it warns of is checked here, or a decision
    with exits():
        # typer makes an exit code of Ctrl-C and only gives it back: unheard, a broken run would count as done.
        if app([word for word in sys.argv[1:] if word != SHOW_TEXT], standalone_mode=False) == STOPPED:
            raise KeyboardInterrupt
    exit_at_once()


if __name__ == "__main__":  # torchrun -m medlingua.recipes.command
    main()
