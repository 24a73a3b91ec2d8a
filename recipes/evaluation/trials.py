"""Learning rates tried on dev, a stated number of them, the same for every model."""

import copy

import numpy as np
from medlingua.adapters.encoder import Encoder
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.finetune import Passes, TaskModel, fit
from medlingua.recipes.evaluation.reading import States
from medlingua.recipes.evaluation.warm_start import warm
from medlingua.recipes.settings import Eval

SEED = 1_000_003  # which no score is of


def trial_of(settings: Eval, number: int) -> Eval:
    """The settings of a trial: those given first, then learning rates up to four times as small or large, of body and
    head alike. They depend on the number alone, so every model gets the same."""
    if not number:
        return settings
    factor = 4.0 ** np.random.default_rng([SEED, number]).uniform(-1, 1)
    return settings.model_copy(update={"lr": settings.lr * factor, "head_lr": settings.rate_of_head * factor})


def tuned_by_dev(
    encoder: Encoder,
    model: TaskModel,
    first: TaskModel | None,
    settings: Eval,
    passes: Passes,
    what: str,
    states_of: States | None,
) -> Eval:
    """The trial with the best dev score, the first of equals; one seed, which no score is of."""
    if not settings.trials:
        return settings
    best: tuple[float, Eval] | None = None
    with warm(encoder, model, first, settings, SEED, passes, what) as fresh:
        head = copy.deepcopy(model.head.state_dict())
        for number in range(settings.trials):
            trial = trial_of(settings, number)
            model.head.load_state_dict(head)
            with progress(f"{what}, trial {number + 1} of {settings.trials}", 1.0) as bar:
                fitted = fit(
                    encoder, model, trial, SEED, passes, bar.update,
                    last=False, fresh_head=fresh, states_of=states_of,
                )  # fmt: skip
            value = fitted.dev[model.main_metric]
            if best is None or value > best[0]:
                best = value, trial
    return best[1] if best else settings
