"""What goes wrong while a run is at work: after it, the work goes on to the same end, or one clear line says why not.

Kills of whole runs are in tests/end_to_end; here are what they rely on, and moments that are hard to hit.
"""

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.recipes import checkpoint
from medlingua.recipes.checkpoint import Checkpoint

from ..end_to_end.conftest import give, same_weights, started
from ..recipes.conftest import call, cases, write_jsonl

KILLS = 50
ROOMS = Path(__file__).parents[2]


class Tiny(torch.nn.Module):
    """A model whose every weight is the step at which it was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(4))

    def at(self, step: int) -> "Tiny":
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(step)
        return self


def model_and_optimizer(step: int = 0) -> tuple[Tiny, torch.optim.Optimizer]:
    model = Tiny().at(step)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return model, optimizer


def restored(folder: Path) -> tuple[int, list[str]]:
    """The step that a folder gives back, all weights being of it, and what was said to be damaged."""
    model, optimizer = model_and_optimizer(-1)
    state, damaged = checkpoint.restore(folder, model, optimizer)
    assert state is not None
    assert {float(value) for p in model.parameters() for value in p.detach().flatten()} == {float(state.step)}
    return state.step, damaged


def three_checkpoints(folder: Path) -> Path:
    for step in (1, 2, 3):
        checkpoint.save(folder, replace(Checkpoint(), step=step), *model_and_optimizer(step))
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_O16_a_process_killed_fifty_times_while_it_saves_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    reached = 0
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            try:  # no way back into pytest from here
                step = reached
                while True:
                    step += 1
                    checkpoint.save(tmp_path, replace(Checkpoint(), step=step), *model_and_optimizer(step))
            finally:
                os._exit(1)
        time.sleep(random.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        if list(tmp_path.glob("step-*")):
            step, damaged = restored(tmp_path)
            assert damaged == []
            assert step >= reached
            reached = step
    assert reached > 0


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(name: str, harm: str, tmp_path: Path) -> None:
    three_checkpoints(tmp_path)
    damage(tmp_path / "step-00000003" / name, harm)
    step, damaged = restored(tmp_path)
    assert step == 2
    (line,) = damaged
    assert str(tmp_path / "step-00000003") in line
    assert "the one before it is used" in line
    if harm == "flip" and name != "state.json":
        assert f"{name} does not match its digest" in line


def test_where_no_checkpoint_is_whole_the_run_stops_and_says_so(tmp_path: Path) -> None:
    for folder in three_checkpoints(tmp_path).glob("step-*"):
        damage(folder / "weights.safetensors", "flip")
    with pytest.raises(InputError, match=r"no whole checkpoint is left in .*Remove the folder to start anew"):
        restored(tmp_path)


def damage(file: Path, harm: str) -> None:
    raw = bytearray(file.read_bytes())
    if harm == "gone":
        file.unlink()
        return
    if harm == "cut":
        del raw[len(raw) // 2 :]
    else:
        raw[len(raw) // 2] ^= 0x10
    file.write_bytes(raw)


@pytest.mark.parametrize("name", ["tokens.bin", "starts.npy", "keys.npy"])
@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_a_damaged_shard_is_named(
    name: str, harm: str, finished: Path, command: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "cost.json").unlink()  # as if it had been stopped before its end
    damage(out / "shards" / "notes" / name, harm)
    assert call(monkeypatch, [*command[1:], "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert f"shard {out / 'shards' / 'notes'}: {name} does not match its digest" in told
    assert "remove the folder" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs rights that this process has not")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    finished: Path,
    command: list[str],
    small_disk: Path,
    tmp_path: Path,
) -> None:
    out = small_disk / "run"
    done = give(command, out)
    assert done.returncode == 2, done.stderr
    assert "no space left on the device" in done.stderr
    assert "Traceback" not in done.stderr
    roomy = tmp_path / "roomy"
    shutil.copytree(out, roomy)
    assert give(command, roomy).returncode == 0
    same_weights(finished, roomy)


@pytest.mark.skipif(sys.platform != "linux", reason="/sys takes no folder on Linux alone")
def test_a_folder_that_takes_nothing_is_one_line(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, [*command[1:], "--out", "/sys/medlingua"]) == 2
    told = capsys.readouterr().err
    assert "/sys/medlingua cannot be written" in told
    assert "--out" in told


def test_ctrl_c_twice_stops_at_once_and_the_run_goes_on(command: list[str], tmp_path: Path) -> None:
    out, line = tmp_path / "run", [*command, "--set", "train.tokens=60_000"]
    process = started(line, out)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("Ctrl-C again stops at once" in said for said in process.stderr)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    again = give(line, out)
    assert again.returncode == 0
    assert "resuming at step" in again.stderr


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "notes.jsonl", cases(400))
    documents = read_documents(file, source="notes")
    next(documents)
    with file.open("a") as late:
        late.write(json.dumps({"text": "Le patient va bien."}) + "\n")
    with pytest.raises(InputError, match=r"notes.jsonl: changed while it was read"):
        list(documents)


def test_a_run_does_not_depend_on_the_clock(
    finished: Path,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wall clock runs backwards, and by jumps of days."""
    now = [4e9]

    def jump() -> float:
        now[0] -= random.uniform(0, 1e6)
        return now[0]

    monkeypatch.setattr(time, "time", jump)
    assert call(monkeypatch, [*command[1:], "--out", str(tmp_path / "run")]) == 0
    same_weights(finished, tmp_path / "run")


def test_nothing_asks_the_wall_clock_but_for_the_date_in_a_lineage() -> None:
    asked = []
    for room in ("languages", "adapters", "reports", "recipes"):
        for file in (ROOMS / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in ("time", "now", "today", "utcnow", "time_ns"):
                    owner = ast.unparse(node.value)
                    if owner in ("time", "datetime", "datetime.date", "datetime.datetime"):
                        asked.append(f"{file.relative_to(ROOMS)}: {owner}.{node.attr}")
    assert asked == ["recipes/walk.py: datetime.date.today"]
