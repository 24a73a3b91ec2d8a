"""The one error a person sees, and the nearest name to what they typed."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten

_LONGEST_REASON = 300  # characters
_LONGEST_ID = 80


class InputError(Exception):
    """What a person gave cannot be used. The message says what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 2. Words of a document stand in `text`, never in the
    message: it may be a patient's, and messages end in logs.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error message: the known names, the nearest one first when there is one."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"known: {', '.join(choices)}{hint}" if choices else "none are known"


def near(name: str, known: Iterable[str]) -> str:
    """End of an error message: the nearest of names that may be somebody's words; the others are not listed."""
    close = get_close_matches(name, [other for other in known if other.isidentifier()], n=1, cutoff=0.7)
    return f"; did you mean '{close[0]}'?" if close else ""


def shown(name: str) -> str:
    """An id in a message. One that may be text, as where the wrong column was taken for the ids, is not shown."""
    if len(name) <= _LONGEST_ID and not re.search(r"\s", name):
        return name
    return f"an id of {len(name)} characters"


def reason(error: Exception) -> str:
    """What another library's error says, on one line: its first whole sentences, without the last full stop."""
    first, *others = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(str(error).split()) or type(error).__name__)
    text = shorten(first, _LONGEST_REASON, placeholder=" ...")
    for sentence in others:
        if len(text) + len(sentence) >= _LONGEST_REASON:
            break
        text += f" {sentence}"
    return text if text.endswith("...") else text.removesuffix(".")
