"""The command line: `adapt --strategy continue --lang fr`, and its subcommands.

Nothing heavy is imported until a command runs: `adapt --help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from medlingua.languages.errors import InputError
from medlingua.recipes.commands.privacy import canaries, privacy
from medlingua.recipes.exits import SHOW_TEXT, STOPPED, exits, leave

app = typer.Typer(
    help="Adapt encoder language models to biomedical and clinical text in French, Spanish and German.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Lang = Annotated[str | None, typer.Option("--lang", help="fr, es, de, en, or the path of a pack.toml.")]
_Data = Annotated[str | None, typer.Option("--data", help="Data root: where the pack's corpora and tasks lie.")]
_Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="non-commercial, pickle, remote-code, regex: refused unless named."),
]
_Sets = Annotated[list[str] | None, typer.Option("--set", help="Any setting: KEY=VALUE, e.g. train.lr=3e-4.")]
_Out = Annotated[Path | None, typer.Option("--out", help="The run's folder. Default: runs/<id>.")]
_Preset = Annotated[str | None, typer.Option("--preset", help="A recipe by name, e.g. demo.")]
_Config = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]
_Corpus = Annotated[
    list[str] | None,
    typer.Option("--corpus", help="Your own text: files, folders, patterns; txt, JSONL, CSV, parquet."),
]
_TextField = Annotated[str | None, typer.Option("--text-field", help="Column of the text in --corpus files.")]
_Base = Annotated[str | None, typer.Option("--base", help="Model to start from: a folder or a hub id.")]
_Strategy = Annotated[str | None, typer.Option("--strategy", help="convert, continue or scratch.")]


@app.callback(invoke_without_command=True)
def adapt(
    context: typer.Context,
    strategy: _Strategy = None,
    lang: _Lang = None,
    base: _Base = None,
    corpus: _Corpus = None,
    text_field: _TextField = None,
    data: _Data = None,
    out: _Out = None,
    preset: _Preset = None,
    config: _Config = None,
    sets: _Sets = None,
    allow: _Allow = None,
    show_text: Annotated[bool, typer.Option(SHOW_TEXT, help="Errors show the words they are about.")] = False,
) -> None:
    """Adapt a model: read text, train, score before and after, and write a report.

    The same command takes up a stopped run again.
    """
    if context.invoked_subcommand is not None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                f"adapt {context.invoked_subcommand} is work for one process: start it without a launcher"
            )
        return
    if strategy is None and preset is None and config is None:
        print(context.get_help())
        raise typer.Exit(0)
    run = _resolved(strategy, lang, base, corpus, text_field, data, preset, config, sets, allow)
    from medlingua.recipes.training.processes import join
    from medlingua.recipes.walk import adapt as walk

    folder = out or Path("runs") / run.name
    processes = join()
    page = walk(run, folder, processes=processes)
    if processes.is_main:
        print(page)


@app.command()
def prepare(
    base: _Base = None,
    lang: _Lang = None,
    corpus: _Corpus = None,
    text_field: _TextField = None,
    data: _Data = None,
    config: _Config = None,
    sets: _Sets = None,
    allow: _Allow = None,
    part: Annotated[str, typer.Option("--part", help="Which part of how many: 1/4 to 4/4, in any order.")] = "1/1",
    out: Annotated[Path, typer.Option("--out", help="Folder of the parts, for data.prepared.")] = Path("prepared"),
) -> None:
    """Clean and tokenize text once, in parts, for any number of runs of one tokenizer."""
    run = _resolved("continue", lang, base, corpus, text_field, data, None, config, sets, allow)
    from medlingua.recipes.text.parts import part_of, prepare_part

    print(prepare_part(run, part_of(part), out))


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(help="Model folders or hub ids, baselines too.")],
    lang: _Lang = None,
    data: _Data = None,
    tasks: Annotated[str, typer.Option("--tasks", help="all, or names with commas.")] = "all",
    seeds: Annotated[int, typer.Option("--seeds", help="Fine-tuning runs a task.")] = 3,
    out: Annotated[Path, typer.Option("--out", help="Folder of the scores and their report.")] = Path("evaluation"),
    sets: _Sets = None,
    allow: _Allow = None,
) -> None:
    """Score models on a language's tasks, all by the same protocols."""
    from medlingua.recipes.settings import permissions, resolve_eval

    if lang is None:
        raise InputError("--lang is needed: the language whose tasks are scored")
    named = "all" if tasks == "all" else [name.strip() for name in tasks.split(",")]
    settings = resolve_eval({"tasks": named, "seeds": seeds}, tuple(sets or ()))
    from medlingua.recipes.commands.evaluate import evaluate as score

    print(score(tuple(models), lang, data, settings, permissions(allow or []), out))


_Task = Annotated[str | None, typer.Option("--task", help="A NER task of the language, by name.")]


@app.command()
def prompts(
    model: Annotated[str, typer.Argument(help="The encoder that finds examples: a folder or a hub id.")],
    lang: _Lang = None,
    task: _Task = None,
    data: _Data = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Sentences of train in each prompt.")] = 8,
    out: Annotated[Path, typer.Option("--out", help="The JSONL file to write.")] = Path("prompts.jsonl"),
    allow: _Allow = None,
) -> None:
    """What to show a language model for NER: each test sentence with train sentences that are alike, as JSONL."""
    if lang is None or task is None:
        raise InputError("--lang and --task are needed: whose test sentences are asked")
    from medlingua.recipes.evaluation.prompts import write_prompts
    from medlingua.recipes.settings import permissions

    print(write_prompts(model, lang, task, data, examples, permissions(allow or []), out))


@app.command()
def answers(
    file: Annotated[Path, typer.Argument(help='JSONL: {"id": ..., "answer": [{"text": ..., "label": ...}]} a line.')],
    lang: _Lang = None,
    task: _Task = None,
    data: _Data = None,
    name: Annotated[str, typer.Option("--name", help="What the answers are called in tables.")] = "answers",
    out: Annotated[Path, typer.Option("--out", help="Folder of the scores and their report.")] = Path("evaluation"),
    allow: _Allow = None,
) -> None:
    """Score a language model's answers to `adapt prompts` as any other model's entities."""
    if lang is None or task is None:
        raise InputError("--lang and --task are needed: what the answers are about")
    from medlingua.recipes.evaluation.prompts import score_answers
    from medlingua.recipes.settings import permissions

    print(score_answers(file, lang, task, data, name, permissions(allow or []), out))


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="JSONL lines as in predictions/: ids, and spans by their offsets.")],
    lang: _Lang = None,
    task: _Task = None,
    data: _Data = None,
    name: Annotated[str, typer.Option("--name", help="What the system is called in tables.")] = "predictions",
    out: Annotated[Path, typer.Option("--out", help="Folder of the scores and their report.")] = Path("evaluation"),
    allow: _Allow = None,
) -> None:
    """Score the entities that another system found, by their offsets, as any model's."""
    if lang is None or task is None:
        raise InputError("--lang and --task are needed: what the predictions are about")
    from medlingua.recipes.evaluation.predictions import score_predictions
    from medlingua.recipes.settings import permissions

    print(score_predictions(file, lang, task, data, name, permissions(allow or []), out))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """Write report.md and report.html of a run anew, from its files."""
    from medlingua.reports.page import write_report

    print(write_report(folder))


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders with scores: runs, evaluations, studies.")],
    task: Annotated[str, typer.Option("--task", help="The task to rank by.")],
    metric: Annotated[str | None, typer.Option("--metric", help="Default: the task's main metric.")] = None,
) -> None:
    """Rank what several folders scored on one task; scores of two protocols are refused."""
    from medlingua.reports.compare import ranking

    print(ranking(folders, task, metric), end="")


@app.command()
def plan(
    strategy: _Strategy = None,
    lang: _Lang = None,
    base: _Base = None,
    corpus: _Corpus = None,
    text_field: _TextField = None,
    data: _Data = None,
    preset: _Preset = None,
    config: _Config = None,
    sets: _Sets = None,
    allow: _Allow = None,
) -> None:
    """Tokens, memory and hours of a run on this machine, measured before it starts."""
    run = _resolved(strategy, lang, base, corpus, text_field, data, preset, config, sets, allow)
    from medlingua.recipes.commands.plan import plan as measure

    print(measure(run))


@app.command()
def vocabulary(
    tokenizers: Annotated[list[str], typer.Argument(help="Model folders, or tokenizer.json files.")],
    lang: _Lang = None,
    data: _Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the tables as CSV.")] = None,
    allow: _Allow = None,
) -> None:
    """What tokenizers do to a language: pieces a word, broken terms, what is lost."""
    if lang is None:
        raise InputError("--lang is needed: the language whose words are counted")
    from medlingua.recipes.experiments.vocabulary import study
    from medlingua.recipes.settings import permissions

    print(study(tuple(tokenizers), lang, Path(data) if data else None, out, permissions(allow or [])))


@app.command()
def select(
    lang: _Lang = None,
    data: _Data = None,
    corpus: _Corpus = None,
    text_field: _TextField = None,
    paragraphs: Annotated[bool, typer.Option("--paragraphs", help="Score paragraphs, not documents.")] = False,
    near: Annotated[
        float, typer.Option("--near", help="Near-duplicates share so much of their words in runs.")
    ] = 0.8,
    seed_set: Annotated[
        Path | None, typer.Option("--seed-set", help="Labelled text: columns text and label.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="The model whose states spread the labels.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the scored corpora.")] = Path("scored"),
    allow: _Allow = None,
) -> None:
    """Score text for training: terms, form, near-duplicates, labels; columns that mixtures filter by."""
    if lang is None:
        raise InputError("--lang is needed: the language whose text is scored")
    from medlingua.recipes.commands.select import select_text
    from medlingua.recipes.settings import permissions

    known = permissions(allow or [])
    print(select_text(lang, data, tuple(corpus or ()), text_field, paragraphs, near, seed_set, base, known, out))


@app.command()
def study(
    file: Annotated[str, typer.Argument(help="STUDY.toml: arms of equal budgets; or a study by name: strategies.")],
    lang: _Lang = None,
    bases: Annotated[
        list[str] | None, typer.Option("--base", help="Model of the study's bases; NAME=MODEL for one of them.")
    ] = None,
    data: _Data = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Budget of every arm that trains.")] = None,
    sets: _Sets = None,
    allow: _Allow = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")] = Path("runs/study"),
) -> None:
    """Several arms of one budget, trained, scored on the same tasks and compared."""
    if lang is None:
        raise InputError("--lang is needed: the language of the study")
    from medlingua.recipes.experiments.study import read_study
    from medlingua.recipes.experiments.study import study as run
    from medlingua.recipes.settings import permissions

    given = read_study(file, tuple(bases or ()), tokens, tuple(sets or ()))
    print(run(given, lang, data, permissions(allow or []), out))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="SWEEP.toml: a space of settings and an objective.")],
    lang: _Lang = None,
    data: _Data = None,
    allow: _Allow = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the sweep; its workers share it.")] = Path(
        "runs/sweep"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on; an error where none was begun.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the trials, live; start none.")] = False,
    best: Annotated[bool, typer.Option("--best", help="Write the best settings; show the full run.")] = False,
) -> None:
    """Try settings with Optuna. The same command again is one more worker, and takes up what was stopped."""
    from medlingua.recipes.experiments import sweep as sweeps

    flags = {"lang": lang, "data": {"root": data} if data else None, "allow": allow or None}
    given = {key: value for key, value in flags.items() if value is not None}
    if not status and not best:
        sweeps.sweep(file, out, given, resume)
        print(out / "report.html")
        return
    made, study = sweeps.opened(file, out, given)
    if status:
        sweeps.watch(made, study, out)
    if best:
        for line in sweeps.best(made, study, out):
            print(line)


app.command()(canaries)
app.command()(privacy)


@app.command()
def doctor(data: _Data = None) -> None:
    """What is installed and reachable, what lies in the data root, what this machine will use and why."""
    from medlingua.recipes.commands.doctor import examine

    print(examine(Path(data) if data else None))


@app.command()
def fetch(
    data: Annotated[Path, typer.Option("--data", help="Data root to fill.")],
    lang: _Lang = None,
    names: Annotated[list[str] | None, typer.Option("--name", help="A corpus of the pack; again for more.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model of the hub, by its id.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of the model.")] = None,
    allow: _Allow = None,
) -> None:
    """Fill a data root from the hub or from addresses; an interrupted download goes on."""
    from medlingua.recipes.commands.fetch import fetch_corpora, fetch_model

    if model is not None:
        print(fetch_model(model, revision, data))
    elif lang is not None:
        for path in fetch_corpora(lang, tuple(names or ()), data, tuple(allow or ())):
            print(path)
    else:
        raise InputError("adapt fetch: give --lang (and --name), or --model")


def _resolved(
    strategy: str | None,
    lang: str | None,
    base: str | None,
    corpus: list[str] | None,
    text_field: str | None,
    data: str | None,
    preset: str | None,
    config: Path | None,
    sets: list[str] | None,
    allow: list[str] | None,
) -> Any:
    from medlingua.recipes.settings import resolve

    inputs = {"root": data, "paths": corpus or None, "text_field": text_field}
    given = {key: value for key, value in inputs.items() if value is not None}
    flags = {"strategy": strategy, "lang": lang, "base": base, "data": given or None, "allow": allow or None}
    return resolve(
        {key: value for key, value in flags.items() if value is not None},
        preset=preset,
        config=config,
        sets=tuple(sets or ()),
    )


def main() -> None:
    """Entry point; what its errors become is told in exits.py."""
    # Before torch is imported: threads that wait without spinning are no slower alone, and twice as fast on
    # cores that others use too (reports/notes/2026-11-21-speed-of-a-training-step.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with exits():
        # typer makes an exit code of Ctrl-C and only gives it back: unheard, a broken run would count as done.
        if app([word for word in sys.argv[1:] if word != SHOW_TEXT], standalone_mode=False) == STOPPED:
            raise KeyboardInterrupt
    leave()


if __name__ == "__main__":  # torchrun -m medlingua.recipes.command
    main()
