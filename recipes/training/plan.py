"""What a run will cost on this machine, measured on a few of its own steps."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.kernels.choice import choose
from medlingua.adapters.kernels.contract import Request
from medlingua.adapters.packed import pack
from medlingua.recipes.machine import Precision, describe, memory_bytes, peak_memory_bytes
from medlingua.recipes.settings import Run
from medlingua.recipes.text.shards import Shard
from medlingua.recipes.training import defaults
from medlingua.recipes.training.batches import Batch, Place, pass_tokens
from medlingua.recipes.training.checkpoint import COPIES
from medlingua.recipes.training.learner import plain_learner
from medlingua.recipes.training.memory import size_of, training_bytes
from medlingua.recipes.training.objectives import LanguageModelLoss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.schedules import batch_warmup
from medlingua.reports.quantities import THIN, duration, memory, short, times
from medlingua.reports.rows import DefaultRow, PlanRow


@dataclass(frozen=True, slots=True)
class Decided:
    """A run with a value for every setting of its training, and what of it was decided, for the plan."""

    run: Run
    defaults: tuple[DefaultRow, ...]
    pass_tokens: Sequence[int]


def decide(run: Run, encoder: Encoder, shards: tuple[Shard, ...]) -> Decided:
    """The settings of training that nobody gave, decided from the model, the corpora and this machine."""
    size = size_of(encoder, run.train.context, _predicted(run), run.train.lora)
    tokens = [pass_tokens(shards, phase) for phase in run.phases]
    device = encoder.device.type
    decided, rows = defaults.decide(run, defaults.Facts(size, tokens, memory_bytes(), device))
    return Decided(decided, rows, tokens)


def plan_of(decided: Decided, encoder: Encoder, precision: Precision, minimum: float) -> PlanRow:
    """The plan of a run, its speed measured on steps that take `minimum` seconds. The encoder is not changed."""
    run = decided.run
    attention, reason = "padded", "the layers of transformers, on batches of documents of similar length"
    if not encoder.architecture.padded:
        kernel, reason = choose(Request(encoder.device, precision.dtype))
        attention = kernel.name
    size = size_of(encoder, run.train.context, _predicted(run), run.train.lora)
    seconds = run.tokens * seconds_per_token(run, encoder, precision, minimum) if run.tokens else 0.0
    weights = 4 * size.parameters
    return PlanRow(
        machine=describe(),
        device=str(encoder.device),
        threads=torch.get_num_threads(),
        precision=precision.name,
        precision_reason=precision.reason,
        attention=attention,
        attention_reason=reason,
        parameters=size.parameters,
        tokens=run.tokens,
        steps=math.ceil(
            run.tokens / run.train.batch_tokens + sum(batch_warmup(run.train, p).steps_more for p in run.phases)
        ),
        memory_bytes=training_bytes(size, run.train.micro_tokens, encoder.device.type),
        seconds=seconds,
        corpus_tokens=max(decided.pass_tokens, default=0),
        passes=defaults.passes(run, decided.pass_tokens),
        # Checkpoints hold weights and two moments; one more is written before the oldest goes. Tokens take two bytes.
        disk_bytes=(COPIES + 1) * 3 * weights + 2 * weights + 2 * max(decided.pass_tokens, default=0),
        defaults=decided.defaults,
    )


def seconds_per_token(run: Run, encoder: Encoder, precision: Precision, minimum: float) -> float:
    """Seconds of training on a token, from steps of a copy of the encoder on random tokens."""
    learner = plain_learner(replace(encoder, model=copy.deepcopy(encoder.model)), run.train, precision)
    learner.encoder.model.train()
    if learner.working is not None:
        learner.working.prepare(run.train.dropout)
    objective = LanguageModelLoss(learner.passing)
    batch = _noise(run, encoder)
    step(learner, objective, batch, 0.0)
    done, began = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - began < minimum:
        step(learner, objective, batch, 0.0)
        done += batch.tokens
    return (time.perf_counter() - began) / done


def training_in_words(plan: PlanRow) -> str:
    """What training will take, in one line."""
    if not plan.tokens:
        return "training    none: train.tokens = 0"
    steps = "1 step" if plan.steps == 1 else f"about {plan.steps:,} steps"
    rate = plan.tokens / plan.seconds if plan.seconds else 0.0
    time = f"about {duration(plan.seconds or 0.0)} ({rate:,.0f} tokens/s, measured)" if rate else "none"
    return f"training    {plan.tokens:,} tokens in {steps}: {time}"


def in_words(plan: PlanRow) -> tuple[str, ...]:
    """A plan in lines for a person."""
    evaluation = f"about {duration(plan.evaluation_seconds + plan.task_seconds)}"
    if plan.task_seconds:
        evaluation += f", {duration(plan.task_seconds)} of it fine-tuning on tasks (from the speed of training)"
    lines = [
        f"machine     {plan.machine}",
        f"precision   {plan.precision}: {plan.precision_reason}",
        f"attention   {plan.attention}: {plan.attention_reason}",
        f"model       {short(plan.parameters).replace(THIN, ',')} parameters",
        f"corpus      {plan.corpus_tokens:,} tokens, special tokens counted, read {times(plan.passes)}",
        training_in_words(plan),
        f"evaluation  {evaluation}",
        f"memory      {memory(plan.memory_bytes)} while training, by the formula; peak so far "
        f"{memory(peak_memory_bytes())}",
        f"disk        about {memory(plan.disk_bytes)}",
    ]
    lines += [f"default     {row.setting} = {row.text}: {row.reason}" for row in plan.defaults]
    if plan.not_scored:
        lines.append(
            f"not scored  {', '.join(plan.not_scored)}: evaluation would take longer than training. Name them in "
            "eval.tasks, or score them later with adapt evaluate"
        )
    return tuple(lines)


def whole_steps(run: Run) -> tuple[str, ...]:
    """A line on each phase whose tokens are fewer than a step's, which holds as many documents as fit into it."""
    step_tokens = run.train.batch_tokens
    return tuple(
        f"phase '{phase.name}': {phase.tokens:,} tokens are less than a step of train.batch_tokens = "
        f"{step_tokens:,}, and training goes by whole steps: more is trained"
        for phase in run.phases
        if 0 < phase.tokens < step_tokens
    )


def _predicted(run: Run) -> float:
    """The largest share of the tokens that a phase predicts."""
    shares = (1.0 if phase.kind == "clm" else phase.mask_rate for phase in run.phases)
    return max(shares, default=run.objective.mask_rate)


def _noise(run: Run, encoder: Encoder) -> Batch:
    rng = np.random.default_rng(0)
    length = min(run.train.context or encoder.length, encoder.length, run.train.micro_tokens)
    count = max(1, run.train.micro_tokens // length)
    row = pack([rng.integers(0, len(encoder.tokenizer), length) for _ in range(count)], encoder.first_position)
    tokens = count * length
    where = np.sort(rng.permutation(tokens)[: max(1, round(_predicted(run) * tokens))])
    return Batch((row.with_labels(row.ids.numpy()[where], where),), tokens, len(where), Place())
