"""The one error a person sees, and the nearest name to what they typed."""

from collections.abc import Iterable
from difflib import get_close_matches


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
