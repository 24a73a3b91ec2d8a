"""The subcommands that score: models, a language model's answers, another system's entities."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from medlingua.recipes.commands.options import Allow, Data, EvalSets, Lang, Scores, Task, given, needed, permitted
from medlingua.recipes.exits import SHOW_TEXT

_EVALUATION = Path("evaluation")


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Run folders, model folders or hub ids, baselines too.")],
    lang: Lang = None,
    data: Data = None,
    tasks: Annotated[str | None, typer.Option("--tasks", help="all, or names with commas. Default: all.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Fine-tuning runs a task. Default: 3.")] = None,
    out: Scores = _EVALUATION,
    keep: Annotated[bool, typer.Option("--keep", help="Save each fine-tuned model in OUT/models.")] = False,
    sets: EvalSets = None,
    allow: Allow = None,
) -> None:
    """Score models on a language's tasks, all by the same protocols. The language of a run's folder is known."""
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.folder import language_of
    from medlingua.recipes.resolve import resolve_eval

    code = needed(lang or language_of(models), "--lang", "the language whose tasks are scored")
    load_pack(code)  # an unknown language is an error before torch is imported
    settings, allowed = resolve_eval(given(tasks=tasks, seeds=seeds), tuple(sets or ())), permitted(allow)
    from medlingua.recipes.commands.evaluate import evaluate as score
    from medlingua.recipes.commands.evaluate import task_models

    print(
        score(
            tuple(models),
            code,
            data,
            settings,
            allowed,
            out,
            task_models(out) if keep else None,
            SHOW_TEXT in sys.argv,
        )
    )


def finetune(
    model: Annotated[str, typer.Argument(help="A run's folder, a model's folder or a hub id.")],
    lang: Lang = None,
    task: Annotated[str | None, typer.Option("--task", help="A task of the language, by name: adapt tasks.")] = None,
    data: Data = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Fine-tuning runs. Default: 3.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Save this seed's model. Default: the best on dev.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the model, its scores and report.")] = Path(
        "finetuned"
    ),
    sets: EvalSets = None,
    allow: Allow = None,
) -> None:
    """Fine-tune a model on a task, score it as adapt evaluate does, and save it for transformers, spaCy and apply.

    --show-text also writes errors.html, each error with the words around it. With --set eval.ner_head=spans a tagger
    of the same task is fine-tuned too, in OUT/tags, which takes twice the time.
    """
    from medlingua.languages.pack import load_pack
    from medlingua.recipes.folder import language_of
    from medlingua.recipes.resolve import resolve_eval

    code = needed(lang or language_of([model]), "--lang", "the language of the task")
    name = needed(task, "--task", f"the task to learn, one of adapt tasks --lang {code}")
    load_pack(code)
    settings, allowed = resolve_eval(given(tasks=[name], seeds=seeds), tuple(sets or ())), permitted(allow)
    from medlingua.recipes.commands.finetune import finetune as train

    print(train(model, code, data, settings, seed, allowed, out, SHOW_TEXT in sys.argv))


def prompts(
    model: Annotated[str, typer.Argument(help="The encoder that finds examples: a folder or a hub id.")],
    lang: Lang = None,
    task: Task = None,
    data: Data = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Sentences of train in each prompt.")] = 8,
    out: Annotated[Path, typer.Option("--out", help="The JSONL file to write.")] = Path("prompts.jsonl"),
    allow: Allow = None,
) -> None:
    """What to show a language model for NER: each test sentence with train sentences that are alike, as JSONL."""
    from medlingua.recipes.evaluation.prompts import write_prompts

    code, name = _language_and_task(lang, task, "whose test sentences are shown")
    print(write_prompts(model, code, name, data, examples, permitted(allow), out))


def answers(
    file: Annotated[Path, typer.Argument(help='JSONL: {"id": ..., "answer": [{"text": ..., "label": ...}]} a line.')],
    lang: Lang = None,
    task: Task = None,
    data: Data = None,
    name: Annotated[str, typer.Option("--name", help="What the answers are called in tables.")] = "answers",
    out: Scores = _EVALUATION,
    allow: Allow = None,
) -> None:
    """Score a language model's answers to `adapt prompts` as any other model's entities."""
    from medlingua.recipes.evaluation.prompts import score_answers

    code, of = _language_and_task(lang, task, "what the answers are about")
    print(score_answers(file, code, of, data, name, permitted(allow), out))


def score(
    file: Annotated[Path, typer.Argument(help="JSONL lines as in predictions/: ids, and spans by their offsets.")],
    lang: Lang = None,
    task: Task = None,
    data: Data = None,
    name: Annotated[str, typer.Option("--name", help="What the system is called in tables.")] = "predictions",
    out: Scores = _EVALUATION,
    allow: Allow = None,
) -> None:
    """Score the entities that another system found, by their offsets, as any model's."""
    from medlingua.recipes.evaluation.predictions import score_predictions

    code, of = _language_and_task(lang, task, "what the predictions are about")
    print(score_predictions(file, code, of, data, name, permitted(allow), out))


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders with scores: runs, evaluations, studies.")],
    task: Annotated[str, typer.Option("--task", help="The task to rank by.")],
    metric: Annotated[str | None, typer.Option("--metric", help="Default: the task's main metric.")] = None,
) -> None:
    """Rank what several folders scored on one task; scores of two protocols are refused."""
    from medlingua.reports.compare import ranking

    print(ranking(folders, task, metric), end="")


def _language_and_task(lang: str | None, task: str | None, why: str) -> tuple[str, str]:
    return needed(lang, "--lang and --task", why), needed(task, "--lang and --task", why)
