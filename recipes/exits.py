"""How a command ends: what its errors become for the person who gave it.

Exit code 2 and one line for what a person can mend, 130 after a stop that was asked for, a traceback for a bug.
"""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from medlingua.languages.errors import InputError

SHOW_TEXT = "--show-text"  # of every command: taken out before they are read


@contextmanager
def exits() -> Iterator[None]:
    """Around a command: its errors become a line on stderr and an exit code."""
    try:
        yield
    except InputError as error:
        _fail(f"{error}{_text_of(error)}")
    except (typer.Abort, KeyboardInterrupt):  # the latter: Ctrl-C again, while typer makes an Abort of the first
        _stopped()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _fail(
                f"{error.filename or 'the folder'} cannot be written or read ({error.strerror}): give another --out"
            )
        if error.errno != errno.ENOSPC:
            raise
        _no_space(error.filename or "the run")
    except Exception as error:
        # click's usage errors and our request to stop, without importing either's module for --help
        if hasattr(error, "format_message"):
            _fail(error.format_message())
        if f"os error {errno.ENOSPC}" in str(error):  # safetensors has no errno
            _no_space("the run")
        if type(error).__name__ == "RankLost":
            print(f"adapt: {error}. The same command goes on from the last checkpoint.", file=sys.stderr, flush=True)
            os._exit(1)  # without the group's farewell, which would wait for the lost one
        if type(error).__name__ != "Interrupted":
            raise
        if not _process():
            print(f"adapt: {error}. The same command goes on from there.", file=sys.stderr)
        _stopped()


def _text_of(error: InputError) -> str:
    """The words of a document that an error is about, where they were asked for."""
    if not error.text:
        return ""
    return f"\n{error.text}" if SHOW_TEXT in sys.argv else f" ({SHOW_TEXT} shows the text)"


def _stopped() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would find Python half gone, and print where
    sys.exit(130)


def _no_space(where: str) -> None:
    _fail(f"no space left on the device of {where}; free some and give the command again")


def _fail(message: str) -> None:
    print(f"adapt{_process()}: {message}", file=sys.stderr)
    sys.exit(2)


def _process() -> str:
    """Which of several processes this is, for a message; nothing for the first, or the only one."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"
