"""The subcommands about text and machines: fetch it, prepare it, select from it, look at what is there."""

from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import (
    Allow,
    Base,
    Config,
    Corpus,
    Data,
    EvalSets,
    Lang,
    Sets,
    TextField,
    given,
    needed,
    permitted,
    resolved,
)


def prepare(
    base: Base = None,
    lang: Lang = None,
    corpus: Corpus = None,
    text_field: TextField = None,
    data: Data = None,
    config: Config = None,
    sets: Sets = None,
    allow: Allow = None,
    part: Annotated[str, typer.Option("--part", help="Which part of how many: 1/4 to 4/4, in any order.")] = "1/1",
    out: Annotated[Path, typer.Option("--out", help="Folder of the parts, for data.prepared.")] = Path("prepared"),
) -> None:
    """Clean and tokenize text once, in parts, for any number of runs of one tokenizer."""
    from medlingua.recipes.text.parts import part_of, prepare_part

    text = {"root": data, "paths": corpus, "text_field": text_field}
    run = resolved(given(strategy="continue", lang=lang, base=base, data=text, allow=allow), None, config, sets)
    print(prepare_part(run, part_of(part), out))


def terminology(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="OBO, XML, a table, or the folder of a release.")],
    lang: Lang = None,
    name: Annotated[str | None, typer.Option("--name", help="What the text calls it; else the file's name.")] = None,
    parents: Annotated[
        Path | None, typer.Option("--parents", help="Another release, for what is a kind of what (by code).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The corpus, a JSONL file.")] = Path("terminology.jsonl"),
) -> None:
    """Make text from a terminology: codes, synonyms, parents and definitions, a passage a concept."""
    from medlingua.recipes.commands.terminology import write_passages

    print(write_passages(path, needed(lang, "--lang", "the language of the terms"), name, parents, out))


def select(
    lang: Lang = None,
    data: Data = None,
    corpus: Corpus = None,
    text_field: TextField = None,
    paragraphs: Annotated[bool, typer.Option("--paragraphs", help="Score paragraphs, not documents.")] = False,
    near: Annotated[
        float, typer.Option("--near", help="Near-duplicates share so much of their words in runs.")
    ] = 0.8,
    seed_set: Annotated[
        Path | None, typer.Option("--seed-set", help="Labelled text: columns text and label.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="The model that spreads the labels.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Write what a language model is asked about a sample, and stop.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Texts of --prompts.")] = 2_000,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Its answers (JSONL), which --base is fine-tuned on.")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option("--schema", help="What is asked (TOML); default: as Biomed-Enriched.")
    ] = None,
    sets: EvalSets = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the scored corpora.")] = Path("scored"),
    allow: Allow = None,
) -> None:
    """Score text for training: terms, form, near-duplicates, labels; columns that mixtures filter by."""
    from medlingua.recipes.commands.select import Labelling, Text, select_text, write_questions
    from medlingua.recipes.resolve import resolve_eval
    from medlingua.recipes.text.annotation import read_schema

    code = needed(lang, "--lang", "the language whose text is scored")
    text = Text(code, data, tuple(corpus or ()), text_field, paragraphs, permitted(allow))
    labelling = Labelling(base, seed_set, answers, read_schema(schema), resolve_eval({}, tuple(sets or ())))
    if prompts is not None:
        if answers is not None or seed_set is not None:
            from medlingua.languages.errors import InputError

            raise InputError(
                "--prompts writes what is asked, and stops: give --answers or --seed-set in another call"
            )
        print(write_questions(text, labelling.schema, sample, prompts))
        return
    print(select_text(text, near, labelling, out))


def fetch(
    data: Annotated[Path, typer.Option("--data", help="Data root to fill.")],
    lang: Lang = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="A corpus or task of the pack; again for more.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A model of the hub, by its id or its name in adapt bases.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of the model.")] = None,
    allow: Allow = None,
) -> None:
    """Fill a data root from the hub or from addresses; an interrupted download goes on."""
    from medlingua.recipes.commands.fetch import fetch as fetch_named
    from medlingua.recipes.commands.fetch import fetch_model

    if model is not None:
        print(fetch_model(model, revision, data, lang))
        return
    code = needed(lang, "--lang (and --name), or --model,", "what to fetch")
    for path in fetch_named(code, names or (), data, allow or ()):
        print(path)


def doctor(data: Data = None) -> None:
    """What is installed and reachable, what lies in the data root, what this machine will use and why."""
    from medlingua.recipes.commands.doctor import examine

    print(examine(Path(data) if data else None))
