"""What a run decides before it trains, and what it says that it will cost."""

import time
from typing import Any

from medlingua.adapters.encoder import Encoder
from medlingua.recipes import machine
from medlingua.recipes.console import in_part, say
from medlingua.recipes.evaluation import held_out
from medlingua.recipes.evaluation.budget import fit_to_training
from medlingua.recipes.evaluation.held_out import HeldOutText, piece_counts
from medlingua.recipes.folder import write
from medlingua.recipes.job import Job
from medlingua.recipes.resolve import read_run
from medlingua.recipes.settings import Run
from medlingua.recipes.text.corpus import Prepared
from medlingua.recipes.training.defaults import many_passes
from medlingua.recipes.training.plan import (
    decide,
    in_words,
    plan_of,
    seconds_per_token,
    training_in_words,
    whole_steps,
)
from medlingua.reports.read import write_whole
from medlingua.reports.rows import DefaultRow, PlanRow

_SECONDS = 0.5  # of steps that are measured before a run


def planned(job: Job, encoder: Encoder, prepared: Prepared, evaluation_seconds: float) -> Job:
    """The job with every setting of its training decided, in run.toml and plan.json; once, before it trains."""
    if not (job.folder / "plan.json").exists():
        job, row = decided(job, encoder, prepared, evaluation_seconds)
        adapt_given = read_run(job.folder).adapt  # a fresh head may turn out not to be needed
        write_whole(job.folder / "run.toml", job.run.model_copy(update={"adapt": adapt_given}).to_toml())
        row = row.model_copy(update={"own_head": adapt_given.head != job.run.adapt.head})
        write(job.folder / "plan.json", row)
        # Of a fresh head's own training the machine and the model are those of the run, which says them.
        for line in (training_in_words(row),) if in_part() else (*in_words(row), *tasks_in_words(job)):
            say(line)
    else:
        job = job.with_run(run_of(job))
    for line in whole_steps(job.run):
        say(line)
    return job


def tasks_in_words(job: Job) -> tuple[str, ...]:
    """A line where no task will be scored, though none were switched off."""
    if job.inputs.tasks.tasks or job.run.eval.tasks != "all":
        return ()
    return (f"tasks       none is scored: give --data ROOT with tasks of language {job.inputs.pack.code}",)


def run_of(job: Job) -> Run:
    """The run as it was decided when it began."""
    collapse = job.run.train.collapse
    saved = read_run(job.folder)
    train = saved.train.model_copy(update={"collapse": collapse})
    return saved.model_copy(update={"adapt": job.run.adapt, "train": train})


def decided(
    job: Job, encoder: Encoder, prepared: Prepared, evaluation_seconds: float, minimum: float = _SECONDS
) -> tuple[Job, PlanRow]:
    """The job with every setting decided, and its plan. evaluation_seconds: of one evaluation on held-out text."""
    given = job.run
    precision = machine.precision_of(given.train.precision, encoder.device)
    chosen = decide(given, encoder, prepared.shards)
    for line in many_passes(chosen.run, chosen.pass_tokens):
        say(line)
    row = plan_of(chosen, encoder, precision, minimum)
    evaluations = 2 + (row.tokens // chosen.run.train.eval_tokens if row.tokens else 0)
    tasks = job.inputs.tasks.tasks
    per_token = (row.seconds or 0.0) / row.tokens if row.tokens else 0.0
    if tasks and not row.tokens:  # nothing is trained but on the tasks
        per_token = seconds_per_token(chosen.run, encoder, precision, minimum)
    fitting = fit_to_training(
        tasks, given.eval, per_token / _chars_per_token(prepared, encoder), 2 if job.base else 1, row.seconds or 0.0,
        choose_tasks="eval.tasks" in given.decided and row.tokens > 0,
        choose_seeds="eval.seeds" in given.decided and row.tokens > 0,
    )  # fmt: skip
    defaults = list(row.defaults)
    changes: dict[str, Any] = {}
    if fitting.left_out:
        changes["tasks"] = fitting.tasks
        reason = "what can be scored in the time of training, 15 minutes at least"
        defaults.append(DefaultRow(setting="eval.tasks", value=fitting.tasks, reason=reason))
    if fitting.seeds != given.eval.seeds:
        changes["seeds"] = fitting.seeds
        reason = "three would take longer than training"
        defaults.append(DefaultRow(setting="eval.seeds", value=fitting.seeds, reason=reason))
    run = chosen.run.model_copy(update={"eval": given.eval.model_copy(update=changes)})
    update = {
        "evaluation_seconds": evaluations * evaluation_seconds,
        "task_seconds": fitting.seconds,
        "defaults": tuple(defaults),
        "not_scored": fitting.left_out,
    }
    return job.with_run(run), row.model_copy(update=update)


def _chars_per_token(prepared: Prepared, encoder: Encoder) -> float:
    text = " ".join(h.text[:2_000] for h in prepared.held_out[:20]) or "texte"
    return len(text) / max(1, len(encoder.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids))


def evaluation_seconds(encoder: Encoder, prepared: Prepared, text: HeldOutText) -> float:
    """Of one evaluation on held-out text, by doing it."""
    if not text.passages:
        return 0.0
    counts = piece_counts(prepared.shards, encoder.tokenizer, encoder.tokenizer)
    began = time.perf_counter()
    held_out.measure(encoder, text, counts, model="the start", phase=0, step=0, tokens=0)
    return time.perf_counter() - began
