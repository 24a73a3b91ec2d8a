"""Relations as one example a candidate pair, the two mentions marked in their sentence."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from .annotations import Example
from .documents import Document
from .errors import InputError

NONE = "none"
_ID = "{http://www.omg.org/XMI}id"
Marking = Literal["markers", "placeholders"]


def read_e3c_relations(path: Path, *, source: str, marking: str = "markers") -> Iterator[Example]:
    """PERTAINS-TO between test results (RML) and events in E3C's XMI files (Magnini et al. 2020), a folder of them.

    A result and each event of its sentence are a candidate; so is a related event of another sentence, with the
    sentences from one to the other. Gold: "pertains-to" or "none". marking: "markers" writes @ result @ and # event #
    (Zhou and Chen, arXiv 2102.01373), "placeholders" puts @RESULT$ and @EVENT$ in their place (BioBERT).
    Documents are named in the column `document`, to be divided by. InputError for a file that is not whole.
    """
    if marking not in ("markers", "placeholders"):
        raise InputError(f"{path}: marking is '{marking}'; known: markers, placeholders")
    files = sorted(path.glob("*.xml"))
    if not files:
        raise InputError(f"{path}: no .xml file in it; give a language's folder of E3C layer 1")
    for file in files:
        try:
            elements = list(ET.parse(file).getroot())
        except ET.ParseError as error:
            raise InputError(f"{file}: not XML ({error}); copy it again") from error
        yield from _of_document(file, elements, source, marking)


def _of_document(file: Path, elements: list[ET.Element], source: str, marking: str) -> Iterator[Example]:
    text = next((e.get("sofaString", "") for e in elements if e.tag.endswith("}Sofa")), "")
    by_id = {e.get(_ID): e for e in elements}
    sentences = sorted(_range(e) for e in elements if e.tag.endswith("}Sentence"))
    events = [e for e in elements if e.tag.endswith("}EVENT")]
    if not text or not sentences:
        raise InputError(f"{file}: no text or no sentences in it; give E3C's files as they are distributed")
    for result in (e for e in elements if e.tag.endswith("}RML")):
        links = [by_id[name] for name in (result.get("PERTAINSTO") or "").split()]
        related = {link.get("target") for link in links}
        sentence = _sentence(sentences, result)
        for event in events:
            positive = event.get(_ID) in related
            if not positive and _sentence(sentences, event) != sentence:
                continue
            low, high = sorted((sentence, _sentence(sentences, event)))
            start, end = sentences[low][0], sentences[high][1]
            name = f"{file.stem}:{result.get(_ID)}-{event.get(_ID)}"
            shown = marked(text[start:end], _moved(result, start), _moved(event, start), marking)
            document = Document(name, shown, source, {"document": file.stem})
            yield Example(name, document, "pertains-to" if positive else NONE)


def marked(text: str, head: tuple[int, int], tail: tuple[int, int], marking: str) -> str:
    """The text with two mentions marked, which may overlap: then the inner one's signs are inside the other's."""
    if marking == "placeholders":
        signs = (("@RESULT$", head), ("@EVENT$", tail))
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


def _range(element: ET.Element) -> tuple[int, int]:
    return int(element.get("begin", "0")), int(element.get("end", "0"))


def _moved(element: ET.Element, by: int) -> tuple[int, int]:
    start, end = _range(element)
    return start - by, end - by


def _sentence(sentences: list[tuple[int, int]], element: ET.Element) -> int:
    """The last sentence that begins before the mention does."""
    start, _ = _range(element)
    return max((number for number, (begin, _) in enumerate(sentences) if begin <= start), default=0)
