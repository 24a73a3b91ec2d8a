"""Importing our modules leaves other libraries and the process as they were."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# The libraries are imported first: what they do to a process themselves is theirs.
PROGRAM = """
import importlib, json, os, pkgutil, sys, warnings
import datasets, huggingface_hub, matplotlib, optuna, sklearn, spacy, torch, transformers
import transformers.modeling_utils, transformers.trainer, optuna.storages.journal
import medlingua.adapters, medlingua.languages, medlingua.recipes, medlingua.reports

def state():
    return {
        "transformers": transformers.logging.get_verbosity(),
        "transformers' bars": transformers.logging.is_progress_bar_enabled(),
        "datasets": datasets.logging.get_verbosity(),
        "datasets' bars": datasets.are_progress_bars_disabled(),
        "hub": huggingface_hub.logging.get_verbosity(),
        "hub's bars": huggingface_hub.utils.are_progress_bars_disabled(),
        "optuna": optuna.logging.get_verbosity(),
        "warnings": [str(one) for one in warnings.filters],
        **{"environment " + key: value for key, value in os.environ.items()},
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()),
        "seed": torch.initial_seed(),
        "style": {key: str(value) for key, value in matplotlib.rcParams.items()},
    }

before = state()
rooms = [medlingua.adapters, medlingua.languages, medlingua.recipes, medlingua.reports]
names = [m.name for room in rooms for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "triton":  # comes with the CUDA build of torch
            raise
after = state()
changed = {key: [before.get(key), after.get(key)] for key in before | after if before.get(key) != after.get(key)}
print(json.dumps({"changed": changed, "modules": names}))
"""


def test_importing_every_module_changes_no_other_library_and_nothing_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "medlingua.adapters.encoder" in report["modules"]
    assert len(report["modules"]) > 50
    assert report["changed"] == {}


LOADING = """
import sys, transformers, huggingface_hub
from pathlib import Path
from medlingua.adapters.encoder import load, save
transformers.logging.set_verbosity_info()
def state():
    bars = transformers.logging.is_progress_bar_enabled(), huggingface_hub.utils.are_progress_bars_disabled()
    return transformers.logging.get_verbosity(), bars
def quiet():
    before = state()
    save(load(sys.argv[1]), Path(sys.argv[2]))
    try:
        load("nowhere/at all/")
    except Exception:
        pass
    print(before == state(), before)
quiet()
huggingface_hub.utils.disable_progress_bars()
quiet()
"""


def test_loading_and_saving_is_quiet_and_gives_the_verbosity_back(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = str(build("bert"))
    done = subprocess.run(
        [sys.executable, "-c", LOADING, folder, str(tmp_path / "again")], capture_output=True, text=True
    )
    with_bars, without_hub_bars = done.stdout.splitlines()
    assert with_bars == "True (20, (True, False))", done.stdout + done.stderr
    assert without_hub_bars == "True (20, (True, True))", done.stdout + done.stderr
    assert done.stderr == ""
