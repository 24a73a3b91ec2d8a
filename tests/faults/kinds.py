"""Faults of a run, one function a kind. Each makes some, asserts that nothing was lost, and tells what it hit.

The work has to go on to the weights of the run that nobody disturbed, or one clear line has to say why not, with the
earlier state as it was. test_faults.py gives each kind a few tries, tests/benchmarks/faults.py many.
"""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from unittest import mock

import torch
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.recipes.command import main
from medlingua.recipes.training import checkpoint
from medlingua.recipes.training.checkpoint import Checkpoint

from ..end_to_end.conftest import ended, give, same_weights, started
from ..end_to_end.forks import Fork
from ..recipes.conftest import cases, write_jsonl

Fault = Callable[["Scene", Path, random.Random], list[str]]  # in an empty folder; what was hit, one entry a fault
HARMS = ("cut", "flip", "gone")


@dataclass(frozen=True)
class Scene:
    """command: of a small run, without --out. finished: its folder, after nobody disturbed it."""

    command: list[str]
    finished: Path

    @cached_property
    def forked_seconds(self) -> float:
        """What the run takes as a fork."""
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "run"
            assert ended([*self.command, "--out", str(out)]).returncode == 0
            return _seconds(out)


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


def damage(file: Path, harm: str, rng: random.Random) -> None:
    """Cut a file short, flip one of its bits, or take it away."""
    raw = bytearray(file.read_bytes())
    if harm == "gone":
        file.unlink()
        return
    place = rng.randrange(len(raw))
    if harm == "cut":
        del raw[place:]
    else:
        raw[place] ^= 1 << rng.randrange(8)
    file.write_bytes(raw)


def stopped(scene: Scene, out: Path) -> Path:
    """The finished run as it was before its last steps: two checkpoints, the newer one not the end."""
    shutil.copytree(scene.finished, out)
    (out / "cost.json").unlink()
    shutil.rmtree(out / "model")
    return out


def given(command: list[str], out: Path) -> tuple[int, str]:
    """The command line in this process: its exit code and what it says."""
    with (
        mock.patch.object(sys, "argv", ["adapt", *command[1:], "--out", str(out)]),
        redirect_stderr(io.StringIO()) as stderr,
        redirect_stdout(io.StringIO()),
    ):
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0), stderr.getvalue()
    return 0, stderr.getvalue()


# --- kills -------------------------------------------------------------------------------------------


def kill_a_run(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """kill -9 at random moments of a whole run, from its first file to its last; it is started until it ends."""
    out, hit = folder / "run", list[str]()
    line = [*scene.command, "--out", str(out)]
    seconds = scene.forked_seconds
    process = Fork(line)
    while process.returncode != 0:
        time.sleep(seconds * rng.random() ** 2)  # more often early, so that a run is killed many times
        process.kill()
        _, stderr = process.communicate()
        if process.returncode:
            assert process.returncode == -signal.SIGKILL, (hit, stderr)
            hit.append(_part_of(out))
            process = Fork(line)
    same_weights(scene.finished, out)
    return hit


def _seconds(out: Path) -> float:
    return float(json.loads((out / "cost.json").read_text(encoding="utf-8"))["seconds"])


def _part_of(out: Path) -> str:
    if list((out / "checkpoints").glob(".*.partial")):
        return "while a checkpoint is written"
    if (out / "model").exists():
        return "after the model is saved"
    return "in training" if list(out.glob("checkpoints/step-*")) else "before training"


def kill_a_save(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """kill -9 of a process that does nothing but save, ten times and until it has saved once."""
    reached, hit = 0, list[str]()
    while len(hit) < 10 or not reached:
        child = os.fork()
        if not child:
            try:  # no way back from here
                step = reached
                while True:
                    step += 1
                    checkpoint.save(folder, replace(Checkpoint(), step=step), *model_and_optimizer(step))
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        hit.append("half written" if list(folder.glob(".*.partial")) else "between two")
        if list(folder.glob("step-*")):
            step, damaged = restored(folder)
            assert damaged == []
            assert step >= reached
            reached = step
    assert reached > 0
    return hit


# --- damage ------------------------------------------------------------------------------------------


def damage_a_checkpoint(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """Any file of the newest checkpoint: it is named, and the one before is used."""
    out = stopped(scene, folder / "run")
    newest = max(out.glob("checkpoints/step-*"))
    file, harm = rng.choice(sorted(newest.iterdir())), rng.choice(HARMS)
    damage(file, harm, rng)
    code, stderr = given(scene.command, out)
    assert code == 0, stderr
    assert f"checkpoint {newest} is damaged" in stderr
    assert "the one before it is used" in stderr
    same_weights(scene.finished, out)
    return [f"{file.name}, {harm}"]


def damage_a_shard(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """Any file of the prepared text: it is named, and the run goes on once it is made anew."""
    out = stopped(scene, folder / "run")
    shutil.rmtree(max(out.glob("checkpoints/step-*")))
    file = rng.choice(sorted(path for path in (out / "shards").rglob("*") if path.is_file()))
    harm = rng.choice(HARMS)
    damage(file, harm, rng)
    code, stderr = given(scene.command, out)
    if code == 0:  # the digests alone were harmed
        assert file.name == "digests.json"
    else:
        assert code == 2, stderr
        assert f"{file.name} " in stderr or file.name == "digests.json"
        assert f"remove the folder {out / 'shards'} to make it anew" in stderr
        shutil.rmtree(out / "shards")
        assert given(scene.command, out)[0] == 0
    same_weights(scene.finished, out)
    return [f"{file.name}, {harm}"]


def change_a_corpus(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """A corpus file that is appended to, cut or replaced while it is read."""
    file = write_jsonl(folder / "notes.jsonl", cases(100, seed=rng.randrange(100)))
    documents = read_documents(file, source="notes")
    for _ in range(rng.randrange(1, 100)):
        next(documents)
    change = rng.choice(["appended to", "cut", "replaced"])
    if change == "appended to":
        with file.open("a", encoding="utf-8") as late:
            late.write(json.dumps({"text": "Le patient va bien."}) + "\n")
    elif change == "cut":
        os.truncate(file, rng.randrange(file.stat().st_size))
    else:
        copy = folder / "copy.jsonl"
        shutil.copy2(file, copy)
        copy.replace(file)
    try:
        list(documents)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017
        return [change]
    raise AssertionError(f"{change}, and nothing was said")


# --- the disk ----------------------------------------------------------------------------------------


class NotPossibleHere(Exception):
    """This process may not make such a fault."""


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of that size."""
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(*words: str) -> None:
    if not shutil.which("mount") or subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
        raise NotPossibleHere("mounting a file system needs rights that this process has not")


def fill_a_disk(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """A disk with no room for the whole run: one line, and it goes on where there is room."""
    with disk(folder / "disk", rng.randrange(20, 1_500)) as small:
        out = small / "run"
        done = give(scene.command, out)
        assert done.returncode == 2, done.stderr
        assert "no space left on the device" in done.stderr
        assert "Traceback" not in done.stderr
        part = _part_of(out)
        roomy = folder / "roomy"
        if out.exists():
            shutil.copytree(out, roomy)
    code, stderr = given(scene.command, roomy)
    assert code == 0, stderr
    same_weights(scene.finished, roomy)
    return [part]


def close_a_folder(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """The run's folder can no longer be written: one line, nothing changed in it, and it goes on once it can."""
    with disk(folder / "disk", 16_000) as place:
        out = stopped(scene, place / "run")
        shutil.rmtree(max(out.glob("checkpoints/step-*")))
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        _mount("-o", "remount,ro", str(place))
        code, stderr = given(scene.command, out)
        assert code == 2, stderr
        assert "cannot be written" in stderr
        _mount("-o", "remount,rw", str(place))
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        code, stderr = given(scene.command, out)
        assert code == 0, stderr
        same_weights(scene.finished, out)
    return ["when it goes on"]


# --- other people, and time --------------------------------------------------------------------------


def start_a_second_process(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """The second process in a run's folder refuses, and the first one does not notice."""
    out = folder / "run"
    first = started(scene.command, out)
    code, stderr = given(scene.command, out)
    assert code == 2, stderr
    assert f"another process is at work in {out}" in stderr
    _, first_stderr = first.communicate(timeout=200)
    assert first.returncode == 0, first_stderr
    same_weights(scene.finished, out)
    return ["in training"]


def turn_the_clock(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """The wall clock jumps by days, mostly backwards, whenever somebody looks."""
    now = [4e9]

    def jump() -> float:
        now[0] += rng.uniform(-1e6, 1e5)
        return now[0]

    with mock.patch.object(time, "time", jump):
        code, stderr = given(scene.command, folder / "run")
    assert code == 0, stderr
    same_weights(scene.finished, folder / "run")
    return ["the whole run"]


def interrupt_twice(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """Ctrl-C, and again at once, at a random moment; the same command goes on. No fault if it came after the end."""
    out = folder / "run"
    seconds = scene.forked_seconds
    process = Fork([*scene.command, "--out", str(out)])
    sign = rng.choice(["run.toml", "checkpoints"])  # before the first there is no run, from the second on it trains
    while not (out / sign).exists():
        time.sleep(0.01)
        assert process.poll() is None, process.communicate()
    time.sleep(seconds / 2 * rng.random() ** 2)
    part = _part_of(out)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(rng.uniform(0, 0.1))
    _, stderr = process.communicate(timeout=200)
    # The second one may come when Python has let go of signals, and then ends it as the system does.
    assert process.returncode in (130, -signal.SIGINT, 0), stderr
    assert "Traceback" not in stderr, stderr
    code, resumed_stderr = given(scene.command, out)
    assert code == 0, resumed_stderr
    same_weights(scene.finished, out)
    return [part] if process.returncode else []


KINDS: dict[str, Fault] = {
    "kill -9 of a run": kill_a_run,
    "kill -9 of a save": kill_a_save,
    "a full disk": fill_a_disk,
    "a damaged checkpoint": damage_a_checkpoint,
    "a damaged shard": damage_a_shard,
    "two processes in a folder": start_a_second_process,
    "clock jumps": turn_the_clock,
    "a folder that turns read-only": close_a_folder,
    "Ctrl-C twice": interrupt_twice,
    "a corpus file that changes": change_a_corpus,
}
