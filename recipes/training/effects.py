"""What happens after a step of training, one function an effect. `loop` says in which order."""

from dataclasses import dataclass, replace

from medlingua.recipes.console import Bar
from medlingua.recipes.machine import collect_if_at_rest
from medlingua.recipes.settings import Phase
from medlingua.recipes.training import checkpoint
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.learner import Learner, Training
from medlingua.recipes.training.stopping import Interrupted
from medlingua.reports.read import append_row
from medlingua.reports.rows import TrainRow

_ROWS = 200  # of metrics, about so many a run


@dataclass(frozen=True, slots=True)
class Step:
    """An optimizer step that was done. before, after: how far the run was and is. loss: mean nats a target."""

    phase: Phase
    before: Checkpoint
    after: Checkpoint
    loss: float
    grad_norm: float
    lr: float

    @property
    def tokens_per_second(self) -> float:
        return (self.after.tokens - self.before.tokens) / (self.after.seconds - self.before.seconds)

    @property
    def ends_phase(self) -> bool:
        return self.after.phase_tokens >= self.phase.tokens

    def crosses(self, interval: int) -> bool:
        """Whether the step passes a multiple of so many tokens."""
        return self.before.tokens // interval != self.after.tokens // interval


def show_progress(bar: Bar, training: Training, step: Step) -> None:
    rate = f"{step.tokens_per_second:,.0f} tokens/s"
    bar.update(min(step.after.tokens, training.run.tokens), f"loss {step.loss:.3f}  {rate}")


def log_metrics(learner: Learner, training: Training, step: Step, logged: int) -> int:
    """A row of metrics.jsonl now and then, and at the end of a phase. logged, result: tokens at the last row."""
    after = step.after
    if after.tokens - logged < training.run.tokens / _ROWS and not step.ends_phase:
        return logged
    if learner.processes.is_main:
        row = TrainRow(
            phase=after.phase, step=after.step, tokens=after.tokens, loss=step.loss, lr=step.lr,
            grad_norm=step.grad_norm, tokens_per_second=step.tokens_per_second, seconds=after.seconds,
        )  # fmt: skip
        append_row(training.folder / "metrics.jsonl", row)
    values = {"loss": step.loss, "lr": step.lr, "tokens": after.tokens}
    learner.accelerator.log(values, step=after.step)
    return after.tokens


def evaluate(learner: Learner, training: Training, step: Step) -> None:
    """Held-out text every train.eval_tokens. The end of a phase, and replaced-token detection, which trains no
    masked-LM head, have nothing to measure."""
    if step.phase.kind == "rtd" or step.ends_phase or not step.crosses(training.run.train.eval_tokens):
        return
    learner.gather()
    if not learner.processes.is_main:
        return
    learner.encoder.model.eval()
    row = training.evaluate(learner.encoder, step.after)
    if training.probe is not None:
        training.probe.check_states(learner.encoder)
    learner.encoder.model.train()
    if row is not None:
        append_row(training.folder / "metrics.jsonl", row)
        if training.on_evaluation is not None:
            training.on_evaluation(row)


def save_checkpoint(learner: Learner, training: Training, state: Checkpoint) -> None:
    if learner.processes.is_main and training.on_checkpoint is not None:
        training.on_checkpoint()
    if learner.scaler is not None:
        scaling = learner.scaler.state_dict()
        state = replace(state, loss_scale=scaling["scale"], scale_steps=scaling["_growth_tracker"])
    folder = training.folder / "checkpoints"
    settings = training.run.train
    copies = max(checkpoint.COPIES, settings.keep_checkpoints, settings.average)
    checkpoint.save(folder, state, learner.module, learner.optimizer, learner.processes.is_main, copies)
    collect_if_at_rest()


def stop(learner: Learner, training: Training, state: Checkpoint) -> None:
    """Raise Interrupted. The state has been saved by all processes."""
    learner.processes.any(False)  # a launcher ends the others once one has ended: wait until all have saved
    total = training.run.tokens
    raise Interrupted(f"stopped at step {state.step:,}, {state.tokens:,} of {total:,} tokens")
