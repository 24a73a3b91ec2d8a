"""Schedules of a phase: learning rate, mask rate, tokens of a step; rotations and weights over phases."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import load
from medlingua.adapters.positions import thetas
from medlingua.adapters.rotary import set_theta
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Mixture, Phase, Run, Train
from medlingua.recipes.training.batches import Place, Stream, batches, shares_of
from medlingua.recipes.training.schedules import BatchWarmup, batch_warmup, check_schedules, lr_factor, mask_rate
from transformers import AutoModelForMaskedLM

from tests.adapters.conftest import build  # noqa: F401 -- a fixture

from .test_batches import documents_of, equal, frame, masks, shard


@pytest.mark.parametrize("kind", ["wsd", "constant", "linear", "cosine", "decay"])
def test_a_schedule_warms_up_from_almost_nothing_and_stays_in_bounds(kind: Any) -> None:
    phase = Phase(tokens=10_000, schedule=kind, warmup=0.1, decay=0.2)
    values = [lr_factor(phase, tokens) for tokens in range(0, 10_001, 100)]
    assert 0 < values[0] < 0.02
    assert values[:11] == sorted(values[:11])
    assert all(0 <= value <= 1 for value in values)
    assert lr_factor(phase, 1_000) == pytest.approx(1, abs=1e-3)
    assert lr_factor(phase, 10_000) == pytest.approx(1 if kind == "constant" else 0, abs=1e-3)


def test_wsd_is_flat_until_its_decay_and_then_one_minus_the_root() -> None:
    phase = Phase(tokens=10_000, schedule="wsd", warmup=0.1, decay=0.2)
    assert {lr_factor(phase, tokens) for tokens in range(1_000, 8_000, 500)} == {1.0}
    assert lr_factor(phase, 8_500) == pytest.approx(1 - math.sqrt(0.25), abs=1e-6)
    assert lr_factor(replace_phase(phase, decay=0.0), 9_999) == 1.0


@pytest.mark.parametrize("kind", ["wsd", "constant", "linear", "cosine", "decay"])
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_a_schedule_at_its_edges(kind: Any, warmup: float) -> None:
    phase = Phase(tokens=10_000, schedule=kind, warmup=warmup, decay=1.0)
    assert all(0 <= lr_factor(phase, tokens) <= 1 for tokens in (0, 1, 9_999, 10_000))


def replace_phase(phase: Phase, **changes: Any) -> Phase:
    return Phase(**{**phase.model_dump(), **changes})


@pytest.mark.parametrize("kind", ["wsd", "linear", "cosine", "decay"])
def test_what_falls_ends_at_its_least_rate(kind: Any) -> None:
    phase = Phase(tokens=10_000, schedule=kind, warmup=0.1, decay=0.2, min_lr_rate=0.1)
    values = [lr_factor(phase, tokens) for tokens in range(1_100, 10_001, 100)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.1, abs=1e-4)


def test_the_mask_rate_changes_evenly_or_in_steps() -> None:
    phase = Phase(tokens=1_000, mask_rate=0.3, mask_rate_end=0.15)
    assert [mask_rate(phase, tokens) for tokens in (0, 500, 1_000, 2_000)] == pytest.approx([0.3, 0.225, 0.15, 0.15])
    steps = replace_phase(phase, mask_rate_steps=4)
    rates = [mask_rate(steps, tokens) for tokens in range(0, 1_000, 10)]
    assert sorted(set(rates), reverse=True) == pytest.approx([0.3, 0.25, 0.2, 0.15])
    assert [len(list(group)) for _, group in itertools.groupby(rates)] == [25, 25, 25, 25]
    assert mask_rate(replace_phase(phase, mask_rate_end=None), 500) == 0.3


def falling(lengths: list[int], context: int = 32) -> Stream:
    phase = Phase(tokens=2_000, mask_rate=0.6, mask_rate_end=0.1)
    return Stream((shard(documents_of(lengths)),), phase, 0, 0, frame(context), masks(0.6))


def test_fewer_tokens_are_masked_as_a_phase_goes_on() -> None:
    batch = list(itertools.islice(batches(falling([100] * 40), Place(), 400, 400, 0), 6))
    shares = [b.targets / b.tokens for b in batch]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert shares[-1] < 0.13


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(20, 150), min_size=2, max_size=8), stop=st.integers(1, 40))
def test_O16_masks_of_a_changing_rate_are_the_same_after_a_stop(lengths: list[int], stop: int) -> None:
    """Also in the middle of a document, whose masks were drawn at the rate that held at its beginning."""
    whole = list(itertools.islice(falling(lengths).chunks(Place()), 60))
    read = sum(len(chunk.ids) for chunk in whole[:stop])
    again = itertools.islice(falling(lengths).chunks(whole[stop - 1].after, read), 60 - stop)
    assert all(equal(a, b) for a, b in zip(whole[stop:], again, strict=True))


def test_steps_grow_to_the_full_batch() -> None:
    warmup = BatchWarmup(first=100, full=800, over=4_000)
    stream = Stream((shard(documents_of([6] * 2_000)),), Phase(tokens=1), 0, 0, frame(64), masks())
    steps = list(itertools.islice(batches(stream, Place(), 800, 800, 0, warmup=warmup), 20))
    sizes = [batch.tokens for batch in steps]
    assert sizes == sorted(sizes)
    assert sizes[0] <= 100
    assert 792 <= sizes[-1] <= 800
    # The estimate of the plan: how many steps more than at the full size.
    grown = next(n for n, size in enumerate(itertools.accumulate(sizes)) if size >= 4_000) + 1
    assert grown - sum(sizes[:grown]) / 800 == pytest.approx(warmup.steps_more, rel=0.2)
    # And a stopped phase goes on at the size it had.
    read = sum(sizes[:5])
    resumed = batches(stream, steps[4].after, 800, 800, 0, read=read, warmup=warmup)
    assert [batch.tokens for batch in itertools.islice(resumed, 15)] == sizes[5:]


def test_a_batch_without_growth_is_full_from_the_start() -> None:
    assert batch_warmup(Train(batch_tokens=512), Phase(tokens=10_000)).tokens(0) == 512
    assert batch_warmup(Train(batch_tokens=512), Phase(tokens=10_000)).steps_more == 0


def test_corpora_weigh_as_a_power_of_their_tokens() -> None:
    small, large = shard(documents_of([50] * 4), "small"), shard(documents_of([50] * 64), "large")

    def tokens(exponent: float | None) -> list[float]:
        phase = Phase(tokens=1, sampling_exponent=exponent)
        return [share.repeat * len(share.documents) * 50 for share in shares_of((small, large), phase)]

    assert tokens(None) == tokens(1.0) == [200, 3_200]
    for exponent, ratio in ((0.5, 4.0), (0.0, 1.0)):
        few, many = tokens(exponent)
        assert many / few == pytest.approx(ratio)
        assert many + few == pytest.approx(3_400)


def test_weights_and_an_exponent_exclude_each_other() -> None:
    mixture = (Mixture(corpus="notes", weight=1.0),)
    with pytest.raises(InputError, match=r"weights, or data.sampling_exponent"):
        shares_of((shard(documents_of([50])),), Phase(tokens=1, mixture=mixture, sampling_exponent=0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.warmup=0.9", "train.decay=0.2"], "would fall .* before it has risen"),
        (["objective.mask_rate_steps=4"], "objective.mask_rate_end"),
        (["train.batch_start=8192", "train.batch_tokens=4096"], "train.batch_start = 8,192 is above"),
    ],
)
def test_a_schedule_that_ends_before_it_begins_is_refused(
    changes: list[str], message: str, make_run: Callable[..., Run]
) -> None:
    with pytest.raises(InputError, match=message):
        check_schedules(make_run(*changes))


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "jina_embeddings_v3"])
def test_another_theta_is_computed_with_and_saved(family: str, build: Any, tmp_path: Path) -> None:  # noqa: F811
    encoder = load(str(build(family)))
    before = thetas(encoder.model)
    set_theta(encoder, 500_000.0)
    after = thetas(encoder.model)
    for name, theta in after.items():
        assert theta == pytest.approx(before[name] if "sliding" in name else 500_000.0, rel=1e-3), name
    encoder.model.save_pretrained(tmp_path / "saved")
    opened = AutoModelForMaskedLM.from_pretrained(tmp_path / "saved")
    for name, buffer in opened.named_buffers():
        if name.endswith("inv_freq") and "original" not in name:
            assert np.allclose(buffer, dict(encoder.model.named_buffers())[name], rtol=1e-6), name


def test_a_model_without_rotations_has_no_theta(build: Any) -> None:  # noqa: F811
    with pytest.raises(InputError, match="bert model has no rotation"):
        set_theta(load(str(build("bert"))), 500_000.0)
