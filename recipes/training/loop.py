"""The one training loop. Every strategy, every phase and every length goes through it."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.lora import MARK, has_lora, merge_lora
from medlingua.adapters.rotary import set_theta
from medlingua.languages.errors import InputError
from medlingua.recipes.console import Bar, progress, say
from medlingua.recipes.machine import collector_at_rest
from medlingua.recipes.settings import LANGUAGE_MODELS, Phase
from medlingua.recipes.training import checkpoint, effects, sharded
from medlingua.recipes.training.batches import Batch, Fill, Place, Stream, batches, frame_of, halved
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.effects import Step
from medlingua.recipes.training.learner import GradientMasks, Learner, Training, build_learner
from medlingua.recipes.training.objectives import (
    Distilled,
    DistilledAnswers,
    LanguageModelLoss,
    Masker,
    NextToken,
    masker,
    special_ids,
)
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.prefetch import prefetched
from medlingua.recipes.training.relations import RelationLoss, RelationStream
from medlingua.recipes.training.replaced_tokens import ReplacedTokens
from medlingua.recipes.training.schedules import batch_warmup, lr_factor
from medlingua.recipes.training.stopping import stop_requests
from medlingua.recipes.training.term_stream import TermStream
from medlingua.recipes.training.terms import Terms
from torch import Tensor

_PADDING = 128  # tokens of a document of padding: attention to short ones costs little


@dataclass(frozen=True, slots=True)
class _Work:
    """What a phase trains by: its loss, its batches, and what of its parameters does not move."""

    objective: torch.nn.Module
    stream: Stream | TermStream | RelationStream
    masks: GradientMasks


def train(encoder: Encoder, training: Training) -> Checkpoint:
    """Train the encoder's model in place through all phases of a run, from its newest checkpoint where there is one.

    Weights are fp32. Writes metrics.jsonl and checkpoints/ in the run's folder. All processes of a run call this with
    the same arguments: they go through the same batches, of which each does a part, and the main one writes.
    Raises Interrupted after saving, and InputError for a loss that is not finite.
    """
    run = training.run
    learner = build_learner(encoder, training)
    state = _restore(learner, training)
    model = learner.trained.model
    set_dropout(model, run.train.dropout)
    if run.train.dropout and not any(isinstance(m, torch.nn.Dropout) for m in model.modules()):
        say("train.dropout changes nothing: this family has it on attention weights alone, which packing excludes")
    model.train()
    if learner.working is not None and learner.working.compiled and run.tokens > state.tokens:
        say("the first step compiles the layers, up to half a minute; torch keeps the result for later runs")
    at_rest = collector_at_rest(encoder.device)
    with stop_requests() as requested, at_rest, progress("training", run.tokens, state.tokens) as bar:
        for number in range(state.phase, len(run.phases)):
            if state.phase != number:
                state = replace(
                    state, phase=number, phase_tokens=0, place=Place(), window_start=state.tokens, window_loss=0.0,
                    windows_at_unigram=0,
                )  # fmt: skip
            state = _train_phase(learner, training, state, bar, requested)
        effects.save_checkpoint(learner, training, state)
        if learner.processes.any(requested.is_set()):  # after the last step
            effects.stop(learner, training, state)
    _finish(learner)
    if run.train.average > 1 and run.tokens and learner.processes.is_main:
        _average(learner, training, state)
    if run.train.lora is not None:
        merge_lora(learner.encoder.model)
    if training.probe is not None and run.tokens and learner.processes.is_main:
        training.probe.check_states(learner.encoder)
    return state


def _train_phase(
    learner: Learner, training: Training, state: Checkpoint, bar: Bar, requested: threading.Event
) -> Checkpoint:
    """The steps that are left of the phase that `state` is in, each followed by its effects in their order."""
    work = _work_of(learner, training, state.phase)
    logged, halvings = state.tokens, 0
    for batch in _remaining(work.stream, learner, training, state):
        if state.phase_tokens == 0:
            _warn_of_idle_processes(batch, learner.processes.size)
        step, halvings = _do_step_that_fits(learner, training, work, batch, state, halvings)
        state = step.after
        stopping = learner.processes.any(requested.is_set())
        effects.show_progress(bar, training, step)
        logged = effects.log_metrics(learner, training, step, logged)
        effects.evaluate(learner, training, step)
        if stopping or step.crosses(training.run.train.checkpoint_tokens):
            effects.save_checkpoint(learner, training, state)
        if stopping:
            effects.stop(learner, training, state)
        if step.ends_phase:
            break
    return state


def _work_of(learner: Learner, training: Training, number: int) -> _Work:
    run, encoder = training.run, learner.trained
    phase = run.phases[number]
    context = min(phase.context or encoder.length, encoder.length)
    if learner.electra is not None:  # it shares the encoder's embeddings, on which _trainable has the last word
        learner.electra.requires_grad_(phase.kind == "rtd")
    if phase.context is not None and phase.context > encoder.length and learner.processes.is_main:
        say(
            f"phase '{phase.name}': context {phase.context:,} is more than the model reads: {encoder.length:,} are "
            "used"
        )
    _set_theta(learner, run.phases[: number + 1])
    masks = _trainable(encoder, phase.parameters, training.new_ids)
    if learner.working is not None:
        learner.working.prepare(run.train.dropout)
    # An untied head is decayed; embeddings that a phase does not train must not shrink.
    for group in learner.optimizer.param_groups:
        if "decayed" in group:
            group["weight_decay"] = 0.0 if phase.parameters == "rows" else run.train.weight_decay
    objective: torch.nn.Module = LanguageModelLoss(learner.passing, causal=phase.kind == "clm")
    if learner.electra is not None and phase.kind == "rtd":
        objective = ReplacedTokens(encoder, learner.electra)
    if phase.kind == "distil":
        if training.source is None:
            raise ValueError("a phase of kind distil needs the source to learn from")
        context = min(context, training.source.length)
        distilled = Distilled if run.new_rotations else DistilledAnswers
        objective = distilled(encoder, training.source)
    stream: Stream | TermStream | RelationStream
    if phase.kind == "relations" and learner.relation_head is not None:
        objective = RelationLoss(encoder, learner.relation_head)
        stream = RelationStream(
            training.terminology, encoder, context, number, run.train.seed,
            masker(encoder.tokenizer, "piece", phase.mask_rate),
        )  # fmt: skip
    elif phase.kind == "terms":
        objective = Terms(encoder, training.relations, run.objective.hierarchy_steps)
        stream = TermStream(training.concepts, encoder.tokenizer, context, number, run.train.seed, training.relations)
    else:
        targets: Masker | NextToken = masker(encoder.tokenizer, phase.unit, phase.mask_rate)
        if phase.kind == "clm":
            targets = NextToken(special_ids(encoder.tokenizer))
        stream = Stream(training.shards, phase, number, run.train.seed, frame_of(encoder.tokenizer, context), targets)
    if learner.split is not None:
        objective = sharded.SplitObjective(learner.split, objective)
    return _Work(objective, stream, masks)


def _set_theta(learner: Learner, phases: Sequence[Phase]) -> None:
    """The rotations of the last of these phases: what a phase leaves out stays as it was in the one before."""
    given = [phase.theta for phase in phases if phase.theta is not None]
    if not given:
        return
    for encoder in {id(e): e for e in (learner.encoder, learner.trained, learner.passing)}.values():
        set_theta(encoder, given[-1])


def _do_step_that_fits(
    learner: Learner, training: Training, work: _Work, batch: Batch, state: Checkpoint, halvings: int
) -> tuple[Step, int]:
    """The step, in forward passes halved so many times; once more, and again, where memory runs out."""
    for _ in range(halvings):
        batch = halved(batch)
    while True:
        try:
            return _do_step(learner, training, work, batch, state), halvings
        except torch.OutOfMemoryError:
            learner.optimizer.zero_grad()
            smaller = halved(batch)
            tokens = max(len(packed.ids) for packed in smaller.micro)
            say(
                f"out of memory: forward passes are halved to {tokens:,} tokens from here on, and the step done again"
            )
            batch, halvings = smaller, halvings + 1
            if learner.accelerator.device.type == "cuda":
                torch.cuda.empty_cache()


def _do_step(learner: Learner, training: Training, work: _Work, batch: Batch, state: Checkpoint) -> Step:
    run, phase = training.run, training.run.phases[state.phase]
    began = time.perf_counter()
    lr = phase.lr * lr_factor(phase, state.phase_tokens)
    if learner.gradual is not None:
        learner.gradual.set(min(1.0, state.tokens / (run.adapt.start_share * run.tokens)))
    seed = run.train.seed * 1_000_003 + state.step
    loss, norm = step(learner, work.objective, batch, lr, seed, work.masks)
    if not batch.targets:
        raise InputError(
            f"step {state.step + 1} of phase '{phase.name}' has no token to predict: all of its text is special or "
            f"unknown to the tokenizer (pass {state.place.passed}, documents {state.place.document} to "
            f"{batch.after.document} of its order). Take a base whose tokenizer reads this text, or leave it out"
        )
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} at step {state.step + 1} of phase '{phase.name}' (pass "
            f"{state.place.passed}, documents {state.place.document} to {batch.after.document} of its "
            "order). Try a lower train.lr, or train.precision = 'fp32'; the last checkpoint is intact"
        )
    if learner.scaler is not None and not math.isfinite(norm):
        say(
            f"step {state.step + 1:,} changes no weight: its gradients leave the range of fp16. The loss scale "
            "is halved"
        )
    after = replace(
        state, step=state.step + 1, tokens=state.tokens + batch.tokens,
        phase_tokens=state.phase_tokens + batch.tokens, place=batch.after,
        seconds=state.seconds + time.perf_counter() - began,
    )  # fmt: skip
    if training.probe is not None:
        after = training.probe.check_loss(phase, state, after, loss)
    return Step(phase, state, after, loss, norm, lr)


def _restore(learner: Learner, training: Training) -> Checkpoint:
    """The newest whole checkpoint, loaded, or the first one, written; the same for all processes."""
    folder, processes = training.folder / "checkpoints", learner.processes
    state: Checkpoint | None = None
    damaged: list[str] = []
    if processes.is_main:
        state, damaged = checkpoint.restore(folder, learner.module, learner.optimizer)
    fresh = processes.any(processes.is_main and state is None)
    if fresh:
        if training.run.train.optimizer_from is not None:
            checkpoint.carry_over(Path(training.run.train.optimizer_from), learner.module, learner.optimizer)
        effects.save_checkpoint(learner, training, Checkpoint())
        processes.any(False)  # it is written
    if not processes.is_main:
        state, damaged = checkpoint.restore(folder, learner.module, learner.optimizer)
    for line in damaged:
        say(line)
    state = state or Checkpoint()
    if learner.scaler is not None and state.loss_scale is not None:
        scaling = {"scale": state.loss_scale, "_growth_tracker": state.scale_steps}
        learner.scaler.load_state_dict(learner.scaler.state_dict() | scaling)
    if not fresh:
        state = replace(state, resumed=state.resumed + 1)
        say(f"resuming at step {state.step:,}, {state.tokens:,} of {training.run.tokens:,} tokens")
    if not processes.all_equal(state.step):
        raise InputError(
            f"the processes do not see the same checkpoint in {folder}: it must lie where all can read it"
        )
    return state


def _trainable(encoder: Encoder, parameters: str, new_ids: Tensor | None) -> GradientMasks:
    """Set which parameters a phase trains; the masks of those that it trains in part."""
    model = encoder.model
    model.requires_grad_(parameters == "all")
    if parameters == "all":
        if has_lora(model):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(MARK in name)
        return []
    if parameters == "head":
        model.requires_grad_(True)
        model.base_model.requires_grad_(False)
        return []
    if new_ids is None or not len(new_ids):
        raise InputError("parameters 'rows' trains the embeddings of new pieces, and the vocabulary has none")
    _, decoder = encoder.architecture.head(model)
    tables = {id(p): p for p in (model.get_input_embeddings().weight, decoder.weight, decoder.bias) if p is not None}
    chosen = torch.zeros(len(decoder.weight), device=encoder.device)
    chosen[new_ids.to(encoder.device)] = 1
    masks: list[tuple[Tensor, Tensor]] = []
    for table in tables.values():
        table.requires_grad_(True)
        masks.append((table, sharded.like(chosen if table.ndim == 1 else chosen[:, None], table)))
    return masks


def _remaining(
    stream: Stream | TermStream | RelationStream, learner: Learner, training: Training, state: Checkpoint
) -> Iterator[Batch]:
    """The batches that are left of the phase that `state` is in."""
    settings, processes = training.run.train, learner.processes
    phase: Phase = training.run.phases[state.phase]
    if state.phase_tokens >= phase.tokens:
        return
    micro = settings.micro_tokens
    # The loss of the other kinds is one of a whole micro-batch, so they are not cut for more processes.
    if phase.kind in LANGUAGE_MODELS and processes.size > 1:
        micro = min(micro, math.ceil(settings.batch_tokens / processes.size))
    encoder, fill = learner.encoder, None
    if learner.working is not None and learner.working.compiled:
        fill = Fill(encoder.tokenizer.pad_token_id, min(encoder.length, _PADDING))
    stepwise = batches(
        stream, state.place, settings.batch_tokens, micro, encoder.first_position, encoder.global_ids,
        processes.rank, processes.size, fill, state.phase_tokens, batch_warmup(settings, phase),
    )  # fmt: skip
    yield from prefetched(stepwise) if encoder.device.type == "cuda" else stepwise


def _warn_of_idle_processes(batch: Batch, processes: int) -> None:
    if batch.passes < processes:
        say(
            f"only {batch.passes} of {processes} processes have work in a step of "
            f"{batch.tokens:,} tokens: raise train.batch_tokens, or lower train.micro_tokens"
        )


def _average(learner: Learner, training: Training, state: Checkpoint) -> None:
    """Set the whole model to the mean of its last checkpoints."""
    wanted = training.run.train.average
    prefix = "model." if isinstance(learner.module, torch.nn.ModuleDict) else ""  # beside heads that are thrown away
    used = checkpoint.set_to_average(
        training.folder / "checkpoints", wanted, state.phase, learner.encoder.model, prefix
    )
    fewer = (
        f", all that the last phase has (train.average = {wanted}; train.checkpoint_tokens)" if used < wanted else ""
    )
    say(f"the model is the mean of its last {used} checkpoints{fewer}")


def _finish(learner: Learner) -> None:
    """Leave the whole model ready to be evaluated and saved."""
    if learner.gradual is not None:
        learner.gradual.set(1.0)
    learner.gather()
    set_dropout(learner.encoder.model, 0.0)
    learner.encoder.model.requires_grad_(True).eval()
    if any(getattr(module, "gradient_checkpointing", False) for module in learner.encoder.model.modules()):
        learner.encoder.model.gradient_checkpointing_disable()
    if learner.trackers:
        learner.accelerator.end_training()
