"""Offsets of annotation tools, which count other things than characters."""

from collections.abc import Callable
from typing import Literal, get_args

from .errors import InputError

Unit = Literal["characters", "utf-16", "bytes"]


def converter(text: str, where: str, unit: str = "characters", base: int = 0) -> Callable[[int], int]:
    """A function from an offset of a tool to one of Python: characters (code points) from 0.

    unit: "characters", "utf-16" (Java, JavaScript, C#: a character beyond U+FFFF counts two) or "bytes" of UTF-8.
    base: the offset of the first character, 0 or 1. It raises InputError for an offset outside the text, and for one
    inside a character; so does this function for an unknown unit or base.
    """
    if unit not in get_args(Unit) or base not in (0, 1):
        raise InputError(f"{where}: offsets in {unit} from {base}; known: {', '.join(get_args(Unit))}, from 0 or 1")
    if unit == "characters" or (text.isascii() if unit == "bytes" else not text or max(text) <= "\uffff"):
        places: dict[int, int] | range = range(len(text) + 1)
    else:
        widths = (len(c.encode("utf-8", "surrogatepass")) if unit == "bytes" else 1 + (c > "\uffff") for c in text)
        places, total = {0: 0}, 0
        for number, width in enumerate(widths, 1):
            total += width
            places[total] = number
    last = max(places)

    def convert(offset: int) -> int:
        if isinstance(places, range) and offset - base in places:
            return offset - base
        if not isinstance(places, range) and offset - base in places:
            return places[offset - base]
        inside = 0 <= offset - base <= last
        raise InputError(
            f"{where}: offset {offset} lies {'inside a character' if inside else 'outside the text'}, which ends at "
            f"{last + base} ({unit} from {base}); the text was changed after annotation, or the offsets count "
            "something else (the options unit and base say what)"
        )

    return convert
