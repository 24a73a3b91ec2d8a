"""What a run decides where nothing was given: the rules, and that a run keeps what it has decided."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.recipes.folder import claim
from medlingua.recipes.resolve import read_run, resolve
from medlingua.recipes.settings import Run
from medlingua.recipes.training.defaults import Facts, decide, many_passes
from medlingua.recipes.training.memory import Size, training_bytes
from medlingua.recipes.walk import adapt
from medlingua.reports.quantities import memory

from ..conftest import write_jsonl

FLAGS = {"strategy": "continue", "lang": "fr", "base": "some/base"}
BASE = Size(parameters=110_000_000, width=768, layers=12, heads=12, vocabulary=32_000, context=512)


def facts(tokens: int = 600_000_000, size: Size = BASE, gib: float = 24, device: str = "cuda") -> Facts:
    return Facts(size, [tokens], int(gib * 2**30), device)


def test_a_base_model_is_continued_as_the_published_ones_were() -> None:
    run, rows = decide(resolve(FLAGS), facts())
    assert (run.train.lr, run.train.batch_tokens, run.tokens) == (5e-5, 131_072, 3 * 600_000_000)
    assert run.phases[0].lr == run.train.lr
    assert {row.setting for row in rows} >= {"train.lr", "train.batch_tokens", "train.tokens", "train.micro_tokens"}
    assert all(row.reason for row in rows)


def test_given_settings_are_unchanged() -> None:
    sets = (
        "train.tokens=1_000_000", "train.lr=3e-4", "train.batch_tokens=8_192", "train.micro_tokens=2_048",
        "train.warmup=0.0", "train.checkpoint_tokens=5_000", "train.eval_tokens=7_000", "eval.tasks=all",
        "eval.seeds=3",
    )  # fmt: skip
    run = resolve(FLAGS, sets=sets)
    assert decide(run, facts()) == (run, ())
    assert "train.lr" not in run.decided


@given(tokens=st.integers(1_000, 10**10), width=st.sampled_from([32, 128, 384, 768, 1_024]))
def test_every_default_can_be_trained_with(tokens: int, width: int) -> None:
    size = Size(width * width * 150, width, 12, 4, 32_000, 512)
    run, _ = decide(resolve(FLAGS), facts(tokens, size))
    steps = run.tokens / run.train.batch_tokens
    assert 0 < run.train.lr <= 5e-4
    assert 2_048 <= run.train.batch_tokens <= 131_072
    assert run.train.batch_tokens == 2_048 or steps >= 300
    assert run.phases[0].warmup * steps >= min(20, steps / 2) * 0.99
    assert run.train.micro_tokens <= run.train.batch_tokens


@pytest.mark.parametrize("gib", [8, 24, 80])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("context", [512, 8_192])
def test_a_forward_pass_fits_into_memory_or_is_one_document(gib: int, device: str, context: int) -> None:
    size = Size(BASE.parameters, BASE.width, BASE.layers, BASE.heads, BASE.vocabulary, context)
    run, _ = decide(resolve(FLAGS), facts(size=size, gib=gib, device=device))
    fits = training_bytes(size, run.train.micro_tokens, device) <= 0.6 * gib * 2**30
    assert fits or run.train.micro_tokens == max(1_024, context)


def test_a_family_in_padded_batches_gets_smaller_forward_passes() -> None:
    passes = [
        decide(resolve(FLAGS), facts(size=replace(BASE, padded=padded), gib=24))[0].train.micro_tokens
        for padded in (False, True)
    ]
    assert passes[1] < passes[0]


def test_epochs_count_passes_and_exclude_tokens() -> None:
    run, _ = decide(resolve(FLAGS, sets=("train.epochs=5",)), facts(1_000_000))
    assert run.tokens == 5_000_000
    assert "read 5.0 times" in many_passes(run, [1_000_000])[0]
    assert not many_passes(decide(resolve(FLAGS), facts(1_000_000))[0], [1_000_000])
    with pytest.raises(InputError, match=r"train\.tokens and train\.epochs"):
        resolve(FLAGS, sets=("train.epochs=5", "train.tokens=100"))


def test_phases_share_a_decided_budget_as_the_recipe_shares_its_own(tmp_path: Path) -> None:
    run = resolve({**FLAGS, "strategy": "convert"}, sets=("adapt.target=rope", "adapt.start=distil"))
    decided, _ = decide(run, Facts(BASE, [1_000_000] * 2, 2**34, "cpu"))
    assert [phase.tokens for phase in decided.phases] == [300_000, 700_000]
    assert decided.tokens == decided.train.tokens == 1_000_000


def test_a_folder_knows_its_run_before_and_after_it_decided(tmp_path: Path) -> None:
    run = resolve(FLAGS)
    claim(tmp_path / "run", run)
    decided, _ = decide(run, facts())
    (tmp_path / "run" / "run.toml").write_text(decided.to_toml(), encoding="utf-8")
    claim(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == decided
    claim(tmp_path / "run", resolve({}, config=tmp_path / "run" / "run.toml"))
    with pytest.raises(InputError, match=r"differs in train\.lr, phases\."):
        claim(tmp_path / "run", resolve(FLAGS, sets=("train.lr=1e-3",)))


def test_the_run_toml_of_a_run_is_that_run_anywhere(tmp_path: Path) -> None:
    """As --config it gives what was decided, on another machine too."""
    decided, _ = decide(resolve(FLAGS, sets=("train.epochs=2",)), facts(1_000_000))
    (tmp_path / "run.toml").write_text(decided.to_toml(), encoding="utf-8")
    again = resolve({}, config=tmp_path / "run.toml")
    elsewhere, _ = decide(again, facts(5_000, gib=4, device="cpu"))
    assert elsewhere.train.model_dump(exclude={"epochs"}) == decided.train.model_dump(exclude={"epochs"})
    assert [p.model_dump(exclude={"decided"}) for p in elsewhere.phases] == [
        p.model_dump(exclude={"decided"}) for p in decided.phases
    ]


def test_a_run_writes_down_what_it_decided(make_run: Callable[..., Run], tmp_path: Path) -> None:
    corpus = write_jsonl(
        tmp_path / "few.jsonl", [f"Le patient numéro {n} tousse depuis {n} jours." for n in range(60)]
    )
    run = make_run("eval.tasks=none", data={"paths": [str(corpus)]})
    adapt(run, tmp_path / "run")
    saved = read_run(tmp_path / "run")
    assert saved.tokens == saved.train.tokens != run.tokens
    assert (saved.train.batch_tokens, saved.phases[0].warmup) == (2_048, 0.5)
    assert saved.train.lr == 5e-4  # a model 32 wide: the most
    adapt(run, tmp_path / "run")  # finished: the same command finds it


def test_the_guide_shows_what_is_decided() -> None:
    """The table of recipes/README.md, row by row."""
    shapes = {
        "14M": Size(14_000_000, 256, 6, 4, 24_000, 512),
        "110M": Size(110_000_000, 768, 12, 12, 32_000, 512),
        "350M": Size(350_000_000, 1_024, 24, 16, 50_000, 512),
    }
    guide = Path(__file__).parents[3] / "recipes" / "README.md"
    starts = tuple(f"| {name} " for name in shapes)
    rows = [line for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith(starts)]
    assert len(rows) == 12
    for row in rows:
        name, machine, lr, batch, micro, needed = (cell.strip() for cell in row.strip("|").split("|"))
        device, gib = machine.replace("GPU", "cuda").replace("CPU", "cpu").removesuffix(" GiB").split(", ")
        run, _ = decide(resolve(FLAGS), facts(100_000_000, shapes[name], float(gib), device))
        assert (float(lr), int(batch.replace(",", "")), int(micro.replace(",", ""))) == (
            run.train.lr, run.train.batch_tokens, run.train.micro_tokens,
        ), row  # fmt: skip
        assert needed == memory(training_bytes(shapes[name], run.train.micro_tokens, device))
