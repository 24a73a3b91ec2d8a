"""UIMA's CAS, as INCEpTION and WebAnno export it: JSON (version 0.4), or XMI."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import UNLABELLED, Example, Span, tidy
from ..archives import files_below
from ..documents import Document, without_nul
from ..errors import InputError
from ..markup import parsed_xml
from ..offsets import converter
from .structure import json_of, list_of, number_of, object_of, text_of

_VIEW = "_InitialView"
_LEGACY = {"_context", "_views", "_referenced_fss"}  # keys of 'UIMA CAS JSON (legacy)'
_XMI_ID = "{http://www.omg.org/XMI}id"


def read_uima(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    layer: str = "NamedEntity",
    feature: str = "value",
    unit: str = "utf-16",
) -> Iterator[Example]:
    """A document a file: .json (UIMA CAS JSON), .xmi or .xml (XMI), in a folder or an archive.

    `layer` is the type of the annotations, with or without its namespace (an own layer of INCEpTION: its name there);
    `feature` holds the label. UIMA counts UTF-16 units; `unit` says what a file counts instead. Annotations without a
    label are left out and counted in `notes`, with what `tidy` changes.
    """
    notes = Counter() if notes is None else notes
    count = 0
    for name, raw in files_below(path, (".json", ".xmi", ".xml")):
        if name.rpartition("/")[2] == "TypeSystem.xml":
            continue
        place = f"{path}: {name}"
        text, structures = (_of_json if name.endswith(".json") else _of_xmi)(raw, place, layer)
        convert = converter(text, place, unit)
        spans = []
        for entry in structures:
            label = entry.get(feature)
            if not isinstance(label, str) or not label:
                notes[UNLABELLED] += 1
                continue
            start, end = (convert(number_of(entry, edge, place)) for edge in ("begin", "end"))
            if start > end:
                raise InputError(f"{place}: an annotation that ends before it begins; export the file again")
            spans.append(Span.of(start, end, label))
        identity = name.rpartition(".")[0]
        count += 1
        yield Example(identity, Document(identity, text, source), tidy(spans, text, notes))
    if not count:
        raise InputError(f"{path}: no .json, .xmi or .xml in it; give a folder of INCEpTION's export")


def _is(kind: str, layer: str) -> bool:
    return kind == layer or kind.rpartition(".")[2] == layer


def _of_json(raw: bytes, place: str, layer: str) -> tuple[str, list[dict[str, Any]]]:
    cas = object_of(json_of(raw, place), place)
    if "%FEATURE_STRUCTURES" not in cas:
        what = "the legacy form of UIMA CAS JSON" if cas.keys() & _LEGACY else "no UIMA CAS JSON"
        raise InputError(
            f"{place}: {what}; in INCEpTION export the documents as 'UIMA CAS JSON 0.4.0' or 'UIMA CAS XMI', which "
            "are read"
        )
    structures = [object_of(entry, place) for entry in list_of(cas, "%FEATURE_STRUCTURES", place)]
    sofas = [entry for entry in structures if entry.get("%TYPE") == "uima.cas.Sofa"]
    sofa = _first_view(sofas, place)
    text = text_of(sofa, "sofaString", place)
    # An annotation of another view has another text.
    return text, [
        entry
        for entry in structures
        if _is(str(entry.get("%TYPE")), layer) and entry.get("@sofa", sofa.get("%ID")) == sofa.get("%ID")
    ]


def _of_xmi(raw: bytes, place: str, layer: str) -> tuple[str, list[dict[str, Any]]]:
    elements = list(parsed_xml(raw, place))
    sofas: list[dict[str, Any]] = [dict(e.attrib) for e in elements if e.tag.rpartition("}")[2] == "Sofa"]
    sofa = _first_view(sofas, place)
    text = without_nul(text_of(sofa, "sofaString", place), place)
    own = sofa.get(_XMI_ID)
    named = [e for e in elements if e.tag.rpartition("}")[2] == layer.rpartition(".")[2]]
    return text, [dict(e.attrib) for e in named if e.get("sofa", own) == own]


def _first_view(sofas: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """The text that people annotated."""
    chosen = [sofa for sofa in sofas if sofa.get("sofaID") == _VIEW] or sofas
    if not chosen:
        raise InputError(f"{place}: no text (Sofa) in it; export the file again")
    return chosen[0]
