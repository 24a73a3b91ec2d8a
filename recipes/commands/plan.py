"""`adapt plan`: what a run will cost on this machine, measured before it starts."""

from medlingua.adapters import encoder as encoders
from medlingua.languages.errors import InputError
from medlingua.recipes import machine
from medlingua.recipes.bases import located
from medlingua.recipes.settings import Run
from medlingua.recipes.training.plan import decide, in_words, measured_seconds, whole_steps


def plan(run: Run) -> str:
    """What a run will cost here, in words, from steps measured on this machine."""
    machine.keep_pages()
    if run.strategy == "scratch":
        raise InputError("adapt plan measures a model that exists; of --strategy scratch there is none yet")
    encoder = encoders.load(
        located(run.base, run.data.root), head="fresh" if run.adapt.head == "fresh" else "keep", allow=run.allow
    )
    encoder.model.to(machine.device())
    precision = machine.precision_of(run.train.precision, encoder.device)
    seconds = measured_seconds(run, encoder, precision)
    return "\n".join([in_words(decide(run, encoder, precision, seconds)), *whole_steps(run)])
