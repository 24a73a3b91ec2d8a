"""The job script with stand-ins for Slurm's own commands, and what the container file copies.

srun runs what it is given, as on one node; scontrol keeps what it is asked. Slurm itself, its signals at the end of a
job's time and the building of the image are not tried here.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from medlingua.recipes.resolve import resolve

from .conftest import give, same_weights, started, until_training
from .forks import ENVIRONMENT
from .test_ranks import furthest

SLURM = Path(__file__).parents[2] / "recipes" / "slurm"
ROOT = SLURM.parents[1]

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a job, with srun, scontrol and sbatch that write down how they are called."""
    place = tmp_path / "bin"
    place.mkdir()
    stand_ins = {
        "srun": 'exec "$@"',
        "scontrol": f'echo "$*" >> {tmp_path}/asked\n[ "$1" != show ] || echo localhost',
        "sbatch": f'printf "%s\\n" "$@" > {tmp_path}/submitted',
    }
    for name, body in stand_ins.items():
        (place / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (place / name).chmod(0o755)
    path = f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**ENVIRONMENT, "PATH": path, "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "localhost"}


def job(line: list[str], out: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SLURM / "adapt.sbatch"), *line[1:], "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def requeues(folder: Path) -> list[str]:
    file = folder / "asked"
    return [line for line in file.read_text().splitlines() if "requeue" in line] if file.exists() else []


@pytest.mark.slow
def test_O16_a_job_that_is_pushed_aside_saves_and_goes_on(
    command: list[str], finished: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    """Near the end of its time, which has it queued again, then by scancel, which does not, then to its end."""
    out, queued = tmp_path / "run", ["requeue 4711"]
    process = job(command, out, cluster)
    until_training(process, out)
    for sent in (signal.SIGUSR1, signal.SIGTERM):
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=200)
        assert process.returncode == 130, stderr
        assert "same command resumes" in stderr
        assert requeues(tmp_path) == queued
        reached = max(out.glob("checkpoints/step-*"))
        process = job(command, out, cluster)
        while sent == signal.SIGUSR1 and max(out.glob("checkpoints/step-*")) == reached:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
    output, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert "resuming at step" in stderr
    assert output.strip() == str(out / "report.html")
    assert requeues(tmp_path) == queued  # a job that ended is not queued again
    same_weights(finished, out)


@pytest.mark.slow
def test_a_job_of_two_processes_saves_and_goes_on(
    command: list[str], finished: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    out, line = tmp_path / "run", [*command, "--set", "train.lr=1e-3"]
    environment = {**cluster, "MEDLINGUA_PROCESSES": "2"}
    process = job(line, out, environment)
    until_training(process, out)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "same command resumes" in stderr
    assert requeues(tmp_path) == ["requeue 4711"]
    again = job(line, out, environment)
    _, stderr = again.communicate(timeout=200)
    assert again.returncode == 0, stderr
    whole = give(line, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert furthest(tmp_path / "whole", out) < 1e-5


@pytest.mark.slow
def test_O16_the_signal_near_the_end_of_its_time_stops_a_run_of_its_own(command: list[str], tmp_path: Path) -> None:
    """As SIGTERM does: test_command.py."""
    out = tmp_path / "run"
    process = started(command, out)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 130, stderr
    assert "saving, then stopping" in stderr


def test_a_job_without_a_folder_is_refused(cluster: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", str(SLURM / "adapt.sbatch"), "--strategy", "continue"],
        capture_output=True, text=True, env=cluster, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "give --out FOLDER" in done.stderr


@pytest.mark.parametrize("out", [["--out", "x"], ["--out=x"]])
def test_a_folder_is_given_in_either_form(out: list[str], cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "srun").write_text('#!/usr/bin/env bash\necho "$@"\n')
    done = subprocess.run(
        ["bash", str(SLURM / "adapt.sbatch"), *out], capture_output=True, text=True, env=cluster, check=False
    )
    assert (done.returncode, done.stdout.split()[-len(out) :]) == (0, out)


@pytest.mark.parametrize(
    ("name", "arguments"), [("convert", ["B", "D", "O"]), ("continue", ["B", "D", "O"]), ("scratch", ["D", "O"])]
)
def test_the_examples_submit_a_run_that_can_be(
    name: str, arguments: list[str], cluster: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run(["bash", str(SLURM / f"{name}.sh"), *arguments], env=cluster, check=True, timeout=60)
    words = (tmp_path / "submitted").read_text().splitlines()
    script = next(number for number, word in enumerate(words) if word.endswith("adapt.sbatch"))
    assert Path(words[script]).resolve() == SLURM / "adapt.sbatch"
    given = words[script + 1 :]
    assert given[given.index("--out") + 1] == "O"
    sets = tuple(word for before, word in pairwise(given) if before == "--set")
    flags = {"strategy": name, "lang": given[given.index("--lang") + 1], "data": {"root": "D"}}
    assert resolve(flags | ({"base": "B"} if "--base" in given else {}), sets=sets).strategy == name


def test_what_the_container_copies_installs_and_answers(tmp_path: Path) -> None:
    lines = (SLURM / "Containerfile").read_text(encoding="utf-8").splitlines()
    image = tmp_path / "image"
    image.mkdir()
    for words in (line.split()[1:] for line in lines if line.startswith("COPY")):
        for source in words[:-1]:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, image / words[-1])
            else:
                shutil.copy(ROOT / source, image / words[-1])
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(image)], check=True, timeout=300)
    asking = "import medlingua.recipes.resolve as s; print(s.__file__, len(s.presets()))"
    done = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    file, presets = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path / "site")
    assert int(presets) > 3
