"""`adapt finetune`: a model fine-tuned on one task, scored as `adapt evaluate` does, and saved."""

from pathlib import Path

from medlingua.adapters.encoder import Permission
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.recipes.commands.evaluate import evaluate
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.candidate import Keep
from medlingua.recipes.evaluation.saved_task import TaskRecord, read_record
from medlingua.recipes.settings import Eval


def finetune(
    model: str,
    lang: str,
    data: str | None,
    settings: Eval,
    seed: int | None,
    allow: tuple[Permission, ...],
    folder: Path,
    show_text: bool = False,
) -> Path:
    """Fine-tune a model on the one task of `settings.tasks` and save it in folder/model; returns that path.

    Labels of whole texts are read from the first token unless eval.pooling is given: the stock classes have no other
    head. seed: the one whose model is saved; None for the best by dev. The scores of all seeds and a report lie in
    `folder`; with `show_text` a page of errors, too. A stopped call goes on where it was.

    Plain transformers has no span head. So with eval.ner_head = "spans" the task is also fine-tuned with tags, with
    scores, report and model of their own in folder/tags: twice the time. InputError as of `evaluate`.
    """
    if "pooling" not in settings.model_fields_set:
        settings = settings.model_copy(update={"pooling": "first"})
    untrained = {spec.name for spec in load_pack(lang).tasks if spec.kind == "normalization"}
    for name in untrained.intersection(settings.tasks):
        raise InputError(
            f"task {name}: kind normalization trains nothing, so there is no model to save; score it with "
            "adapt evaluate"
        )
    if seed is not None and seed >= settings.seeds:
        raise InputError(
            f"--seed {seed}: {settings.seeds} seeds are run, from 0 on; set --seeds to {seed + 1} or more"
        )
    record = _saved(model, lang, data, settings, seed, allow, folder, show_text)
    if record.task.kind == "ner" and settings.ner_head == "spans":
        tags = settings.model_copy(update={"ner_head": "tags"})
        say(
            f"{folder / 'tags'}: the same task with tags, for plain transformers, takes about as long again; to do "
            "without it, stop here, or use adapt evaluate --keep"
        )
        _saved(model, lang, data, tags, seed, allow, folder / "tags", show_text)
    return folder / "model"


def _saved(
    model: str,
    lang: str,
    data: str | None,
    settings: Eval,
    seed: int | None,
    allow: tuple[Permission, ...],
    folder: Path,
    show_text: bool,
) -> TaskRecord:
    """Fine-tune, score and save; the record of the model that was saved."""
    place = folder / "model"
    evaluate((model,), lang, data, settings, allow, folder, Keep(lambda model, task: place, seed), show_text)
    record = read_record(place)
    opens = f"plain transformers opens it as {record.stock_class}"
    if not record.stock_class:
        opens = "plain transformers opens its encoder, as it has no class with this head"
    say(
        f"{place}: seed {record.seed}, {record.metric} {record.dev[record.metric]:.3f} on dev and "
        f"{record.test[record.metric]:.3f} on test ({record.protocol}); {opens}"
    )
    return record
