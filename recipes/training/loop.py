"""The one training loop. Every strategy, every phase and every length goes through it."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.gradual import Gradual
from medlingua.languages.errors import InputError
from medlingua.recipes.console import progress, say
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Phase, Run, Train
from medlingua.recipes.text.shards import Shard
from medlingua.recipes.training import checkpoint, sharded
from medlingua.recipes.training.batches import Batch, Place, Stream, batches, frame_of
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.objectives import Distilled, MaskedLM, masker
from medlingua.recipes.training.processes import ALONE, Ranks
from medlingua.recipes.training.replaced_tokens import Beside, ReplacedTokens
from medlingua.recipes.training.term_stream import Concept, Kin, TermStream
from medlingua.recipes.training.terms import Terms
from medlingua.reports.read import append_row
from medlingua.reports.rows import EvalRow, TrainRow
from torch import Tensor

_APART = 2**40  # seeds of a step's micro-batches: further than those of steps
_LOGGED_ROWS = 200  # about so many rows of metrics a run

Held = Sequence[tuple[Tensor, Tensor]]
Evaluate = Callable[[Encoder, Checkpoint], EvalRow | None]


class Interrupted(Exception):
    """SIGTERM, SIGUSR1 or Ctrl-C: the state is saved, the same command goes on."""


def check_trackers(names: tuple[str, ...]) -> None:
    """InputError for a tracker that is not installed: accelerate would leave it out without a word."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(f"train.trackers: {', '.join(missing)} is not installed (pip install {' '.join(missing)})")


def train(
    encoder: Encoder,
    shards: tuple[Shard, ...],
    run: Run,
    folder: Path,
    precision: Precision,
    evaluate: Evaluate,
    source: Encoder | None = None,
    new_rows: torch.Tensor | None = None,
    concepts: Sequence[Concept] = (),
    kin: Kin = (),
    watch: Callable[[EvalRow], None] | None = None,
    ranks: Ranks = ALONE,
) -> Checkpoint:
    """Train through all phases of a run, from its newest checkpoint where there is one.

    Writes metrics.jsonl and checkpoints/ in `folder`. Raises Interrupted after saving, and InputError on a
    loss that is not finite. The encoder's model is trained in place, in fp32 master weights. source: the model
    before a conversion, for the phases that learn from it and for positions that change gradually. new_rows: ids of
    the pieces that the base did not have, for phases that train their rows alone. concepts, kin: for phases of
    kind terms. watch: shown each look's row once it is written; what it raises ends the training. ranks: the
    processes that train together, all of them here with the same arguments; they go through the same batches, of
    which each does a part, and rank 0 alone writes.
    """
    splits = run.train.shard and ranks.size > 1
    if run.train.shard and not splits:
        say("train.shard splits the model over the processes of a run, and there is one: it stays whole")
    # What trains; `encoder` itself unless it is split, then that one is looked at and saved, by the first process.
    learner = sharded.copied(encoder) if splits else encoder
    accelerator = Accelerator(
        mixed_precision="bf16" if precision.name == "bf16" else "no",
        cpu=encoder.device.type == "cpu",
        log_with=(list(run.train.trackers) or None) if ranks.writes else None,
        project_dir=folder,
    )
    if run.train.trackers and ranks.writes:
        accelerator.init_trackers("medlingua", config={"name": run.name, "digest": run.digest})
    gradual = Gradual(source, learner) if source is not None and run.adapt.start == "gradual" else None
    detects = any(phase.kind == "rtd" for phase in run.phases)
    beside = Beside(learner, run.train.seed, run.train.dropout) if detects else None
    trained: torch.nn.Module = learner.model
    if beside is not None:
        trained = torch.nn.ModuleDict({"model": learner.model, "beside": beside})
    split = sharded.split(trained, learner.model.base_model) if splits else None
    if splits and not ranks.writes:
        encoder.model.to("meta")  # the first process keeps the whole one
    optimizer = build_optimizer(trained, run.train)
    state = _begin(folder / "checkpoints", run, trained, optimizer, ranks)
    set_dropout(learner.model, run.train.dropout)
    if run.train.dropout and not any(isinstance(m, torch.nn.Dropout) for m in learner.model.modules()):
        say("train.dropout changes nothing: this family has it on attention weights alone, which packing excludes")
    learner.model.train()
    with _stop_requests() as stop, progress("training", run.tokens) as bar:
        for number in range(state.phase, len(run.phases)):
            phase = run.phases[number]
            context = min(phase.context or encoder.length, encoder.length)
            if beside is not None:  # it shares the encoder's table, on which _free has the last word
                beside.requires_grad_(phase.kind == "rtd")
            held = _free(learner, phase.parameters, new_rows)
            # An untied head is decayed; the rows that a phase leaves alone must not shrink.
            optimizer.param_groups[0]["weight_decay"] = 0.0 if phase.parameters == "rows" else run.train.weight_decay
            objective: torch.nn.Module = MaskedLM(learner)
            if beside is not None and phase.kind == "rtd":
                objective = ReplacedTokens(learner, beside)
            if phase.kind == "distil":
                if source is None:
                    raise ValueError("a phase of kind distil needs the source to learn from")
                context = min(context, source.length)
                objective = Distilled(learner, source)
            stream: Stream | TermStream
            if phase.kind == "terms":
                objective = Terms(learner, kin, run.objective.hierarchy_steps)
                stream = TermStream(concepts, encoder.tokenizer, context, number, run.train.seed, kin)
            else:
                stream = Stream(
                    shards, phase, number, run.train.seed, frame_of(encoder.tokenizer, context),
                    masker(encoder.tokenizer, phase.unit, phase.mask_rate),
                )  # fmt: skip
            if split is not None:
                objective = sharded.Through(split, objective)
            if state.phase != number:
                state = replace(state, phase=number, phase_tokens=0, place=Place())
            logged = state.tokens
            for batch in _ahead(stream, state, run.train, encoder.first_position, phase, encoder.global_ids, ranks):
                began = time.perf_counter()
                if batch.passes < ranks.size and state.phase_tokens == 0:
                    say(
                        f"only {batch.passes} of {ranks.size} processes have work in a step of "
                        f"{batch.tokens:,} tokens: raise train.batch_tokens, or lower train.micro_tokens"
                    )
                lr = phase.lr * schedule(phase, state.phase_tokens)
                if gradual is not None:
                    gradual.set(min(1.0, state.tokens / (run.adapt.start_share * run.tokens)))
                seed = run.train.seed * 1_000_003 + state.step
                loss, norm = step(
                    accelerator, objective, optimizer, trained, batch, lr, run.train.clip, seed, ranks, held
                )  # fmt: skip
                if not math.isfinite(loss):
                    raise InputError(
                        f"the loss is {loss} at step {state.step + 1} of phase '{phase.name}' (pass "
                        f"{state.place.passed}, documents {state.place.document} to {batch.after.document} of its "
                        "order). Try a lower train.lr, or train.precision = 'fp32'; the last checkpoint is intact"
                    )
                seconds = time.perf_counter() - began
                before = state
                state = replace(
                    state, step=state.step + 1, tokens=state.tokens + batch.tokens,
                    phase_tokens=state.phase_tokens + batch.tokens, place=batch.after,
                    seconds=state.seconds + seconds,
                )  # fmt: skip
                stopping = ranks.any(stop.is_set())
                bar.update(min(state.tokens, run.tokens), f"loss {loss:.3f}  {batch.tokens / seconds:,.0f} tokens/s")
                if state.tokens - logged >= run.tokens / _LOGGED_ROWS or _ends(phase, state):
                    logged = state.tokens
                    row = TrainRow(
                        phase=number, step=state.step, tokens=state.tokens, loss=loss, lr=lr, grad_norm=norm,
                        tokens_per_second=batch.tokens / seconds, seconds=state.seconds,
                    )  # fmt: skip
                    if ranks.writes:
                        append_row(folder / "metrics.jsonl", row)
                    accelerator.log({"loss": loss, "lr": lr, "tokens": state.tokens}, step=state.step)
                # Detection trains no masked-LM head: there is nothing to look at yet.
                looks = phase.kind != "rtd" and not _ends(phase, state)
                if looks and _crossed(before.tokens, state.tokens, run.train.eval_tokens):
                    if splits:
                        sharded.bring_home(learner, encoder, ranks.writes)
                    if ranks.writes:
                        _look(encoder, evaluate, state, folder, watch)
                if stopping or _crossed(before.tokens, state.tokens, run.train.checkpoint_tokens):
                    checkpoint.save(folder / "checkpoints", state, trained, optimizer, ranks.writes)
                if stopping:
                    ranks.any(False)  # a launcher ends the others once one has ended: wait until all is saved
                    raise Interrupted(f"stopped at step {state.step:,}, {state.tokens:,} of {run.tokens:,} tokens")
                if _ends(phase, state):
                    break
        checkpoint.save(folder / "checkpoints", state, trained, optimizer, ranks.writes)
        if ranks.any(stop.is_set()):  # asked after the last step
            raise Interrupted(f"stopped at step {state.step:,}, {state.tokens:,} of {run.tokens:,} tokens")
    if gradual is not None:
        gradual.set(1.0)
    if splits:
        sharded.bring_home(learner, encoder, ranks.writes)
    set_dropout(encoder.model, 0.0)
    encoder.model.requires_grad_(True).eval()
    if run.train.trackers and ranks.writes:
        accelerator.end_training()
    return state


def _begin(
    folder: Path, run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks
) -> Checkpoint:
    """The newest whole checkpoint, loaded, or the first one, written; the same for all processes."""
    state: Checkpoint | None = None
    damaged: list[str] = []
    if ranks.writes:
        state, damaged = checkpoint.restore(folder, model, optimizer)
    fresh = ranks.any(ranks.writes and state is None)
    if fresh:
        checkpoint.save(folder, Checkpoint(), model, optimizer, ranks.writes)
        ranks.any(False)  # it is written
    if not ranks.writes:
        state, damaged = checkpoint.restore(folder, model, optimizer)
    for line in damaged:
        say(line)
    state = state or Checkpoint()
    if not fresh:
        state = replace(state, resumed=state.resumed + 1)
        say(f"resuming at step {state.step:,}, {state.tokens:,} of {run.tokens:,} tokens")
    if not ranks.same(state.step):
        raise InputError(
            f"the processes do not see the same checkpoint in {folder}: it must lie where all can read it"
        )
    return state


def step(
    accelerator: Accelerator,
    objective: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    model: torch.nn.Module,
    batch: Batch,
    lr: float,
    clip: float,
    seed: int = 0,
    ranks: Ranks = ALONE,
    held: Held = (),
) -> tuple[float, float]:
    """One optimizer step: (mean loss in nats a target, gradient norm before clipping).

    The sum over all micro-batches, of all processes, is divided by all their targets, so the gradient does not depend
    on how the batch was cut and dealt (TRAPS O1, O2). held: parameters, and what their gradients are multiplied by:
    0 for the rows that stay.
    """
    device = accelerator.device
    total = torch.zeros((), device=device)
    for number, packed in zip(batch.numbers or range(len(batch.micro)), batch.micro, strict=True):
        # Dropout's draws depend on the step and the micro-batch alone: a resumed run draws the same.
        torch.manual_seed(seed + number * _APART)
        with accelerator.autocast():
            loss = objective(packed.to(device)) / batch.targets
        accelerator.backward(loss)
        total += loss.detach()
    # The layers of a split model are gathered by all processes at once, so one that has no work left goes along.
    for packed in batch.spare if isinstance(objective, sharded.Through) else ():
        with accelerator.autocast():
            loss = 0.0 * objective(packed.to(device))
        accelerator.backward(loss)
    total = ranks.sum_gradients(model.parameters(), total)
    for parameter, factor in held:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)
    norm = sharded.whole(torch.nn.utils.clip_grad_norm_(model.parameters(), clip))
    for group in optimizer.param_groups:
        group["lr"] = lr
    if torch.isfinite(total):
        optimizer.step()
    optimizer.zero_grad()
    return float(total), float(norm)


def _free(encoder: Encoder, parameters: str, new_rows: torch.Tensor | None) -> Held:
    """Let train what a phase trains. Returns the tables of which some rows stay: 0 for those, 1 for the others."""
    model = encoder.model
    model.requires_grad_(parameters == "all")
    if parameters == "all":
        return []
    if parameters == "head":
        model.requires_grad_(True)
        model.base_model.requires_grad_(False)
        return []
    if new_rows is None or not len(new_rows):
        raise InputError("parameters 'rows' trains the rows of new pieces, and the vocabulary has none")
    _, decoder = encoder.architecture.head(model)
    tables = {id(p): p for p in (model.get_input_embeddings().weight, decoder.weight, decoder.bias) if p is not None}
    chosen = torch.zeros(len(decoder.weight), device=encoder.device)
    chosen[new_rows.to(encoder.device)] = 1
    held: list[tuple[Tensor, Tensor]] = []
    for table in tables.values():
        table.requires_grad_(True)
        held.append((table, sharded.like(chosen if table.ndim == 1 else chosen[:, None], table)))
    return held


def build_optimizer(model: torch.nn.Module, settings: Train) -> torch.optim.Optimizer:
    """AdamW; no decay on norms, biases and embeddings, whose unseen rows it would shrink (TRAPS C8)."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in tables]
    kept = [p for p in model.parameters() if p.ndim < 2 or id(p) in tables]
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise ValueError("the optimizer needs fp32 weights: in bf16 most steps change nothing (TRAPS C15)")
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def schedule(phase: Phase, tokens: int) -> float:
    """Factor on the learning rate after `tokens` of the phase. wsd: warm-up, stable, 1 - sqrt decay."""
    done = tokens / max(1, phase.tokens)
    if done < phase.warmup:
        return (done + 1e-3) / (phase.warmup + 1e-3)
    if phase.schedule == "constant":
        return 1.0
    if phase.schedule == "wsd":
        start = max(phase.warmup, 1 - phase.decay)
        return 1.0 if done < start else 1 - math.sqrt((done - start) / (1 - start + 1e-9))
    share = min(1.0, (done - phase.warmup) / (1 - phase.warmup + 1e-9))
    return 1 - share if phase.schedule == "linear" else 1 - math.sqrt(share)


def _look(
    encoder: Encoder,
    evaluate: Evaluate,
    state: Checkpoint,
    folder: Path,
    watch: Callable[[EvalRow], None] | None,
) -> None:
    encoder.model.eval()
    row = evaluate(encoder, state)
    encoder.model.train()
    if row is not None:
        append_row(folder / "metrics.jsonl", row)
        if watch is not None:
            watch(row)


def _ends(phase: Phase, state: Checkpoint) -> bool:
    return state.phase_tokens >= phase.tokens


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


def _ahead(
    stream: Stream | TermStream,
    state: Checkpoint,
    settings: Train,
    first_position: int,
    phase: Phase,
    everywhere: tuple[int, ...],
    ranks: Ranks,
) -> Iterator[Batch]:
    """The batches that are left of a phase."""
    if state.phase_tokens >= phase.tokens:
        return
    micro = settings.micro_tokens
    if phase.kind == "mlm":  # of the other kinds the loss is one of a whole micro-batch, so they stay as they are
        micro = min(micro, math.ceil(settings.batch_tokens / ranks.size)) if ranks.size > 1 else micro
    yield from batches(
        stream, state.place, settings.batch_tokens, micro, first_position, everywhere, ranks.rank, ranks.size
    )


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Set by SIGTERM, SIGUSR1 and Ctrl-C, unless Ctrl-C is ignored, as in the background of a script; a second Ctrl-C
    is what it was before. Only the main thread may listen."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    ctrl_c = signal.getsignal(signal.SIGINT)
    ignored = ctrl_c is signal.SIG_IGN

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, ctrl_c)
        say("saving, then stopping" + ("" if ignored else " (Ctrl-C again stops at once)"))

    asking = {signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)}  # Windows has no SIGUSR1
    if not ignored:
        asking.add(signal.SIGINT)
    before: dict[int, Any] = {s: signal.signal(s, ask) for s in asking}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
