"""XML from anybody: parsed without entities of its own and without a look at other files."""

import xml.etree.ElementTree as ET
from typing import Any
from xml.parsers import expat

from .errors import InputError

_DEEPEST = 200  # elements inside each other


def parsed_xml(raw: bytes, place: object) -> ET.Element:
    """The root element. InputError for what is no XML, and for a document that declares entities (bombs do)."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def name(tag: str) -> str:
        return "{" + tag if "}" in tag else tag

    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise InputError(f"{place}: XML nested too deeply; correct it")
        builder.start(name(tag), {name(key): value for key, value in attributes.items()})

    def refuse(*_: Any) -> int:
        raise InputError(f"{place}: the XML declares entities of its own; write it without them")

    parser.StartElementHandler = start

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name(tag))

    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two of an encoding that nobody knows
        message = expat.errors.messages.get(error.code, "") if isinstance(error, expat.ExpatError) else "its encoding"
        line = getattr(error, "lineno", 1)
        raise InputError(f"{place}: not XML ({message} at line {line}); it may be truncated") from error
    return builder.close()
