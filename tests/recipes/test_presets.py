"""Every preset starts: twenty steps of its own phases on a tiny model and a few notes."""

from pathlib import Path

import pytest
from medlingua.languages.pack import load_pack, read_toml
from medlingua.recipes.resolve import PRESETS, presets, resolve
from medlingua.recipes.walk import adapt
from medlingua.reports.read import read_run

_STEP, _STEPS = 256, 20
_SMALL = ("train.batch_tokens=256", "train.micro_tokens=256", "train.checkpoint_tokens=100_000")
_SMALL += ("train.eval_tokens=100_000", "train.collapse=warn", "data.near_duplicates=0", "eval.tasks=none")
_SMALL += ("train.precision=fp32", f"train.tokens={_STEP * _STEPS}", "adapt.head_tokens=512")


@pytest.mark.parametrize("preset", presets())
def test_its_phases_train_for_twenty_steps(preset: str, base: Path, corpus: Path, tmp_path: Path) -> None:
    written = read_toml(PRESETS / f"{preset}.toml")
    vocabulary = written.get("adapt", {}).get("vocabulary", "keep")
    strategy = written.get("strategy", "convert" if preset == "drlongformer-converted" else "continue")
    # A preset that learns a new tokenizer names no base, and the others get a tiny one.
    from_nothing = strategy == "scratch" and vocabulary == "replace"
    flags = {
        "strategy": strategy,
        "lang": "fr",  # of the notes
        "base": "" if from_nothing else str(base),
        "data": {"paths": [str(corpus)]},
    }
    sizes = {"scratch": ("adapt.size=tiny", "adapt.length=128"), "convert": ("adapt.length=256", "adapt.window=32")}
    sets = _SMALL + sizes.get(strategy, ()) + (("adapt.new_pieces=700",) if from_nothing else ())
    if vocabulary == "extend":
        sets += ("adapt.new_pieces=40", "adapt.piece_documents=2")
    if named := {m["corpus"] for m in written.get("data", {}).get("mixture", ())}:  # text of the hub, here the notes
        sets += ("data.mixture=[]",)
        assert named <= {corpus.name for corpus in load_pack("en").corpora}
    run = resolve(flags, preset=preset, sets=sets)
    adapt(run, tmp_path / "run")
    record = read_run(tmp_path / "run")
    assert {row.phase for row in record.training} == set(range(len(run.phases)))
    assert record.training[-1].step >= _STEPS
    assert record.training[-1].tokens >= _STEP * _STEPS
