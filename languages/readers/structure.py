"""Values of JSON from anybody, of the kind that a format says they are, or an InputError with their place."""

import json
from typing import Any

from ..documents import without_nul
from ..errors import InputError, kind_of
from ..files import decode, parsed_json

_LARGEST = 2**40  # of an offset: no text is as long


def json_of(raw: bytes, place: str) -> Any:
    try:
        return parsed_json(decode(raw, place).removeprefix("\ufeff"), place)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON ({error.msg} at line {error.lineno}); it may be truncated") from error


def object_of(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: {kind_of(value)} where an object is expected; correct it")
    return value


def list_of(row: dict[str, Any], name: str, place: str) -> list[Any]:
    """The list of that name; an empty one where it is missing or null."""
    value = row.get(name)
    if value is not None and not isinstance(value, list):
        raise InputError(f"{place}: '{name}' is {kind_of(value)} and no list; correct it")
    return value or []


def text_of(row: dict[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InputError(f"{place}: '{name}' is no text; correct it, or name another one in the task's options")
    return without_nul(value, place)


def number_of(row: dict[str, Any], name: str, place: str) -> int:
    value = row.get(name)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_LARGEST < value < _LARGEST:
        raise InputError(f"{place}: '{name}' is no whole number; correct it")
    return value
