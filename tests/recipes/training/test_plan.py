"""What a plan says that a run will cost."""

from collections.abc import Callable

import pytest
from medlingua.adapters.encoder import Encoder
from medlingua.recipes import machine
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Run
from medlingua.recipes.training.plan import decide, in_words, measured_seconds, whole_steps

FP32 = Precision("fp32", "as the test says")


def test_measured_steps_give_the_peak_that_they_reached(make_run: Callable[..., Run], encoder: Encoder) -> None:
    run = make_run("train.tokens=256", "train.batch_tokens=256", "train.micro_tokens=256")
    seconds = measured_seconds(run, encoder, FP32, minimum=0.0)
    plan = decide(run, encoder, FP32, seconds)
    assert plan.memory_bytes <= machine.peak_memory_bytes()
    assert decide(run, encoder, FP32).memory_bytes > plan.memory_bytes  # an estimate of what is still to come
    words = in_words(plan)
    assert "256 tokens in 1 step\n" in words
    assert "the peak of the measured steps: weights, gradients" in words
    assert "1 steps" not in words


@pytest.mark.parametrize(("tokens", "lines"), [(100, 1), (256, 0), (1_000, 0), (0, 0)])
def test_fewer_tokens_than_a_step_are_reported(tokens: int, lines: int, make_run: Callable[..., Run]) -> None:
    found = whole_steps(make_run(f"train.tokens={tokens}", "train.batch_tokens=256"))
    assert len(found) == lines
    assert all("100 tokens" in line and "train.batch_tokens = 256" in line for line in found)
