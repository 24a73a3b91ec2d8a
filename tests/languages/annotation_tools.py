"""One small project as each annotation tool writes it; made by hand, but spaCy's, which spaCy writes."""

import json

from spacy.tokens import DocBin
from spacy.util import get_lang_class

TEXT = "Le 🤧 patient a une toux\nsèche."
ENTITIES = [("patient", "PERS"), ("toux\nsèche", "DISO")]
PERSON, COUGH = (TEXT.index(words) for words, _ in ENTITIES)
PLACES = [(PERSON, PERSON + 7, "PERS"), (COUGH, COUGH + 10, "DISO")]
UTF16 = [(start + 1, end + 1, label) for start, end, label in PLACES]  # after the emoji
BYTES = [(len(TEXT[:start].encode()), len(TEXT[:end].encode()), label) for start, end, label in PLACES]


def _lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def cas_json() -> bytes:
    sofa = {"%ID": 1, "%TYPE": "uima.cas.Sofa", "sofaNum": 1, "sofaID": "_InitialView", "sofaString": TEXT}
    kind = "de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity"
    named = [
        {"%ID": 2 + n, "%TYPE": kind, "@sofa": 1, "begin": start, "end": end, "value": label}
        for n, (start, end, label) in enumerate(UTF16)
    ]
    token = {"%ID": 9, "%TYPE": "Token", "@sofa": 1, "begin": 0, "end": 2}
    cas = {"%TYPES": {}, "%FEATURE_STRUCTURES": [sofa, *named, token], "%VIEWS": {}}
    return json.dumps(cas, ensure_ascii=False).encode()


def xmi() -> bytes:
    named = "".join(
        f'<type:NamedEntity xmi:id="{n}" sofa="12" begin="{start}" end="{end}" value="{label}"/>'
        for n, (start, end, label) in enumerate(UTF16)
    )
    text = TEXT.replace("\n", "&#10;")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" '
        'xmlns:cas="http:///uima/cas.ecore" xmlns:type="http:///de/tudarmstadt/ukp/dkpro/core/api/ner/type.ecore">'
        f'{named}<cas:Sofa xmi:id="12" sofaNum="1" sofaID="_InitialView" mimeType="text" sofaString="{text}"/>'
        "</xmi:XMI>"
    ).encode()


WEBANNO = (
    "#FORMAT=WebAnno TSV 3.3\n#T_SP=custom.Note|text\n"
    "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value\n\n\n"
    "#Text=Le 🤧 patient a une toux\n#Text=sèche.\n"
    "1-1\t0-2\tLe\t_\t_\t_\t\n1-2\t3-5\t🤧\t_\t_\t_\t\n1-3\t6-13\tpatient\tx\\|y\t*\tPERS\t\n"
    "1-4\t14-15\ta\t_\t_\t_\t\n1-5\t16-19\tune\t_\t_\t_\t\n1-6\t20-24\ttoux\t_\t*[1]\tDISO[1]\t\n"
    "1-7\t25-30\tsèche\t_\t*[1]\tDISO[1]\t\n1-8\t30-31\t.\t_\t_\t_\t\n"
).encode()


def bioc_xml(places: list[tuple[int, int, str]] = PLACES) -> bytes:
    annotations = "".join(
        f'<annotation id="T{n}"><infon key="type">{label}</infon>'
        f'<location offset="{start}" length="{end - start}"/>'
        f"<text>{words}</text></annotation>"
        for n, ((start, end, label), (words, _)) in enumerate(zip(places, ENTITIES, strict=True))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection><source/>'
        f"<date/><key/><document><id>d</id><passage><offset>0</offset><text>{TEXT}</text>{annotations}</passage>"
        "</document></collection>"
    ).encode()


def bioc_json() -> bytes:
    annotations = [
        {"id": str(n), "infons": {"type": label}, "text": words, "locations": [{"offset": a, "length": b - a}]}
        for n, ((a, b, label), (words, _)) in enumerate(zip(PLACES, ENTITIES, strict=True))
    ]
    passage = {"offset": 0, "text": TEXT, "annotations": annotations, "infons": {}}
    return json.dumps({"documents": [{"id": "d", "passages": [passage]}]}, ensure_ascii=False).encode()


PUBTATOR = (
    f"7|t|{TEXT.splitlines()[0]}\n7|a|{TEXT.splitlines()[1]}\n"
    f"7\t{PERSON}\t{PERSON + 7}\tpatient\tPERS\tP1\n7\t{COUGH}\t{COUGH + 10}\ttoux sèche\tDISO\tD1\n7\tCID\tP1\tD1\n"
).encode()
DOCCANO = _lines({"id": 1, "text": TEXT, "label": [list(place) for place in PLACES], "Comments": []})
DOCCANO_RELATIONS = _lines(
    {"id": 1, "text": TEXT, "relations": [], "entities": [
        {"id": n, "start_offset": a, "end_offset": b, "label": label} for n, (a, b, label) in enumerate(PLACES)
    ]}
)  # fmt: skip
PRODIGY = _lines(
    {"text": TEXT, "_input_hash": 1, "answer": "accept", "spans": [
        {"start": a, "end": b, "label": label, "token_start": 2, "token_end": 2} for a, b, label in PLACES
    ], "tokens": [{"text": "Le", "start": 0, "end": 2, "id": 0}]}
)  # fmt: skip


def label_studio(minimal: bool = False, annotations: int = 1) -> bytes:
    values = [
        {"start": a, "end": b, "text": words, "labels": [label]}
        for (a, b, label), (words, _) in zip(UTF16, ENTITIES, strict=True)
    ]
    if minimal:
        return json.dumps([{"id": 1, "text": TEXT, "label": values}], ensure_ascii=False).encode()
    result = [{"type": "labels", "from_name": "label", "to_name": "text", "value": value} for value in values]
    entries = [{"id": n, "was_cancelled": False, "result": result} for n in range(annotations)]
    entries.append({"id": 9, "was_cancelled": True, "result": []})
    return json.dumps([{"id": 1, "data": {"text": TEXT}, "annotations": entries}], ensure_ascii=False).encode()


def docbin() -> bytes:
    doc = get_lang_class("fr")()(TEXT)
    spans = [doc.char_span(start, end, label=label) for start, end, label in PLACES]
    doc.set_ents([span for span in spans if span is not None])
    assert len(doc.ents) == 2
    return DocBin(docs=[doc], store_user_data=True).to_bytes()


# name: the reader, the file's name, its bytes, the reader's options
PROJECTS: dict[str, tuple[str, str, bytes, dict[str, str | int]]] = {
    "UIMA CAS JSON": ("uima", "d.json", cas_json(), {}),
    "UIMA XMI": ("uima", "d.xmi", xmi(), {}),
    "WebAnno TSV": ("webanno", "d.tsv", WEBANNO, {}),
    "BioC XML": ("bioc", "d.xml", bioc_xml(), {}),
    "BioC XML, bytes": ("bioc", "d.xml", bioc_xml(BYTES), {"unit": "bytes"}),
    "BioC JSON": ("bioc", "d.json", bioc_json(), {}),
    "PubTator": ("pubtator", "d.txt", PUBTATOR, {}),
    "doccano": ("doccano", "d.jsonl", DOCCANO, {}),
    "doccano, relations": ("doccano", "d.jsonl", DOCCANO_RELATIONS, {}),
    "Prodigy": ("prodigy", "d.jsonl", PRODIGY, {}),
    "Label Studio": ("label_studio", "d.json", label_studio(), {}),
    "Label Studio JSON-MIN": ("label_studio", "d.json", label_studio(minimal=True), {}),
    "spaCy DocBin": ("docbin", "d.spacy", docbin(), {}),
}
