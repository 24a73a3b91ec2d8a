"""MeSH descriptors and ClaML classifications (ICD-10-GM, ICD-10-WHO, ICF) in XML."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ..errors import InputError
from ..files import open_bytes
from ..markup import parsed_xml
from .concept import Concept, concept

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def read_xml(file: Path, lang: str) -> Iterator[Concept]:
    """A MeSH DescriptorRecordSet, or ClaML; InputError for other documents."""
    with open_bytes(file) as handle:
        root = parsed_xml(handle.read(), file)
    tag = root.tag.rpartition("}")[2]
    if tag == "DescriptorRecordSet":
        yield from _mesh(root)
    elif tag == "ClaML":
        yield from _claml(root, lang)
    else:
        raise InputError(
            f"{file}: <{tag}> is no terminology that is read here; MeSH (DescriptorRecordSet) and ClaML are"
        )


def _mesh(root: Element) -> Iterator[Concept]:
    """In a translated edition a name is followed by the English one in brackets, which is left out."""
    records = list(root.iter("DescriptorRecord"))
    codes = {
        number.text or "": record.findtext("DescriptorUI", "")
        for record in records
        for number in record.iterfind("TreeNumberList/TreeNumber")
    }
    for record in records:
        name = record.findtext("DescriptorName/String", "").partition("[")[0]
        terms = [term.text or "" for term in record.iterfind("ConceptList/Concept/TermList/Term/String")]
        above = [(n.text or "").rpartition(".")[0] for n in record.iterfind("TreeNumberList/TreeNumber")]
        note = record.findtext("ConceptList/Concept[@PreferredConceptYN='Y']/ScopeNote", "")
        parents = [codes[number] for number in above if number in codes]
        if (parsed := concept(record.findtext("DescriptorUI", ""), [name, *terms], parents, note)) is not None:
            yield parsed


def _claml(root: Element, lang: str) -> Iterator[Concept]:
    for entry in root.iter("Class"):
        labels: dict[str, list[str]] = defaultdict(list)
        for rubric in entry.iterfind("Rubric"):
            for label in rubric.iterfind("Label"):
                if label.get(_LANG, lang).lower().partition("-")[0] == lang:
                    labels[rubric.get("kind", "")].append("".join(label.itertext()))
        terms = labels["preferredLong"] + labels["preferred"] + labels["inclusion"]
        parents = [above.get("code", "") for above in entry.iterfind("SuperClass")]
        definition = " ".join(labels["definition"])
        if (parsed := concept(entry.get("code", ""), terms, parents, definition)) is not None:
            yield parsed
