"""Relations of brat: pairs of entities in one line of a text, the two mentions marked."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..annotations import Example, Span
from ..documents import Document
from ..errors import InputError
from ..relations import NONE, check_marking, marked
from .brat import annotated_documents, mentions_in

_RELATION = re.compile(r"R\S*\t(?P<label>\S+) \S+?:(?P<head>\S+) \S+?:(?P<tail>\S+)\s*")
_EQUAL = re.compile(r"\*\t(?P<label>\S+) (?P<mentions>.+?)\s*")
_LONGER = "relations left out, which go beyond a line: {n}"
_SECOND = "relations left out, which are the second one of a pair: {n}"

Relations = dict[tuple[str, str], str]  # the label by the ids of head and tail


def read_brat_relations(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    skip: tuple[str, ...] = (),
    marking: str = "markers",
) -> Iterator[Example]:
    """Every ordered pair of entities in a line of a .txt, labelled with their relation or "none" (eHealth-KD).

    Relations are the R lines of the .ann, from the first argument (marked @ @, or @HEAD$) to the second one (# #, or
    @TAIL$), and equivalences (the lines with *) in both directions. `marking` and the column `document`, to be
    divided by, are as in `read_e3c_relations`; `skip` is as in `read_brat`. `notes` counts relations that go beyond
    a line, and the second one of a pair. InputError for a relation whose arguments are not there.
    """
    check_marking(marking, path)
    notes = Counter() if notes is None else notes
    for document, lines, place in annotated_documents(path, source, skip):
        spans = {mention: span for mention, _, span in mentions_in(lines, document.text, place)}
        relations = _relations(lines, spans, place, notes)
        by_start = sorted(spans.items(), key=lambda item: item[1].start)
        starts = [span.start for _, span in by_start]
        inside: set[tuple[str, str]] = set()
        start = 0
        for number, line in enumerate(document.text.split("\n"), 1):
            end = start + len(line)
            begun = by_start[bisect_left(starts, start) : bisect_left(starts, end)]
            here = {name: span for name, span in begun if span.end <= end}
            for head, first in here.items():
                for tail, second in here.items():
                    if head == tail:
                        continue
                    inside.add((head, tail))
                    places = [(span.start - start, span.end - start) for span in (first, second)]
                    shown = marked(line, places[0], places[1], marking, ("HEAD", "TAIL"))
                    name = f"{document.id}:{number}:{head}-{tail}"
                    meta = {"document": f"{document.id}:{number}"}
                    yield Example(name, Document(name, shown, source, meta), relations.get((head, tail), NONE))
            start = end + 1
        if longer := len(relations.keys() - inside):
            notes[_LONGER] += longer


def _relations(lines: list[str], spans: dict[str, Span], place: str, notes: Counter[str]) -> Relations:
    relations: Relations = {}
    for number, line in enumerate(lines, 1):
        if match := _RELATION.fullmatch(line):
            pairs = [(match["head"], match["tail"])]
        elif match := _EQUAL.fullmatch(line):
            names = match["mentions"].split()
            pairs = [(one, two) for one in names for two in names if one != two]
        else:
            continue
        for pair in pairs:
            if not {*pair} <= spans.keys():
                raise InputError(
                    f"{place}, line {number}: a relation of an entity that is not there; correct it or take it out",
                    text=line,
                )
            if relations.setdefault(pair, match["label"]) != match["label"]:
                notes[_SECOND] += 1
    return relations
