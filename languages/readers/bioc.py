"""BioC (XML and JSON) and PubTator: articles in passages, annotations by offsets in the whole."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import UNLABELLED, Example, Span, checked, tidy
from ..archives import files_below
from ..documents import Document, without_nul
from ..errors import InputError, shown
from ..files import decode
from ..markup import parsed_xml
from ..offsets import converter
from .structure import json_of, list_of, number_of, object_of, text_of

_LARGEST_GAP = 1_000_000  # characters between two passages
_TITLE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")


def read_bioc(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    label: str = "type",
    unit: str = "characters",
    base: int = 0,
) -> Iterator[Example]:
    """The documents of a BioC collection (Comeau et al. 2013), .xml or .json, or of a folder or archive of them.

    `label` is the infon that holds the label. Passages and sentences lie where their offsets say, and what is between
    them is a newline. `unit` and `base`: what offsets count, which BioC leaves open; each annotation is checked
    against its text. Several locations are fragments. Annotations without a label are left out and counted.
    """
    notes = Counter() if notes is None else notes
    count = 0
    for name, raw in files_below(path, (".xml", ".json")):
        place = f"{path}: {name}"
        collection = _of_xml(parsed_xml(raw, place)) if name.endswith(".xml") else json_of(raw, place)
        for entry in list_of(object_of(collection, place), "documents", place):
            count += 1
            yield _bioc_example(object_of(entry, place), place, source, notes, label, unit, base)
    if not count:
        raise InputError(f"{path}: no document in it; give a BioC collection, .xml or .json")


def _of_xml(root: ET.Element) -> dict[str, Any]:
    """The collection as its JSON has it."""

    def annotated(element: ET.Element) -> dict[str, Any]:
        return {
            "id": element.findtext("id") or element.get("id"),
            "offset": element.findtext("offset"),
            "text": element.findtext("text"),
            "infons": {infon.get("key"): infon.text for infon in element.findall("infon")},
            "locations": [dict(location.attrib) for location in element.findall("location")],
            **{f"{kind}s": [annotated(e) for e in element.findall(kind)] for kind in ("annotation", "passage")},
            "sentences": [annotated(e) for e in element.findall("sentence")],
        }

    return {"documents": [annotated(document) for document in root.findall("document")]}


def _bioc_example(
    document: dict[str, Any], place: str, source: str, notes: Counter[str], label: str, unit: str, base: int
) -> Example:
    name = str(document.get("id"))
    place = f"{place}, document {shown(name)}"
    annotations = list_of(document, "annotations", place)
    pieces: list[tuple[int, str]] = []
    for passage in list_of(document, "passages", place):
        sentences = list_of(object_of(passage, place), "sentences", place)
        whole = isinstance(passage.get("text"), str) and passage["text"]
        for part in [passage] if whole else sentences:
            pieces.append((number_of(object_of(part, place), "offset", place), text_of(part, "text", place)))
        for part in [passage, *sentences]:
            annotations = annotations + list_of(object_of(part, place), "annotations", place)
    text = _placed(pieces, unit, base, place)
    convert = converter(text, place, unit, base)
    spans = []
    for entry in annotations:
        where = f"{place}, annotation {shown(str(object_of(entry, place).get('id')))}"
        value = object_of(entry.get("infons") or {}, where).get(label)
        if not isinstance(value, str) or not value:
            notes[UNLABELLED] += 1
            continue
        fragments = []
        for location in list_of(entry, "locations", where):
            start = number_of(object_of(location, where), "offset", where)
            fragments.append((convert(start), convert(start + number_of(location, "length", where))))
        expected = entry["text"] if isinstance(entry.get("text"), str) else None
        if not fragments:
            raise InputError(f"{where}: no location; correct it")
        spans.append(checked(Span(tuple(fragments), value), text, expected, where))
    return Example(name, Document(name, text, source), tidy(spans, text, notes))


def _placed(pieces: list[tuple[int, str]], unit: str, base: int, place: str) -> str:
    """The pieces at their offsets, newlines between them."""
    parts: list[str] = []
    length = base
    for offset, text in sorted(pieces, key=lambda piece: piece[0]):
        if not 0 <= offset - length <= _LARGEST_GAP:
            raise InputError(
                f"{place}: a passage at offset {offset} after one that ends at {length}; the offsets count something "
                "else (the options unit and base say what), or the text was changed"
            )
        parts += ["\n" * (offset - length), text]
        length = offset + _length(text, unit)
    return "".join(parts)


def _length(text: str, unit: str) -> int:
    if unit == "bytes":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + (sum(character > "\uffff" for character in text) if unit == "utf-16" else 0)


def read_pubtator(
    path: Path, *, source: str, notes: Counter[str] | None = None, unit: str = "characters", base: int = 0
) -> Iterator[Example]:
    """PubTator's lines: `id|t|title`, `id|a|abstract`, then `id start end mention type` with tabs.

    A file, or all .txt and .pubtator of a folder or archive. The text is title and abstract with a newline between
    them. Each mention is checked against the text; relations are passed over. `unit` and `base` as in `read_bioc`.
    """
    count = 0
    for name, raw in files_below(path, (".txt", ".pubtator", ".PubTator")):
        place = f"{path}: {name}"
        texts: dict[str, dict[str, str]] = {}
        mentions: dict[str, list[tuple[int, list[str]]]] = {}
        for number, line in enumerate(decode(raw, place).removeprefix("\ufeff").split("\n"), 1):
            bare = line.rstrip("\r")
            cells = bare.split("\t")
            if match := _TITLE.fullmatch(bare):
                texts.setdefault(match[1], {})[match[2]] = match[3]
            elif len(cells) >= 5 and cells[1].isdecimal() and cells[2].isdecimal() and len(cells[1] + cells[2]) < 24:
                mentions.setdefault(cells[0], []).append((number, cells))
            elif bare.strip() and (len(cells) < 4 or cells[0] not in texts):
                raise InputError(f"{place}, line {number}: neither a text nor an annotation", text=bare)
        if astray := [lines for identity, lines in mentions.items() if identity not in texts]:
            raise InputError(f"{place}, line {astray[0][0][0]}: an annotation of a document that has no text")
        for identity, of in texts.items():
            count += 1
            text = without_nul("\n".join(of[part] for part in ("t", "a") if part in of), place)
            convert = converter(text, f"{place}, document {shown(identity)}", unit, base)
            spans = []
            for number, cells in mentions.get(identity, []):
                span = Span.of(convert(int(cells[1])), convert(int(cells[2])), cells[4])
                spans.append(checked(span, text, cells[3], f"{place}, line {number}"))
            yield Example(identity, Document(identity, text, source), tidy(spans, text, notes))
    if not count:
        raise InputError(f"{path}: no document in it; give a file of PubTator's lines")
