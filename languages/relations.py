"""Relations as one example a candidate pair, the two mentions marked in their sentence."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from .annotations import Example
from .documents import Document
from .errors import InputError, shown
from .markup import parsed_xml
from .offsets import converter

NONE = "none"
_ID = "{http://www.omg.org/XMI}id"
_PLACED = ("}Sentence", "}EVENT", "}RML")  # annotations whose offsets are used
_DIGITS = 12  # of an offset, at most
Marking = Literal["markers", "placeholders"]


def read_e3c_relations(path: Path, *, source: str, marking: str = "markers") -> Iterator[Example]:
    """PERTAINS-TO between test results (RML) and events in E3C's XMI files (Magnini et al. 2020), a folder of them.

    A result and each event of its sentence are a candidate; so is a related event of another sentence, with the
    sentences from one to the other. Gold: "pertains-to" or "none". marking: "markers" writes @ result @ and # event #
    (Zhou and Chen, arXiv 2102.01373), "placeholders" puts @RESULT$ and @EVENT$ in their place (BioBERT).
    UIMA counts UTF-16 units; every offset is checked against the text. Documents are named in the column `document`,
    to be divided by. InputError for a file that is not whole.
    """
    check_marking(marking, path)
    files = sorted(path.glob("[!.]*.xml"))
    if not files:
        raise InputError(f"{path}: no .xml file in it; give a language's folder of E3C layer 1")
    for file in files:
        elements = list(parsed_xml(file.read_bytes(), file))
        yield from _of_document(file, elements, source, marking)


def _of_document(file: Path, elements: list[ET.Element], source: str, marking: str) -> Iterator[Example]:
    text = next((e.get("sofaString", "") for e in elements if e.tag.endswith("}Sofa")), "")
    to_character = converter(text, str(file), "utf-16")
    by_id = {e.get(_ID): e for e in elements}
    places = {e.get(_ID): _range(e, to_character, file) for e in elements if e.tag.endswith(_PLACED)}
    sentences = sorted(places[e.get(_ID)] for e in elements if e.tag.endswith("}Sentence"))
    events = [e for e in elements if e.tag.endswith("}EVENT")]
    if not text or not sentences:
        raise InputError(f"{file}: no text or no sentences in it; give E3C's files as they are distributed")
    for result in (e for e in elements if e.tag.endswith("}RML")):
        names = (result.get("PERTAINSTO") or "").split()
        if absent := [name for name in names if name not in by_id]:
            raise InputError(f"{file}: PERTAINSTO names {shown(absent[0])}, which is not in the file; copy it again")
        related = {by_id[name].get("target") for name in names}
        head = places[result.get(_ID)]
        sentence = _sentence(sentences, head)
        for event in events:
            tail = places[event.get(_ID)]
            positive = event.get(_ID) in related
            if not positive and _sentence(sentences, tail) != sentence:
                continue
            low, high = sorted((sentence, _sentence(sentences, tail)))
            start, end = sentences[low][0], max(sentences[high][1], head[1], tail[1])
            name = f"{file.stem}:{result.get(_ID)}-{event.get(_ID)}"
            moved = [(begin - start, finish - start) for begin, finish in (head, tail)]
            shown_text = marked(text[start:end], moved[0], moved[1], marking)
            document = Document(name, shown_text, source, {"document": file.stem})
            yield Example(name, document, "pertains-to" if positive else NONE)


def check_marking(marking: str, path: Path) -> None:
    if marking not in ("markers", "placeholders"):
        raise InputError(f"{path}: marking is '{marking}'; known: markers, placeholders")


def marked(
    text: str,
    head: tuple[int, int],
    tail: tuple[int, int],
    marking: str,
    names: tuple[str, str] = ("RESULT", "EVENT"),
) -> str:
    """The text with two mentions marked, which may overlap: then the inner one's signs are inside the other's.

    names: of the placeholders.
    """
    if marking == "placeholders":
        signs = ((f"@{names[0]}$", head), (f"@{names[1]}$", tail))
        marked_text = text
        for sign, (start, end) in sorted(signs, key=lambda entry: -entry[1][0]):
            marked_text = marked_text[:start] + sign + marked_text[end:]
        return marked_text
    inserts = [(head[0], 1, "@ "), (head[1], 0, " @"), (tail[0], 1, "# "), (tail[1], 0, " #")]
    marked_text, last = "", 0
    for place, _, sign in sorted(inserts):
        marked_text += text[last:place] + sign
        last = place
    return marked_text + text[last:]


def _range(element: ET.Element, to_character: Callable[[int], int], file: Path) -> tuple[int, int]:
    offsets = [element.get(name, "0") for name in ("begin", "end")]
    if not all(offset.isdecimal() and len(offset) < _DIGITS for offset in offsets):
        raise InputError(f"{file}: an annotation whose begin and end are no numbers; copy it again")
    start, end = (to_character(int(offset)) for offset in offsets)
    if start > end:
        raise InputError(f"{file}: an annotation from {offsets[0]} to {offsets[1]}, which ends before it begins")
    return start, end


def _sentence(sentences: list[tuple[int, int]], place: tuple[int, int]) -> int:
    """The last sentence that begins before the mention does."""
    return max((number for number, (begin, _) in enumerate(sentences) if begin <= place[0]), default=0)
