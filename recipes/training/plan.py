"""What a run will cost on this machine, measured on a few of its own steps."""

import math
import time

import numpy as np
import torch
from medlingua.adapters.attention import choose_backend
from medlingua.adapters.document_attention import DENSE_TOKENS
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import pack
from medlingua.recipes.machine import Precision, describe, peak_memory_bytes
from medlingua.recipes.settings import Run
from medlingua.recipes.training.batches import Batch, Place
from medlingua.recipes.training.learner import plain_learner
from medlingua.recipes.training.loop import step
from medlingua.recipes.training.objectives import MaskedLM
from medlingua.reports.quantities import duration, memory
from medlingua.reports.rows import PlanRow


def decide(run: Run, encoder: Encoder, precision: Precision, seconds: float | None = None) -> PlanRow:
    """The plan of a run: what was chosen from the machine and why, and what it will need.

    seconds: from measured_seconds; the memory is then the peak of this process, which holds what its steps needed.
    """
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    backend = choose_backend(encoder.device, dtype)
    parameters = sum(p.numel() for p in encoder.model.parameters())
    return PlanRow(
        machine=describe(),
        device=str(encoder.device),
        threads=torch.get_num_threads(),
        precision=precision.name,
        precision_reason=precision.reason,
        attention=backend.name,
        attention_reason=backend.reason,
        parameters=parameters,
        tokens=run.tokens,
        steps=math.ceil(run.tokens / run.train.batch_tokens),
        memory_bytes=_memory(encoder, run, parameters) if seconds is None else peak_memory_bytes(),
        seconds=seconds,
    )


def measured_seconds(run: Run, encoder: Encoder, precision: Precision, minimum: float = 20.0) -> float:
    """Seconds of training that the run needs, from steps on random tokens that take `minimum` seconds.

    Trains the encoder on noise: give it one that is not needed afterwards.
    """
    learner = plain_learner(encoder, run.train, precision)
    objective = MaskedLM(encoder)
    batch = _noise(run, encoder)
    step(learner, objective, batch, 0.0)
    done, began = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - began < minimum:
        step(learner, objective, batch, 0.0)
        done += batch.tokens
    return run.tokens * (time.perf_counter() - began) / done


def in_words(plan: PlanRow) -> str:
    """A plan in lines for a person."""
    steps = "1 step" if plan.steps == 1 else f"about {plan.steps:,} steps"
    if plan.seconds is None:
        size, time_needed = f"about {memory(plan.memory_bytes)}, estimated", "not measured"
    else:
        size = (
            f"{memory(plan.memory_bytes)} at the peak of the measured steps: weights, gradients, the optimizer's "
            f"moments, activations{', and the libraries' if plan.device == 'cpu' else ''}"
        )
        rate = plan.tokens / plan.seconds if plan.seconds else 0.0
        time_needed = f"about {duration(plan.seconds)} of training ({rate:,.0f} tokens/s, measured)"
    lines = (
        f"machine    {plan.machine}",
        f"precision  {plan.precision}: {plan.precision_reason}",
        f"attention  {plan.attention}: {plan.attention_reason}",
        f"model      {plan.parameters:,} parameters",
        f"training   {plan.tokens:,} tokens in {steps}",
        f"memory     {size}",
        f"time       {time_needed}",
    )
    return "\n".join(lines)


def whole_steps(run: Run) -> tuple[str, ...]:
    """A line on each phase whose tokens are fewer than a step's: training goes by whole steps."""
    step_tokens = run.train.batch_tokens
    return tuple(
        f"phase '{phase.name}': {phase.tokens:,} tokens are less than a step, so one whole step of "
        f"train.batch_tokens = {step_tokens:,} is trained"
        for phase in run.phases
        if 0 < phase.tokens < step_tokens
    )


def _noise(run: Run, encoder: Encoder) -> Batch:
    rng = np.random.default_rng(0)
    length = min(run.train.context or encoder.length, encoder.length, run.train.micro_tokens)
    count = max(1, run.train.micro_tokens // length)
    row = pack([rng.integers(0, len(encoder.tokenizer), length) for _ in range(count)], encoder.first_position)
    tokens = count * length
    where = np.sort(rng.permutation(tokens)[: max(1, round(run.objective.mask_rate * tokens))])
    return Batch((row.with_labels(row.ids.numpy()[where], where),), tokens, len(where), Place())


def _memory(encoder: Encoder, run: Run, parameters: int) -> int:
    """Bytes: weights, gradients and two moments in fp32, and what a forward pass keeps for its backward."""
    config = encoder.model.config
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    context = min(run.train.context or encoder.length, encoder.length)
    weights = heads * context if context <= DENSE_TOKENS else 0  # longer documents keep none
    activations = run.train.micro_tokens * layers * (16 * width + weights) * 4
    return int(peak_memory_bytes() + 16 * parameters + activations)
