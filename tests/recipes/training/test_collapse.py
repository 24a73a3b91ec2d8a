"""A model that stops using its context is noticed while it trains."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Run
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.collapse import CollapseProbe, mean_cosine, samples, unigram_loss
from medlingua.recipes.walk import adapt

from ..conftest import cases

START = Checkpoint()


def train_by(losses: list[float], probe: CollapseProbe, run: Run, state: Checkpoint = START) -> Checkpoint:
    """The state after the steps with these losses, that end a phase, or that follow `state` at 1,000 tokens each."""
    phase = run.phases[0]
    tokens = 1_000 if state is not START else phase.tokens // len(losses)
    for loss in losses:
        after = replace(state, tokens=state.tokens + tokens, phase_tokens=state.phase_tokens + tokens)
        state = probe.check_loss(phase, state, after, loss)
    return state


def test_a_loss_that_stays_at_the_frequencies_stops_the_run(make_run: Callable[..., Run]) -> None:
    run = make_run("train.tokens=200_000")
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    with pytest.raises(InputError, match=r"stayed at (5\.9|6\.0).*uses no context.*train\.collapse=warn"):
        train_by((6.0 + noise).tolist(), CollapseProbe("stop", 6.0, ()), run)


@pytest.mark.parametrize(
    "losses",
    [
        np.linspace(7.0, 4.0, 200),  # passes the line on its way down
        np.full(200, 5.8),
        np.full(200, 6.3),  # above the line there is still all to learn
    ],
)
def test_other_losses_do_not(losses: np.ndarray, make_run: Callable[..., Run]) -> None:
    state = train_by(losses.tolist(), CollapseProbe("stop", 6.0, ()), make_run("train.tokens=200_000"))
    assert state.tokens == 200_000
    assert state.windows_at_unigram == 0


def test_a_run_of_few_steps_shows_nothing(make_run: Callable[..., Run]) -> None:
    state = train_by([6.0] * 50, CollapseProbe("stop", 6.0, ()), make_run("train.tokens=200_000"))
    assert state.windows_at_unigram > 2  # at the line all along, and yet not stopped


def test_a_warning_goes_on(make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    train_by([6.0] * 200, CollapseProbe("warn", 6.0, ()), make_run("train.tokens=200_000"))
    assert capsys.readouterr().err.count("uses no context") == 1


def test_a_run_that_went_on_with_a_warning_stops_once_it_is_to_stop(make_run: Callable[..., Run]) -> None:
    run = make_run("train.tokens=200_000")
    state = Checkpoint(tokens=100_000, phase_tokens=100_000, window_start=100_000, windows_at_unigram=5)
    with pytest.raises(InputError, match="uses no context"):
        train_by([6.0] * 10, CollapseProbe("stop", 6.0, ()), run, state)


def test_states_that_became_alike_are_noticed(encoder: Encoder) -> None:
    texts = samples(cases(8), encoder)
    assert -1 <= mean_cosine(encoder, texts) < 0.9
    probe = CollapseProbe("stop", 6.0, texts)
    probe.check_states(encoder)
    norm = encoder.model.bert.encoder.layer[-1].output.LayerNorm  # type: ignore[union-attr]
    with torch.no_grad():
        norm.weight.fill_(1e-3)
        norm.bias.normal_()
    with pytest.raises(InputError, match=r"alike \(mean cosine (0\.999|1\.0)"):
        probe.check_states(encoder)


def test_a_short_run_is_checked_at_its_end(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlingua.recipes.training.collapse._ALIKE", -1.0)  # any model's states are alike
    run = make_run("train.tokens=600", "train.batch_tokens=256", "eval.tasks=none")
    with pytest.raises(InputError, match="have become alike"):
        adapt(run, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_mean_cosine_is_that_of_all_pairs(encoder: Encoder) -> None:
    documents = samples(cases(2), encoder)
    plain = []
    for ids in documents:
        with torch.no_grad():
            out = encoder.model.base_model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
        plain += list(out)
    pairs = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in permutations(plain, 2)]
    assert mean_cosine(encoder, documents) == pytest.approx(np.mean(pairs), abs=1e-5)


def test_the_loss_of_frequencies_is_their_entropy() -> None:
    assert unigram_loss(np.array([2, 1, 1, 0])) == pytest.approx(1.5 * np.log(2))


def test_a_run_that_collapses_says_what_to_try_and_can_go_on(
    make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A learning rate of 3 sends a tiny model to the frequencies, or beyond any number."""
    sets = (
        "train.tokens=40_000", "train.batch_tokens=256", "train.micro_tokens=256", "train.schedule=constant",
        "train.lr=0.3", "train.eval_tokens=4_000", "train.checkpoint_tokens=4_000", "eval.tasks=none",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"Try a lower train\.lr.* in another --out"):
        adapt(make_run(*sets), tmp_path / "run")
    adapt(make_run(*sets, "train.collapse=warn"), tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    assert "going on, as train.collapse = 'warn' says" in capsys.readouterr().err


def test_a_run_from_nothing_is_warned_for_a_reason_of_its_own(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medlingua.recipes.training.collapse._ALIKE", -1.0)  # any model's states are alike
    sets = ("adapt.size=tiny", "adapt.vocabulary=replace", "adapt.new_pieces=400", "adapt.length=64")
    sets += ("adapt.architecture=bert", "train.tokens=300", "train.batch_tokens=256", "eval.tasks=none")
    given = {"strategy": "scratch", "lang": "fr", "data": {"paths": [str(corpus)]}}
    adapt(resolve(given, sets=sets), tmp_path / "run")
    stderr = capsys.readouterr().err
    assert "going on, as a run from nothing does" in stderr
    assert "train.collapse" not in stderr
