"""The space of a sweep: what varies when, what a trial is made of, what can be no sweep."""

import datetime
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import tomli_w
from medlingua.languages.errors import InputError
from medlingua.recipes.experiments.space import Sweep, read_sweep

FIXED = {"strategy": "convert", "lang": "fr", "base": "FOLDER"}
SPACE: dict[str, Any] = {
    "train": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_tokens": {"low": 256, "high": 4_096}},
    "adapt": {
        "target": {"choices": ["longformer", "rope"]},
        "window": {"choices": [[64, 128], 256], "when": {"adapt": {"target": "longformer"}}},
        "scaling": {"choices": ["none", "yarn"], "when": {"adapt.target": ["rope"]}},
        "theta": {"low": 1e4, "high": 1e6, "log": True, "when": {"adapt": {"scaling": "yarn"}}},
    },
}


def sweep_of(**changes: Any) -> Sweep:
    return read_sweep({"trials": 4, "settings": FIXED, "space": SPACE, **changes}, {})


def test_a_date_among_the_fixed_settings_is_refused(tmp_path: Path) -> None:
    settings = {**FIXED, "train": {"lr": datetime.date(2026, 1, 1)}}
    file = tmp_path / "sweep.toml"
    file.write_text(
        tomli_w.dumps({"trials": 4, "settings": settings, "space": {"train": {"seed": {"choices": [1]}}}})
    )
    with pytest.raises(InputError, match=r"train\.lr"):
        read_sweep(file, {})


def test_a_setting_that_varies_reaches_phases_that_have_their_own() -> None:
    phases = [{"name": "a", "tokens": 300, "lr": 0.5}, {"name": "b", "tokens": 100, "lr": 0.25}]
    space = {"train": {"lr": {"choices": [1e-3, 1e-5]}}}
    for settings in ({**FIXED, "phases": phases}, {"lang": "fr", "base": "F", "preset": "bioclinical-modernbert"}):
        sweep = sweep_of(settings={**FIXED, **settings}, space=space)
        for lr in (1e-3, 1e-5):
            assert {phase.lr for phase in sweep.run({"train.lr": lr}).phases} == {lr}
    given = {"trials": 4, "settings": {**FIXED, "phases": phases}, "space": {"train": {"seed": {"choices": [1]}}}}
    by_flag = read_sweep(given, {"train": {"lr": 0.125}})
    assert {phase.lr for phase in by_flag.first_run().phases} == {0.125}


def draws(sweep: Sweep, count: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [sweep.values(study.ask()) for _ in range(count)]


def test_a_setting_exists_only_where_its_condition_holds() -> None:
    drawn = draws(sweep_of())
    for values in drawn:
        assert ("adapt.window" in values) == (values["adapt.target"] == "longformer")
        assert ("adapt.scaling" in values) == (values["adapt.target"] == "rope")
        assert ("adapt.theta" in values) == (values.get("adapt.scaling") == "yarn")
    assert {"adapt.window", "adapt.theta"} <= set().union(*drawn)


def test_values_keep_their_kind_and_their_bounds_and_reach_the_run() -> None:
    sweep = sweep_of()
    drawn = draws(sweep)
    rates = sorted(values["train.lr"] for values in drawn)
    assert rates[0] >= 1e-4
    assert rates[-1] <= 1e-2
    assert sum(rate < 1e-3 for rate in rates) == pytest.approx(30, abs=12)  # half of a log scale
    windows = [values["adapt.window"] for values in drawn if "adapt.window" in values]
    assert [64, 128] in windows
    for values in drawn:
        run = sweep.run(values)
        assert run.train.batch_tokens == values["train.batch_tokens"]
        assert isinstance(run.train.batch_tokens, int)
        assert run.train.lr == run.phases[0].lr == values["train.lr"]
        if "adapt.theta" in values:
            assert run.adapt.theta == values["adapt.theta"]


def test_draws_of_a_trial_do_not_depend_on_the_worker() -> None:
    sweep = sweep_of(sampler="RandomSampler", seed=3)
    drawn = []
    for _ in range(2):
        study = optuna.create_study(sampler=sweep.sampler_for(0))
        first = sweep.values(study.ask())
        study.sampler = sweep.sampler_for(1)
        drawn.append((first, sweep.values(study.ask())))
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_a_file_and_a_mapping_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(
        "trials = 2\n[settings]\nstrategy = 'continue'\nlang = 'fr'\nbase = 'FOLDER'\n"
        "[space]\ntrain.lr = { low = 1e-4, high = 1e-2, log = true }\n"
        'adapt.vocabulary = { choices = ["keep", "extend"] }\n'
        'adapt.new_pieces = { low = 5, high = 9, when = { adapt.vocabulary = "extend" } }\n'
    )
    sweep = read_sweep(file, {"data": {"root": "elsewhere"}})
    assert sweep.first_run().data.root == "elsewhere"
    assert list(sweep.space) == ["train.lr", "adapt.vocabulary", "adapt.new_pieces"]
    assert Sweep.model_validate(json.loads(sweep.model_dump_json())) == sweep


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "the space is empty"),
        ({"space": {"train": {"lrr": {"low": 1, "high": 2}}}}, "did you mean 'train.lr'"),
        (
            {"space": {"train": {"lr": {"lo": 1, "high": 2}}}},
            "space.train.lr: unknown key 'lo' (known: choices, high, log, low, step, when; did you mean 'low'?)",
        ),
        ({"space": {"train": {"lr": {"low": "a", "high": 1}}}}, "given 'a'"),
        ({"space": {"train": {"lr": {"low": 2, "high": 1}}}}, "low 2 is above high 1"),
        ({"space": {"train": {"lr": {"low": 0, "high": 1, "log": True}}}}, "a log scale has no place for low 0"),
        ({"space": {"train": {"lr": {"low": -1.0, "high": 1.0}}}}, "train.lr = -1.0: train.lr: expected greater"),
        ({"space": {"train": {"tokens": {"low": 1, "high": 9}}}}, "trials are compared at equal tokens"),
        ({"space": {"train": {"epochs": {"low": 0.2, "high": 2.0}}}}, "trials are compared at equal tokens"),
        ({"space": {"data": {"held_out": {"low": 0.1, "high": 0.2}}}}, "measured on the same text"),
        (
            {"space": {"adapt": {"target": {"choices": ["longformer", "rop"]}}}},
            "adapt.target = 'rop': unknown adapt.target 'rop'",
        ),
        (
            {"space": {"adapt": {"window": {"choices": [64], "when": {"adapt": {"targt": "rope"}}}}}},
            "'when' names 'adapt.targt', which is no setting above it",
        ),
        (
            {"space": {"adapt": {"window": {"choices": [64], "when": {"adapt": {"target": []}}}}}},
            "'when' lists no value of adapt.target: this setting would never be drawn",
        ),
        ({"objective": "test.synthetic_ner"}, "a score on test is no objective"),
        ({"objective": ["bits_per_byte", "synthetic_ner.test"]}, "a score on test is no objective"),
        ({"sampler": "TPESampel"}, "did you mean 'TPESampler'"),
        ({"sampler": {"name": "TPESampler", "startup": 3}}, "sampler TPESampler: "),
        ({"pruner": "MedianPruner", "objective": ["bits_per_byte", "synthetic_ner"]}, "trials of one objective"),
        ({"pruner": "MedianSampler"}, "unknown pruner 'MedianSampler'"),
        ({"trial": 3}, "did you mean 'trials'"),
        ({"trials": 0}, "trials: expected greater than 0, given 0"),
        ({"trials": "many"}, "trials: expected a whole number, given 'many'"),
        ({"seed": []}, "seed: expected a whole number, given a list"),
        ({"settings": {**FIXED, "train": {"lrate": 1}}}, "unknown setting 'train.lrate'"),
        ({"settings": {**FIXED, "train": "long"}}, "train = 'long' stands where a table of settings has to"),
        ({"settings": 3}, "settings = 3 stands where a table of settings has to"),
    ],
)  # fmt: skip
def test_an_invalid_sweep_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        sweep_of(**changes)
    assert message in str(error.value)


def test_a_missing_sweep_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sweep file .* does not exist"):
        read_sweep(tmp_path / "none.toml", {})
