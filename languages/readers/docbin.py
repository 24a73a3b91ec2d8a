"""spaCy's DocBin: the text of its tokens, and the entities that they are marked with."""

import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from .. import files
from ..annotations import Example, Span, tidy
from ..archives import files_below
from ..documents import Document, without_nul
from ..errors import InputError
from ..files import too_large

_INSIDE, _BEGIN = 1, 3  # of ENT_IOB; 2 is outside, 0 not annotated
_KEYS = {"attrs": list, "tokens": bytes, "spaces": bytes, "lengths": bytes, "strings": list}


def read_docbin(path: Path, *, source: str, notes: Counter[str] | None = None) -> Iterator[Example]:
    """The documents of a .spacy file, or of a folder or archive of them: `doc.text` and `doc.ents` as in spaCy.

    The bytes are unpacked within bounds and read here: spaCy trusts them. Documents are named by file and number.
    """
    count = 0
    for name, raw in files_below(path, (".spacy",)):
        place = f"{path}: {name}"
        for number, (text, spans) in enumerate(_documents(raw, place), 1):
            identity = f"{name}:{number}"
            count += 1
            yield Example(identity, Document(identity, text, source), tidy(spans, text, notes))
    if not count:
        raise InputError(f"{path}: no document in it; give a .spacy file, which spaCy's DocBin writes")


def _documents(raw: bytes, place: str) -> Iterator[tuple[str, list[Span]]]:
    from spacy import attrs  # spaCy takes a second to import
    from spacy.strings import get_string_id

    message = _unpacked(raw, place)
    try:
        numbers = message["attrs"]
        orth, iob, kind = (numbers.index(number) for number in (attrs.ORTH, attrs.ENT_IOB, attrs.ENT_TYPE))
        width = len(numbers)
        values = memoryview(message["tokens"]).cast("Q")
        lengths = memoryview(message["lengths"]).cast("i")
        spaces = memoryview(message["spaces"]).cast("?")
        strings = {get_string_id(string): string for string in message["strings"]} | {0: ""}
        if (
            any(length < 0 for length in lengths)
            or sum(lengths) * width != len(values)
            or sum(lengths) != len(spaces)
        ):
            raise ValueError("lengths")
        for first, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
            rows = [values[at * width : (at + 1) * width] for at in range(first, first + length)]
            words = [strings[row[orth]] for row in rows]
            marks = [(row[iob], strings[row[kind]]) for row in rows]
            yield _document(words, [bool(space) for space in spaces[first : first + length]], marks, place)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{place}: no whole DocBin with tokens and entities; write it again with spaCy 3") from error


def _document(
    words: list[str], spaces: list[bool], marks: list[tuple[int, str]], place: str
) -> tuple[str, list[Span]]:
    spans: list[Span] = []
    parts: list[str] = []
    position = start = end = 0
    label = ""
    for word, space, (iob, kind) in zip([*words, ""], [*spaces, False], [*marks, (0, "")], strict=True):
        if label and (iob != _INSIDE or kind != label):
            spans.append(Span.of(start, end, label))
            label = ""
        if iob in (_BEGIN, _INSIDE) and kind and not label:
            label, start = kind, position
        end = position + len(word)
        position = end + space
        parts.append(word + " " * space)
    return without_nul("".join(parts), place), spans


def _unpacked(raw: bytes, place: str) -> dict[str, Any]:
    import srsly  # type: ignore[import-untyped]

    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(raw, files.LARGEST)
        if stream.unconsumed_tail:
            raise too_large(place)
        message = srsly.msgpack_loads(unpacked)
    except InputError:
        raise
    except Exception as error:  # of zlib, and of msgpack, which has a dozen of its own
        raise InputError(f"{place}: no DocBin, or a damaged one; write it again with spaCy 3") from error
    if not isinstance(message, dict) or not all(isinstance(message.get(k), kind) for k, kind in _KEYS.items()):
        raise InputError(f"{place}: no DocBin; write it again with spaCy 3")
    if not all(isinstance(string, str) for string in message["strings"]):
        raise InputError(f"{place}: no DocBin; write it again with spaCy 3")
    return message
