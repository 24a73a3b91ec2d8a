"""The one error a person sees, and the nearest name to what they typed."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

_LONGEST_REASON = 300  # characters
_LONGEST_ID = 80
_LONGEST_NAME = 255  # bytes, of file systems
_LISTED, _NEAREST = 20, 5  # known names that are listed; of more the nearest ones
# The kinds of pydantic's errors, as what a person should have written.
_EXPECTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list",
    "list": "a list", "dict": "a table", "model": "a table", "path": "a path",
}  # fmt: skip
_PLAIN = {"missing": "not given; add it", "extra_forbidden": "not known; take it out", "json_invalid": "not JSON"}


class InputError(Exception):
    """What a person gave cannot be used. The message says what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 2. Words of a document stand in `text`, never in the
    message: it may be a patient's, and messages end in logs.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class ArgumentError(InputError):
    """An argument of a function cannot be used. The message names it as the function does.

    arguments: the names in the message, for a caller that knows them by others.
    """

    def __init__(self, message: str, *arguments: str) -> None:
        super().__init__(message)
        self.arguments = arguments


def kind_of(value: object) -> str:
    """What a value of JSON or TOML is, in words."""
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list | tuple, "a list"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "an object")


def mismatch(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: what was expected, and what was given."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind.startswith("union_tag"):
        return f"expected '{context['discriminator'].strip(chr(39))}' with one of its known values"
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"expected {bound} in the list or table, given {context['actual_length']}"
    words = _EXPECTED.get(kind.partition("_")[0])
    expected = f"expected {words}" if words else error["msg"].replace("Input should be", "expected", 1)
    plain = isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= _LONGEST_ID
    return f"{expected}, given {repr(value) if plain else kind_of(value)}"


def check_name(name: str) -> None:
    """InputError for what no file system takes for the name of a file: Path.exists would raise OSError."""
    if len(name.rpartition("/")[2].encode(errors="replace")) > _LONGEST_NAME:
        raise InputError(f"'{name[:60]}...' is too long to be the name of a file, a folder, a model or a language")


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error message: the known names, or of many the nearest ones, and which one may be meant."""
    choices = sorted(known)
    if not choices:
        return "none are known"
    close = get_close_matches(name, choices, n=_NEAREST, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    if len(choices) <= _LISTED:
        return f"known: {', '.join(choices)}{hint}"
    listed = f", the nearest: {', '.join(close)}" if close else ""
    return f"{len(choices)} are known{listed}{hint}"


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
