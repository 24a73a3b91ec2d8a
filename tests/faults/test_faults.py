"""What goes wrong while a run is at work: after it, the work goes on to the same end, or one clear line says why not.

Every kind of fault is in kinds.py; here are a few of each, and the lines that a person reads. Fifty of each:
tests/benchmarks/faults.py.
"""

import ast
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.exits import exits
from medlingua.recipes.training import checkpoint
from medlingua.recipes.training.checkpoint import Checkpoint

from ..end_to_end.conftest import give, hear_ctrl_c, same_weights, until_training
from ..end_to_end.forks import ENVIRONMENT, Fork
from ..recipes.conftest import call
from .kinds import KINDS, NotPossibleHere, Scene, damage, model_and_optimizer, restored

ROOMS = Path(__file__).parents[2]
FAULTS = {"kill -9 of a run": 5, "kill -9 of a save": 10, "a damaged checkpoint": 3, "a damaged shard": 3}
FAULTS |= {"a corpus file that changes": 5}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_O16_after_a_fault_nothing_is_lost(kind: str, command: list[str], finished: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown where it fails
    scene, rng = Scene(command, finished), random.Random(seed)
    hit: list[str] = []
    while len(hit) < FAULTS.get(kind, 1):
        folder = tmp_path / str(len(hit))
        folder.mkdir(exist_ok=True)
        try:
            hit += KINDS[kind](scene, folder, rng)
        except NotPossibleHere as error:
            pytest.skip(str(error))
        shutil.rmtree(folder)


def three_checkpoints(folder: Path) -> Path:
    for step in (1, 2, 3):
        checkpoint.save(folder, replace(Checkpoint(), step=step), *model_and_optimizer(step))
    return folder


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(name: str, harm: str, tmp_path: Path) -> None:
    three_checkpoints(tmp_path)
    damage(tmp_path / "step-00000003" / name, harm, random.Random())
    step, damaged = restored(tmp_path)
    assert step == 2
    (line,) = damaged
    assert str(tmp_path / "step-00000003") in line
    assert "the one before it is used" in line
    if harm == "flip" and name != "state.json":  # which may be no JSON any more
        assert f"{name} does not match its digest" in line


def test_a_checkpoint_whose_state_differs_in_any_byte_is_damaged(tmp_path: Path) -> None:
    """One bit may make an 8 of a 0: still JSON, and another place in the text, or another optimizer."""
    model, optimizer = model_and_optimizer()
    state = checkpoint.save(tmp_path, Checkpoint(step=1), model, optimizer) / "state.json"
    good, bits = state.read_bytes(), random.Random(0)
    for place in range(len(good)):
        flipped = bytearray(good)
        flipped[place] ^= 1 << bits.randrange(8)
        for raw in (bytes(flipped), good[:place]):
            state.write_bytes(raw)
            with pytest.raises(InputError, match="is damaged"):
                checkpoint.restore(tmp_path, model, optimizer)


@pytest.mark.parametrize("name", ["corpora.json", "held_out.jsonl", "files.json", "notes/shard.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_damaged_descriptions_of_the_text_are_named(
    name: str, harm: str, finished: Path, command: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "cost.json").unlink()
    damage(out / "shards" / name, harm, random.Random())
    assert call(monkeypatch, [*command[1:], "--out", str(out)]) == 2
    stderr = capsys.readouterr().err
    assert f"{out / 'shards'}: {name} {'is gone' if harm == 'gone' else 'does not match its digest'}" in stderr
    assert "remove the folder" in stderr


def test_where_no_checkpoint_is_whole_the_run_stops_and_says_so(tmp_path: Path) -> None:
    for folder in three_checkpoints(tmp_path).glob("step-*"):
        damage(folder / "weights.safetensors", "flip", random.Random())
    with pytest.raises(InputError, match=r"no complete checkpoint is left in .*Remove the folder to start again"):
        restored(tmp_path)


@pytest.mark.parametrize("name", ["tokens.bin", "starts.npy", "keys.npy"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_a_damaged_shard_is_named(
    name: str, harm: str, finished: Path, command: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "cost.json").unlink()  # as if it had been stopped before its end
    damage(out / "shards" / "notes" / name, harm, random.Random())
    assert call(monkeypatch, [*command[1:], "--out", str(out)]) == 2
    stderr = capsys.readouterr().err
    assert f"shard {out / 'shards' / 'notes'}: {name} {'is gone' if harm == 'gone' else 'does not match'}" in stderr
    assert "remove the folder" in stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/sys takes no folder on Linux alone")
def test_a_folder_that_takes_nothing_is_one_line(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, [*command[1:], "--out", "/sys/medlingua"]) == 2
    stderr = capsys.readouterr().err
    assert "/sys/medlingua cannot be written" in stderr
    assert "--out" in stderr


def test_ctrl_c_twice_stops_at_once_and_the_run_goes_on(command: list[str], finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    until_training(process, out)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("Ctrl-C again stops at once" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    again = give(command, out)
    assert again.returncode == 0
    assert "resuming at step" in again.stderr
    same_weights(finished, out)


def test_ctrl_c_that_a_script_ignores_stops_nothing(command: list[str], finished: Path, tmp_path: Path) -> None:
    """It reaches what the script has put in its background too."""
    out = tmp_path / "run"
    process = Fork([*command, "--out", str(out)], on_ctrl_c=signal.SIG_IGN)
    until_training(process, out)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert "stopping" not in stderr
    same_weights(finished, out)


@pytest.fixture
def listening() -> Iterator[None]:
    """What a command makes of Ctrl-C is not for the tests after it."""
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, heard)


CTRL_C = "signal.raise_signal(signal.SIGINT)"
HEARD_TWICE = {
    "while the first is being heard": f"try: {CTRL_C}\n    finally: {CTRL_C}; print('deaf')",
    "while an error is told": f"Told.format_message = lambda _: {CTRL_C}; raise Told",
    "after a stop": f"atexit.register(lambda: [{CTRL_C}, print('deaf')]); {CTRL_C}",
}


@pytest.mark.parametrize("moment", HEARD_TWICE)
def test_ctrl_c_leaves_no_traceback(moment: str) -> None:
    program = "import atexit, signal\nfrom medlingua.recipes.exits import exits\nclass Told(Exception): pass\n"
    program += f"with exits():\n    {HEARD_TWICE[moment]}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, preexec_fn=hear_ctrl_c
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.usefixtures("listening")
def test_ctrl_c_of_which_a_library_makes_an_error_is_no_bug_of_ours() -> None:
    """As torch's and transformers' imports do."""

    def imported() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ModuleNotFoundError("Could not import module") from error

    with pytest.raises(SystemExit) as left, exits():
        imported()
    assert left.value.code == 130


@pytest.mark.usefixtures("listening")
def test_ctrl_c_that_meets_a_callback_is_not_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    class Held:
        """Something that a weak reference can be of."""

    def met() -> None:
        held = Held()
        watching = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
        del held
        time.sleep(10)
        del watching

    with pytest.raises(SystemExit) as left, exits():
        met()
    assert left.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_asks_the_wall_clock_but_for_the_date_in_a_lineage() -> None:
    calls = []
    for room in ("languages", "adapters", "reports", "recipes"):
        for file in (ROOMS / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in ("time", "now", "today", "utcnow", "time_ns"):
                    owner = ast.unparse(node.value)
                    if owner in ("time", "datetime", "datetime.date", "datetime.datetime"):
                        calls.append(f"{file.relative_to(ROOMS)}: {owner}.{node.attr}")
    assert calls == ["recipes/walk.py: datetime.date.today"]
