"""One run by several processes: what one process would have made, however many there are, whichever dies."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.fresh import random_encoder
from medlingua.recipes.resolve import read_run
from safetensors.torch import load_file
from transformers import AutoTokenizer, LongformerConfig, LongformerForMaskedLM

from .conftest import give, until_training
from .forks import ENVIRONMENT, Fork

BINARIES = Path(sys.executable).parent


@pytest.fixture(scope="module")
def line(command: list[str]) -> list[str]:
    """At a usual rate: ten times that moves a key's bias, whose gradient is rounding alone, past 1e-5 in 60 steps."""
    return [*command, "--set", "train.lr=1e-3"]


@pytest.fixture(scope="module")
def whole(line: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run by one process."""
    out = tmp_path_factory.mktemp("runs") / "one"
    done = give(line, out)
    assert done.returncode == 0, done.stderr
    return out


class Ranks:
    """The processes of one run, in forks, as torchrun would start them: where one fails, the others are ended."""

    def __init__(self, processes: int, command: list[str], out: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        shared = {**ENVIRONMENT, "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        self.forks = [Fork([*command, "--out", str(out)], environment) for environment in ranks]

    @property
    def returncode(self) -> int | None:
        codes = [fork.returncode for fork in self.forks]
        return next((code for code in codes if code), None if None in codes else 0)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        for fork in self.forks:
            fork.send_signal(number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        limit = time.monotonic() + timeout
        while self.returncode is None and time.monotonic() < limit:
            time.sleep(0.01)
        if self.returncode != 0:
            time.sleep(2)  # for those that end by themselves
            for fork in self.forks:
                fork.kill()
        outputs = [fork.communicate(timeout=5) for fork in self.forks]
        return "".join(stdout for stdout, _ in outputs), "".join(stderr for _, stderr in outputs)


def launched(processes: int, command: list[str], out: Path) -> subprocess.Popen[str]:
    """By torchrun, as a person starts it."""
    line = [str(BINARIES / "torchrun"), "--standalone", "--nproc-per-node", str(processes)]
    line += ["-m", "medlingua.recipes.command", *command[1:], "--out", str(out)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def furthest(left: Path, right: Path) -> float:
    """The largest difference of two runs' weights."""
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (left, right))
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def tokens_of(out: Path) -> list[int]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["tokens"] for row in rows if row["kind"] == "train"]


def looks(out: Path) -> list[tuple[str, int, int, int]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(r["model"], r["tokens"], r["documents"], r["masked_bytes"]) for r in rows if r["kind"] == "eval"]


def test_O2_O10_three_processes_train_what_one_trains_and_measure_no_document_twice(
    whole: Path, line: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "three"
    process = Ranks(3, line, out)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert stdout.strip() == str(out / "report.html")  # one of them speaks
    assert stderr.count("text: ") == 1
    assert furthest(whole, out) < 1e-5
    assert tokens_of(out) == tokens_of(whole)
    assert read_run(out) == read_run(whole)
    assert looks(out) == looks(whole)
    assert len(looks(whole)) >= 3


@pytest.mark.parametrize("split", [False, True])
def test_O14_parameters_without_gradients_and_dropout_are_what_one_process_has(
    split: bool, base: Path, line: list[str], tmp_path: Path
) -> None:
    """A Longformer's global projections have no gradient in masked-LM, and are not decayed for that."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LongformerConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=130, attention_window=16, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    LongformerForMaskedLM(config).save_pretrained(tmp_path / "long")
    tokenizer.save_pretrained(tmp_path / "long")
    changed = [*line]
    changed[changed.index("--base") + 1] = str(tmp_path / "long")
    for key in ("train.tokens=1_500", "train.dropout=0.1", "train.weight_decay=0.5", "train.micro_tokens=128"):
        changed += ["--set", key]
    one = give(changed, tmp_path / "one")
    assert one.returncode == 0, one.stderr
    process = Ranks(2, [*changed, "--set", f"train.shard={str(split).lower()}"], tmp_path / "two")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert furthest(tmp_path / "one", tmp_path / "two") < 1e-5
    start, end = (load_file(tmp_path / name / "model.safetensors") for name in ("long", "two/model"))
    still = [name for name in start if "query_global.weight" in name]
    assert still
    assert all((start[name] == end[name]).all() for name in still)


@pytest.mark.parametrize("code", [0, 130])
@pytest.mark.parametrize(("processes", "expected"), [(1, "work, then Python's last work"), (2, "work")])
def test_a_process_of_several_does_not_wait_for_pythons_last_work(processes: int, expected: str, code: int) -> None:
    """gloo's threads may abort it there, and the launcher would end the first process with it."""
    program = "import atexit; from medlingua.recipes.exits import exit_at_once; "
    program += (
        f"atexit.register(print, \", then Python's last work\", end=''); print('work', end=''); exit_at_once({code})"
    )
    environment = {**ENVIRONMENT, "WORLD_SIZE": str(processes)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.returncode) == (expected, code)


def stop_two(line: list[str], out: Path) -> None:
    """Two processes, asked to stop once they train."""
    process = Ranks(2, line, out)
    until_training(process, out)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "same command resumes" in stderr


def test_O16_two_processes_are_stopped_and_one_or_three_go_on(whole: Path, line: list[str], tmp_path: Path) -> None:
    out = tmp_path / "two"
    stop_two(line, out)
    reached = int(max(out.glob("checkpoints/step-*")).name.removeprefix("step-"))
    shutil.copytree(out, tmp_path / "three")
    one = give(line, out)
    assert f"resuming at step {reached:,}" in one.stderr
    assert furthest(whole, out) < 1e-5
    process = Ranks(3, line, tmp_path / "three")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert f"resuming at step {reached:,}" in stderr
    assert furthest(whole, tmp_path / "three") < 1e-5


@pytest.mark.parametrize("processes", [2, 3])
def test_a_model_split_over_processes_is_what_one_process_trains(
    processes: int, whole: Path, line: list[str], tmp_path: Path
) -> None:
    """Steps of 256 tokens in passes of 86 to 128: a process with none left goes along with the others."""
    out = tmp_path / "split"
    process = Ranks(processes, [*line, "--set", "train.shard=true"], out)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert stdout.strip() == str(out / "report.html")
    assert furthest(whole, out) < 1e-5
    assert tokens_of(out) == tokens_of(whole)
    assert looks(out) == looks(whole)


def test_a_split_run_goes_on_split_otherwise_or_in_one_process(whole: Path, line: list[str], tmp_path: Path) -> None:
    splitting, out = [*line, "--set", "train.shard=true"], tmp_path / "two"
    stop_two(splitting, out)
    shutil.copytree(out, tmp_path / "three")
    one = give(splitting, out)
    assert one.returncode == 0, one.stderr
    assert "there is one: it stays whole" in one.stderr
    assert "resuming at step" in one.stderr
    assert furthest(whole, out) < 1e-5
    process = Ranks(3, splitting, tmp_path / "three")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert furthest(whole, tmp_path / "three") < 1e-5


def test_phases_of_every_kind_train_split_as_they_do_whole(base: Path, line: list[str], tmp_path: Path) -> None:
    """The rows of new pieces alone, then replaced tokens, whose generator shares the table, then masked-LM."""
    electra = random_encoder("electra", "tiny", 128, 16, AutoTokenizer.from_pretrained(base), seed=0)
    encoders.save(electra, tmp_path / "electra")
    phases = "[{name='rows', tokens=1_000, parameters='rows'}, {name='found', tokens=1_000, kind='rtd'}, "
    phases += "{name='all', tokens=1_000}]"
    changed = [*line]
    changed[changed.index("--base") + 1] = str(tmp_path / "electra")
    for key in ("adapt.vocabulary=extend", "adapt.new_pieces=40", f"phases={phases}"):
        changed += ["--set", key]
    one = give(changed, tmp_path / "one")
    assert one.returncode == 0, one.stderr
    process = Ranks(2, [*changed, "--set", "train.shard=true"], tmp_path / "two")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert furthest(tmp_path / "one", tmp_path / "two") < 1e-5


def test_a_process_that_dies_stops_all_and_the_run_goes_on(whole: Path, line: list[str], tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = launched(2, line, out)
    until_training(process, out)
    workers = {w.environ()["RANK"]: w for w in psutil.Process(process.pid).children() if "RANK" in w.environ()}
    workers["1"].kill()
    _, stderr = process.communicate(timeout=200)
    assert process.returncode != 0
    # The launcher tells of each process how it ended; which it saw first is chance.
    assert re.findall(r"local_rank: (\d)\)\s+exitcode\s*: -9", stderr) == ["1"]
    assert "Signal 9 (SIGKILL)" in stderr
    assert not any(worker.is_running() for worker in workers.values())
    goes_on(whole, line, out)


def test_the_first_process_dies_and_the_run_goes_on(whole: Path, line: list[str], tmp_path: Path) -> None:
    """The launcher then sends the others SIGTERM, while they wait for it."""
    out = tmp_path / "killed"
    process = Ranks(2, line, out)
    until_training(process, out)
    first, second = process.forks
    first.kill()
    first.wait(timeout=60)
    second.send_signal(signal.SIGTERM)
    _, stderr = second.communicate(timeout=60)
    assert second.returncode is not None
    assert second.returncode > 0, stderr
    goes_on(whole, line, out)


def goes_on(whole: Path, line: list[str], out: Path) -> None:
    done = give(line, out)
    assert done.returncode == 0, done.stderr
    assert "resuming at step" in done.stderr
    assert furthest(whole, out) < 1e-5


def test_a_run_that_cannot_start_is_reported_by_the_first_process_and_nobody_waits(
    line: list[str], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    ranks = Ranks(2, line, tmp_path / "full").forks
    ends = [rank.communicate(timeout=60) for rank in ranks]
    first, second = (rank.returncode for rank in ranks)
    assert first == 2
    assert second is not None
    assert second >= 0, "it ends by itself"
    assert "".join(stderr for _, stderr in ends).count("is not empty and holds no run") == 1
    sweep = Fork(["adapt", "sweep", "none.toml"], {**ENVIRONMENT, "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"})
    _, stderr = sweep.communicate(timeout=60)
    assert "adapt sweep is work for one process: start it without a launcher" in stderr
