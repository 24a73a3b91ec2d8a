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
from medlingua.reports.rows import PlanRow


def decide(run: Run, encoder: Encoder, precision: Precision, seconds: float | None = None) -> PlanRow:
    """The plan of a run: what was chosen from the machine and why, and what it will need."""
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
        memory_bytes=_memory(encoder, run, parameters),
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
    rate = plan.tokens / plan.seconds if plan.seconds else 0.0
    lines = (
        f"machine    {plan.machine}",
        f"precision  {plan.precision}: {plan.precision_reason}",
        f"attention  {plan.attention}: {plan.attention_reason}",
        f"model      {plan.parameters:,} parameters",
        f"training   {plan.tokens:,} tokens in about {plan.steps:,} steps",
        f"memory     about {plan.memory_bytes / 2**30:.1f} GiB",
        f"time       about {(plan.seconds or 0) / 3600:.2f} hours of training ({rate:,.0f} tokens/s, measured)",
    )
    return "\n".join(lines)


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
