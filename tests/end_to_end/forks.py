"""Processes of their own without seconds of imports: forks of one that has imported everything.

A fork is a whole process: it has its own signals, files, output and exit code, and may be killed. What it does not
try is the start itself (the `adapt` script, torchrun); tests of that start it as a person does.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

from medlingua.recipes.command import main

from ..small_runs import SMALL

ROOT = Path(__file__).parents[2]  # from which a fork imports this module
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# What a run imports, some of it when it first needs it.
IMPORTED = ["medlingua.recipes.walk", "transformers.models.bert.modeling_bert", "spacy.lang.fr"]
IMPORTED += ["matplotlib.figure", "matplotlib.backends.backend_svg", "medlingua.reports.figures"]
IMPORTED += ["medlingua.recipes.commands.evaluate"]


def fork_server() -> ForkServerContext:
    """The context whose processes are such forks. The server starts with the first of them, in ENVIRONMENT."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


class Fork:
    """A command line in a fork, with what subprocess.Popen has of it. Its output is text.

    on_ctrl_c: how Python handles SIGINT when it starts; signal.SIG_IGN where the parent ignores it.
    """

    def __init__(
        self,
        words: list[str],
        environment: dict[str, str] = ENVIRONMENT,
        on_ctrl_c: signal.Handlers | Callable[..., Any] = signal.default_int_handler,
    ) -> None:
        self.args = words
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        given = (words, environment, [str(file) for file in self._files], str(Path.cwd()), on_ctrl_c)
        # A daemon ends with the tests that have left it at work.
        self._process = fork_server().Process(target=_call, args=given, daemon=True)
        with mock.patch.dict(os.environ, ENVIRONMENT), mock.patch.object(sys, "path", [str(ROOT), *sys.path]):
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout or 0)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        stdout, stderr = (file.read_text(encoding="utf-8") if file.exists() else "" for file in self._files)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, which Popen does not call an error either
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _call(words: list[str], environment: dict[str, str], files: list[str], folder: str, on_ctrl_c: Any) -> None:
    """The command line, in the fork."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        stream.flush()
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, stream.fileno())
        os.close(target)
    signal.signal(signal.SIGINT, on_ctrl_c)
    for change in SMALL:
        setattr(*change)
    sys.argv = words
    main()
