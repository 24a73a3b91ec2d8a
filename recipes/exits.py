"""How a command ends: what its errors become for the person who gave it.

Exit code 2 and one line for what a person can mend, 130 after a stop that was asked for, a traceback for a bug.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from medlingua.languages.errors import InputError

SHOW_TEXT = "--show-text"  # of every command: taken out before they are read
STOPPED = 128 + signal.SIGINT  # a shell's code for Ctrl-C


@contextmanager
def exits() -> Iterator[None]:
    """Around a command: its errors become a line on stderr and an exit code."""
    try:
        with _ctrl_c():
            yield
    except InputError as error:
        _fail(f"{error}{_text_of(error)}")
    except (typer.Abort, KeyboardInterrupt):
        exit_at_once(STOPPED)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _fail(
                f"{error.filename or 'the folder'} cannot be written or read ({error.strerror}): give another --out"
            )
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            _fail(f"{error.filename}: a file is in the place of a folder; give another --out")
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"'{str(error.filename)[:60]}...' is too long to be the name of a file, a folder or a model")
        if error.errno != errno.ENOSPC:
            raise
        _no_space(error.filename or "the run")
    except Exception as error:
        # click's usage errors and our request to stop, without importing either's module for --help
        if hasattr(error, "format_message"):
            _fail(f"{error.format_message().removesuffix('.')}{_hint(error)}")
        if f"os error {errno.ENOSPC}" in str(error):  # safetensors has no errno
            _no_space("the run")
        if type(error).__name__ == "ProcessLost":
            print(f"adapt: {error}. The same command resumes from the last checkpoint.", file=sys.stderr, flush=True)
            os._exit(1)  # without the group's farewell, which would wait for the lost one
        if type(error).__name__ != "Interrupted":
            raise
        if not _process():
            print(f"adapt: {error}. The same command resumes from there.", file=sys.stderr)
        exit_at_once(STOPPED)


def _hint(error: Exception) -> str:
    """What a command or an option of another tool is called here."""
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    message = error.format_message()  # type: ignore[attr-defined]
    if message.startswith("No such command") and "Did you mean" not in message:
        return ": adapt --strategy convert, continue or scratch trains; adapt --help lists the commands"
    if option is None:
        return ""
    from medlingua.recipes.familiar import familiar

    name = familiar(option, context.info_name if context else "")
    return f". Here it is {name if name.startswith('--') else f'--set {name}'}" if name else ""


def exit_at_once(code: int = 0) -> None:
    """The end of a command. One process of several ends here: threads of gloo may still hold Python's objects, and
    let go of while Python goes down, they abort it (pytorch/pytorch pull request 179291); the launcher would then end
    the first process too, at work or not."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C stays what it is: libraries that it meets while they are imported make errors of their own of it, and
    Python drops it, with a traceback, where it meets a callback of a weak reference. A second one, and one after the
    work, ends the process where it stands, which loses no more than kill -9: Python would print where it met it."""
    heard = False
    unraisable = sys.unraisablehook

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            os._exit(STOPPED)
        heard = True
        raise KeyboardInterrupt

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        nonlocal heard
        if isinstance(what.exc_value, KeyboardInterrupt):  # again, once the callback is over
            heard = False
            main = threading.main_thread().ident
            threading.Timer(0.01, signal.pthread_kill, [main, signal.SIGINT]).start()  # which ends a sleep too
        else:
            unraisable(what)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, hear)
    sys.unraisablehook = dropped
    try:
        yield
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        heard = True
        sys.unraisablehook = unraisable


def _text_of(error: InputError) -> str:
    """The words of a document that an error is about, where they were asked for."""
    if not error.text:
        return ""
    return f"\n{error.text}" if SHOW_TEXT in sys.argv else f" ({SHOW_TEXT} shows the text)"


def _no_space(where: str) -> None:
    _fail(f"no space left on the device of {where}; free some and give the command again")


def _fail(message: str) -> None:
    print(f"adapt{_process()}: {message}", file=sys.stderr)
    exit_at_once(2)


def _process() -> str:
    """Which of several processes this is, for a message; nothing for the first, or the only one."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"
