"""What changes inside a phase, as functions of the tokens read: learning rate, mask rate, tokens of a step."""

import math
from dataclasses import dataclass

from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Phase, Run, Train


def lr_factor(phase: Phase, tokens: int) -> float:
    """Factor on the learning rate after `tokens` of the phase. wsd: warm-up, stable, 1 - sqrt decay.

    What falls ends at the phase's min_lr_rate.
    """
    done = tokens / max(1, phase.tokens)
    if done < phase.warmup:
        return (done + 1e-3) / (phase.warmup + 1e-3)
    if phase.schedule == "constant":
        return 1.0
    start = max(phase.warmup, 1 - phase.decay) if phase.schedule == "wsd" else phase.warmup
    if done < start:
        return 1.0
    share = min(1.0, (done - start) / (1 - start + 1e-9))
    if phase.schedule == "linear":
        left = 1 - share
    elif phase.schedule == "cosine":
        left = (1 + math.cos(math.pi * share)) / 2
    else:
        left = 1 - math.sqrt(share)
    return phase.min_lr_rate + (1 - phase.min_lr_rate) * left


def mask_rate(phase: Phase, tokens: int) -> float:
    """Share of a document's tokens to mask after `tokens` of the phase: in a line, or in equal steps."""
    if phase.mask_rate_end is None:
        return phase.mask_rate
    done = min(1.0, tokens / max(1, phase.tokens))
    if phase.mask_rate_steps is not None:
        last = phase.mask_rate_steps - 1
        done = min(last, int(done * phase.mask_rate_steps)) / last
    return phase.mask_rate + (phase.mask_rate_end - phase.mask_rate) * done


@dataclass(frozen=True, slots=True)
class BatchWarmup:
    """The tokens of a step grow from `first` to `full` while the first `over` tokens of a phase are read."""

    first: int
    full: int
    over: int

    def tokens(self, read: int) -> int:
        """Most tokens of a step after so many of the phase."""
        if read >= self.over:
            return self.full
        return self.first + (self.full - self.first) * read // self.over

    @property
    def steps_more(self) -> float:
        """Steps that the phase takes more than at the full size."""
        if not self.over or self.first == self.full:
            return 0.0
        return self.over * (math.log(self.full / self.first) / (self.full - self.first) - 1 / self.full)


def batch_warmup(settings: Train, phase: Phase) -> BatchWarmup:
    first = settings.batch_start or settings.batch_tokens
    return BatchWarmup(first, settings.batch_tokens, round(settings.batch_warmup * phase.tokens))


def check_schedules(run: Run) -> None:
    """InputError for a schedule that ends before it begins."""
    given = "train.batch_tokens" not in run.decided
    if given and run.train.batch_start is not None and run.train.batch_start > run.train.batch_tokens:
        raise InputError(
            f"train.batch_start = {run.train.batch_start:,} is above train.batch_tokens = {run.train.batch_tokens:,}"
            ": a step grows from the one to the other"
        )
    for phase in run.phases:
        if phase.schedule == "wsd" and phase.warmup + phase.decay > 1:
            raise InputError(
                f"phase '{phase.name}': the learning rate would fall (train.decay = {phase.decay:g} of the phase) "
                f"before it has risen (train.warmup = {phase.warmup:g}); together they are 1 at most"
            )
        if phase.mask_rate_steps is not None and phase.mask_rate_end is None:
            raise InputError(
                f"phase '{phase.name}': objective.mask_rate_steps says how objective.mask_rate_end is reached, and "
                "there is none: set it, or leave the steps out"
            )
