"""Settings: which layer wins, what a phase inherits, and a run that reads back as it was."""

import os
from pathlib import Path
from typing import Any

import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.permissions import PERMISSIONS
from medlingua.recipes.folder import claim
from medlingua.recipes.resolve import permissions, presets, read_run, resolve
from medlingua.recipes.settings import Run

from .conftest import call

FROM_NOTHING = ("bsc-", "christbert-", "drlongformer-scratch")  # presets that name their strategy and language
FLAGS = {"strategy": "continue", "lang": "fr", "base": "some/base"}


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('base = "of/config"\nlang = "es"\n[train]\nlr = 0.25\nseed = 3\n', encoding="utf-8")
    plain = resolve({"strategy": "continue", "lang": "fr"}, preset="demo")
    with_config = resolve({"strategy": "continue"}, preset="demo", config=config)
    with_sets = resolve({"strategy": "continue"}, preset="demo", config=config, sets=("train.lr=0.5", "lang=de"))
    with_flags = resolve(FLAGS, preset="demo", config=config, sets=("train.lr=0.5", "lang=de", "base=of/set"))
    assert plain.base.startswith("package:")
    assert (with_config.base, with_config.lang, with_config.train.lr) == ("of/config", "es", 0.25)
    assert (with_sets.lang, with_sets.train.lr, with_sets.train.seed) == ("de", 0.5, 3)
    assert (with_flags.base, with_flags.lang) == ("some/base", "fr")
    assert with_flags.train.batch_tokens == plain.train.batch_tokens
    assert with_flags.preset == "demo"


@pytest.mark.parametrize("preset", presets())
def test_every_preset_resolves_and_reads_back(preset: str, tmp_path: Path) -> None:
    run = resolve({}, preset=preset) if preset.startswith(FROM_NOTHING) else resolve(FLAGS, preset=preset)
    claim(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == run
    assert run.tokens > 0
    if run.strategy == "scratch":
        assert bool(run.base) != (run.adapt.vocabulary == "replace")


def test_the_run_is_saved_before_anything_starts_and_taken_up_again(tmp_path: Path) -> None:
    sets = ("data.mixture=[{corpus='a', weight=0.5, filter='x > 1'}]", "eval.tasks=['morfitt']", "train.context=256")
    run = resolve(FLAGS, sets=sets)
    claim(tmp_path / "run", run)
    claim(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == run
    assert read_run(tmp_path / "run").digest == run.digest


def test_any_setting_changes_the_digest() -> None:
    digests = {resolve(FLAGS, sets=sets).digest for sets in ((), ("train.seed=1",), ("data.held_out=0.1",))}
    assert len(digests) == 3


def test_one_phase_is_filled_from_the_groups() -> None:
    run = resolve(
        FLAGS, sets=("train.tokens=5_000", "objective.mask_rate=0.2", "train.lr=0.1", "train.schedule=decay")
    )
    (phase,) = run.phases
    assert (phase.tokens, phase.mask_rate, phase.lr, phase.schedule) == (5_000, 0.2, 0.1, "decay")
    assert run.tokens == 5_000


def two_phases(tmp_path: Path) -> dict[str, Any]:
    config = tmp_path / "two.toml"
    config.write_text(
        '[[phases]]\nname = "broad"\ntokens = 3000\n[[phases]]\nname = "clinical"\ntokens = 1000\nmask_rate = 0.15\n',
        encoding="utf-8",
    )
    return {"config": config}


def test_phases_keep_what_they_say_and_inherit_the_rest(tmp_path: Path) -> None:
    run = resolve(FLAGS, sets=("objective.mask_rate=0.4", "train.lr=0.1"), **two_phases(tmp_path))
    assert [(p.name, p.tokens, p.mask_rate, p.lr) for p in run.phases] == [
        ("broad", 3_000, 0.4, 0.1),
        ("clinical", 1_000, 0.15, 0.1),
    ]


def test_a_budget_is_shared_as_the_recipe_shares_its_own(tmp_path: Path) -> None:
    run = resolve(FLAGS, sets=("train.tokens=400",), **two_phases(tmp_path))
    assert [phase.tokens for phase in run.phases] == [300, 100]


def test_phases_without_tokens_share_a_budget_evenly(tmp_path: Path) -> None:
    config = tmp_path / "even.toml"
    config.write_text('[train]\ntokens = 400\n[[phases]]\nname = "a"\n[[phases]]\nname = "b"\n', encoding="utf-8")
    run = resolve(FLAGS, config=config)
    assert [phase.tokens for phase in run.phases] == [200, 200]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("train.lr",), "KEY=VALUE"),
        (("train=3",), "is a group"),
        (("phases=[{tokns=3}]",), "phases.tokns"),
        (("train.lr=-1",), "train.lr: expected greater than 0, given -1"),
        (("train.tokens='many'",), "train.tokens: expected a whole number, given 'many'"),
        (("train.tokens=[1]",), "train.tokens: expected a whole number, given a list"),
        (("adapt.window=[64, 'wide']",), r"adapt.window.1: expected a whole number, given 'wide'$"),
        (("eval.tasks=3",), r"eval.tasks: expected 'all' or 'none', given 3 \(or a list\)"),
        (("phases=[{tokens='many'}]",), "phases.0.tokens: expected a whole number, given text"),
        (("train.schedule=cosin",), "known: constant, cosine, decay, linear, wsd"),
        (("phases=3",), r"'phases' is a list of tables, such as phases = \[\{ name = ... \}\]"),
        (("phases.tokens=3",), r"'phases' is a list of tables"),
        (("data.mixture=fr",), r"'data.mixture' is a list of tables, such as data.mixture = \[\{ corpus = ..."),
        (("train.lr=true",), "train.lr is not a setting that is true or false"),
        (("adapt.window=true",), "adapt.window is not a setting that is true or false"),
        (("train.betas=[0.9, 1.0]",), "train.betas.1: expected less than 1, given 1"),
        (("train.seed=99999999999999999999",), "train.seed: expected less than 4294967296"),
        (("train.epochs=inf",), "train.epochs: expected .*finite"),
        (
            ("adapt.rows=wechsel",),
            "adapt.rows says nothing without adapt.vocabulary = 'extend' or 'replace' or 'repair'",
        ),
        (
            ("adapt.vocabulary=prune", "adapt.priority=insert"),
            "priority says nothing without adapt.vocabulary = 'extend'",
        ),
        (("adapt.head_lang=en",), "adapt.head_lang says nothing without adapt.head = 'fresh'"),
        (("adapt.theta=nan",), "adapt.theta: expected .*finite"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(sets: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(FLAGS, sets=sets)


@pytest.mark.parametrize(
    ("target", "set_", "message"),
    [
        ("longformer", "adapt.theta=20000", "adapt.theta says nothing without adapt.target = 'rope'"),
        ("longformer", "adapt.scaling=yarn", "adapt.scaling says nothing without adapt.target = 'rope'"),
        ("rope", "adapt.window=64", "adapt.window says nothing without adapt.target = 'longformer'"),
    ],
)
def test_what_another_target_of_a_conversion_would_read_is_refused(target: str, set_: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(FLAGS | {"strategy": "convert"}, sets=(f"adapt.target={target}", set_))


def test_a_value_of_the_wrong_kind_is_named_with_the_file_that_has_it(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[train]\nepochs = 'x'\ntokens = [3]\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        resolve(FLAGS | {"train": {"epochs": None}, "data": {"paths": [None]}}, config=config)
    of_paths, of_tokens = str(caught.value).split("; ")
    assert of_paths == "data.paths.0: expected text, given nothing"
    assert of_tokens == f"{config}: train.tokens: expected a whole number, given a list"


def test_a_fresh_head_takes_no_more_tokens_than_the_run() -> None:
    heads = [
        resolve(FLAGS, sets=("adapt.head=fresh", *sets)).adapt.head_tokens
        for sets in (
            (),
            ("train.tokens=8_000",),
            ("train.tokens=0",),
            ("train.tokens=8_000", "adapt.head_tokens=9_000"),
            ("train.tokens=8e3",),
            ("train.tokens='8000'",),
        )
    ]
    assert heads == [500_000, 8_000, 0, 9_000, 8_000, 8_000]


def test_a_preset_is_applied_wherever_it_is_named(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('preset = "camembert-bio"\n[train]\nlr = 0.25\n', encoding="utf-8")
    by_flag = resolve(FLAGS, preset="camembert-bio", sets=("train.lr=0.25",))
    assert by_flag.phases[0].unit == "word"
    assert resolve(FLAGS, config=config) == by_flag
    assert resolve(FLAGS, sets=("preset=camembert-bio", "train.lr=0.25")) == by_flag
    assert resolve(FLAGS | {"preset": "camembert-bio", "train": {"lr": 0.25}}) == by_flag
    with pytest.raises(InputError, match=r"unknown preset 'camembert-bo'.*did you mean 'camembert-bio'"):
        resolve(FLAGS, sets=("preset=camembert-bo",))


def test_a_setting_that_comes_after_complete_phases_replaces_theirs(tmp_path: Path) -> None:
    """The file that a run writes has all settings of its phases; so has a preset of several phases its own."""
    config = tmp_path / "run.toml"
    config.write_text(resolve(FLAGS, **two_phases(tmp_path)).to_toml(), encoding="utf-8")
    mixture = [{"corpus": "a", "filter": "n > 5"}]
    flags = FLAGS | {"train": {"lr": 1e-5}, "objective": {"unit": "word"}, "data": {"mixture": mixture}}
    run = resolve(flags, config=config)
    assert [(p.name, p.tokens, p.lr, p.unit, p.mask_rate) for p in run.phases] == [
        ("broad", 3000, 1e-5, "word", 0.3),
        ("clinical", 1000, 1e-5, "word", 0.15),
    ]
    assert [phase.mixture[0].filter for phase in run.phases] == ["n > 5", "n > 5"]
    of_preset = resolve(FLAGS | {"train": {"lr": 1e-5}}, preset="bioclinical-modernbert")
    assert {phase.lr for phase in of_preset.phases} == {1e-5}
    assert [phase.mask_rate for phase in resolve(FLAGS, config=config).phases] == [0.3, 0.15]


@pytest.mark.parametrize("absent", ["strategy", "lang"])
def test_what_every_run_needs(absent: str) -> None:
    with pytest.raises(InputError, match=f"--{absent} is needed"):
        resolve({key: value for key, value in FLAGS.items() if key != absent})


def test_a_run_is_frozen() -> None:
    run: Run = resolve(FLAGS)
    with pytest.raises(ValueError, match="frozen"):
        run.lang = "de"


def test_threads_wait_without_spinning_unless_a_person_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert call(monkeypatch, ["--help"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert call(monkeypatch, ["--help"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_what_may_be_allowed_is_one_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A run's settings, a command without a run, and the help of the commands."""
    assert resolve({**FLAGS, "allow": list(PERMISSIONS)}).allow == permissions(list(PERMISSIONS)) == PERMISSIONS
    with pytest.raises(InputError, match=r"unknown .*'pickles'.*did you mean 'pickle'"):
        permissions(["pickles"])
    for command in (["evaluate"], ["privacy"], []):
        assert call(monkeypatch, [*command, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"{', '.join(PERMISSIONS)}: refused unless named" in text
