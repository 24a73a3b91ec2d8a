"""One step of the optimizer: forward and backward passes over a batch, of which each process does a part."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from medlingua.adapters.packed import Packed
from medlingua.recipes.training import sharded
from medlingua.recipes.training.batches import Batch
from medlingua.recipes.training.learner import GradientMasks, Learner

_MICRO_SEEDS = 2**40  # seeds of a step's micro-batches lie further apart than those of steps


def step(
    learner: Learner, objective: torch.nn.Module, batch: Batch, lr: float, seed: int = 0, masks: GradientMasks = ()
) -> tuple[float, float]:
    """One optimizer step: (mean loss in nats a target, gradient norm before clipping).

    The sum over all micro-batches, of all processes, is divided by all their targets, so the gradient does not depend
    on how the batch was cut and dealt (TRAPS O1, O2).
    """
    accelerator, optimizer, working, scaler = learner.accelerator, learner.optimizer, learner.working, learner.scaler
    device = accelerator.device
    total = torch.zeros((), device=device)
    for number, packed in zip(batch.numbers or range(len(batch.micro)), batch.micro, strict=True):
        # Dropout's draws depend on the step and the micro-batch alone: a resumed run draws the same.
        torch.manual_seed(seed + number * _MICRO_SEEDS)
        with _autocast(learner):
            loss = objective(_moved(packed, learner)) / batch.targets
        accelerator.backward(loss if scaler is None else scaler.scale(loss))
        if working is not None:
            working.collect_gradients()
        total += loss.detach()
    # The layers of a split model are gathered by all processes at once, so one that has no work left goes along.
    for packed in batch.spare if isinstance(objective, sharded.SplitObjective) else ():
        with _autocast(learner):
            loss = 0.0 * objective(packed.to(device))
        accelerator.backward(loss)
    total = learner.processes.sum_gradients(learner.module.parameters(), total)
    if scaler is not None:
        scaler.unscale_(optimizer)
    for parameter, factor in masks:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)
    clip = learner.clip or math.inf
    norm = sharded.full_tensor(torch.nn.utils.clip_grad_norm_(learner.module.parameters(), clip))
    for group in optimizer.param_groups:
        group["lr"] = lr
    if scaler is not None:  # leaves a step out whose gradients are not finite, and halves its scale
        scaler.step(optimizer)
        scaler.update()
    elif optimizer.defaults.get("fused") and learner.split is None:
        # The optimizer itself leaves a step out whose loss is not finite, as it does for a GradScaler: nobody waits.
        optimizer.found_inf = (~torch.isfinite(total)).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif torch.isfinite(total):
        optimizer.step()
    optimizer.zero_grad()
    if working is not None:
        working.refresh()
    loss_and_norm = torch.stack([total, norm]).tolist()  # the one time in a step that a GPU is waited for
    return loss_and_norm[0], loss_and_norm[1]


def _moved(packed: Packed, learner: Learner) -> Packed:
    """On the device; how many documents there are differs from row to row, which a compiler has to know."""
    packed = packed.to(learner.accelerator.device)
    if learner.working is not None and learner.working.compiled:
        for borders in (packed.cu_seqlens, packed.global_tokens):
            torch._dynamo.maybe_mark_dynamic(borders, 0)
    return packed


def _autocast(learner: Learner) -> Any:
    """Mixed precision, where the model has no copy in bf16."""
    if learner.scaler is not None:
        return torch.autocast(learner.accelerator.device.type, torch.float16)
    in_bf16 = learner.passing.model.dtype == torch.bfloat16
    return nullcontext() if in_bf16 else learner.accelerator.autocast()
