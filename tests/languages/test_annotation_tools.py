"""Projects of annotation tools: the same text and entities in each, an emoji before them and a newline inside one."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.readers import READERS
from medlingua.languages.tasks import read_task

from .annotation_tools import (
    BYTES,
    ENTITIES,
    PROJECTS,
    PUBTATOR,
    TEXT,
    WEBANNO,
    bioc_xml,
    cas_json,
    label_studio,
    xmi,
)


def read(reader: str, path: Path, notes: Counter[str] | None = None, **options: Any) -> list[Example]:
    return list(READERS[reader].read(path, source="s", notes=notes, **options))


def written(folder: Path, name: str, raw: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(raw)
    return folder / name


def entities(example: Example) -> list[tuple[str, str]]:
    assert isinstance(example.gold, tuple)
    return [(span.surface(example.document.text), span.label) for span in example.gold]


@pytest.mark.parametrize("name", PROJECTS)
def test_every_tool_gives_the_same_entities(name: str, tmp_path: Path) -> None:
    reader, file, raw, options = PROJECTS[name]
    (example,) = read(reader, written(tmp_path, file, raw), **options)
    assert example.document.text == TEXT
    assert entities(example) == ENTITIES


@pytest.mark.parametrize("name", [name for name, (reader, *_) in PROJECTS.items() if READERS[reader].folder])
def test_folders_and_archives_of_a_tool_are_read(name: str, tmp_path: Path) -> None:
    reader, file, raw, options = PROJECTS[name]
    written(tmp_path / "in", file, raw)
    written(tmp_path / "in", f"._{file}", b"\x00\x05")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "in" / file, f"admin/{file}")
    for path in (tmp_path / "in", tmp_path / "in.zip"):
        (example,) = read(reader, path, **options)
        assert entities(example) == ENTITIES
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="in it; give a"):
        read(reader, tmp_path / "empty")


@pytest.mark.parametrize(
    ("reader", "file", "raw"),
    [
        ("bioc", "d.xml", bioc_xml(BYTES)),
        ("bioc", "d.json", PROJECTS["BioC JSON"][2].replace(b'"length": 7', b'"length": 6')),
        ("pubtator", "d.txt", PUBTATOR.replace(b"patient\tPERS", b"patiente\tPERS")),
        ("webanno", "d.tsv", WEBANNO.replace(b"6-13\tpatient", b"7-14\tpatient")),
        ("label_studio", "d.json", label_studio().replace(b'"start": 6', b'"start": 7')),
        ("prodigy", "d.jsonl", PROJECTS["Prodigy"][2].replace(b'"end": 2,', b'"end": 4,')),
    ],
)
def test_V2_offsets_that_do_not_give_the_words_are_refused(
    reader: str, file: str, raw: bytes, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="other words than the annotation says") as raised:
        read(reader, written(tmp_path, file, raw))
    assert "patient" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in PROJECTS if name != "spaCy DocBin"])  # which has no offsets
def test_V2_offsets_outside_the_text_are_refused(name: str, tmp_path: Path) -> None:
    reader, file, raw, options = PROJECTS[name]
    cut = raw.replace("sèche.".encode(), b"s").replace(b"s\\u00e8che.", b"s")
    with pytest.raises(InputError):
        read(reader, written(tmp_path, file, cut), **options)


def test_units_and_bases_are_an_option(tmp_path: Path) -> None:
    file = written(tmp_path, "d.xml", bioc_xml([(start + 1, end + 1, label) for start, end, label in BYTES]))
    raw = file.read_bytes().replace(b"<offset>0<", b"<offset>1<")
    (example,) = read("bioc", written(tmp_path, "d.xml", raw), unit="bytes", base=1)
    assert entities(example) == ENTITIES
    with pytest.raises(InputError, match="known: characters, utf-16, bytes, from 0 or 1"):
        read("bioc", file, unit="words")
    (shifted,) = read("uima", written(tmp_path, "e.json", cas_json()), unit="characters")
    assert entities(shifted) != ENTITIES  # nothing in a CAS would tell


def test_layers_and_features_of_ones_own(tmp_path: Path) -> None:
    own = xmi().replace(b"NamedEntity", b"Symptom").replace(b" value=", b" kind=")
    (example,) = read("uima", written(tmp_path, "d.xmi", own), layer="Symptom", feature="kind")
    assert entities(example) == ENTITIES
    (example,) = read("uima", written(tmp_path, "d.xmi", own), layer="webanno.custom.Symptom", feature="kind")
    assert entities(example) == ENTITIES
    (example,) = read("webanno", written(tmp_path, "d.tsv", WEBANNO), layer="Note", feature="text")
    assert entities(example) == [("patient", "x|y")]
    with pytest.raises(InputError, match=r"it has Note \(text\), NamedEntity \(identifier\), NamedEntity \(value\)"):
        read("webanno", tmp_path / "d.tsv", layer="Symptom")


def test_the_legacy_json_of_a_cas_is_refused_with_the_exports_that_are_read(tmp_path: Path) -> None:
    legacy = b'{"_context": {"_types": {}}, "_views": {"_InitialView": {}}, "_referenced_fss": {}}'
    for raw, what in ((legacy, "the legacy form of UIMA CAS JSON"), (b'{"text": "Toux."}', "no UIMA CAS JSON")):
        with pytest.raises(InputError, match=rf"d\.json: {what}; .*'UIMA CAS JSON 0\.4\.0' or 'UIMA CAS XMI'"):
            read("uima", written(tmp_path, "d.json", raw))


def test_annotations_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    for reader, file, raw in (
        ("uima", "d.xmi", xmi().replace(b' value="PERS"', b"")),
        ("webanno", "d.tsv", WEBANNO.replace(b"PERS", b"*")),
        ("bioc", "d.xml", bioc_xml().replace(b'key="type">PERS', b'key="kind">PERS')),
    ):
        notes = Counter[str]()
        (example,) = read(reader, written(tmp_path, file, raw), notes)
        assert entities(example) == ENTITIES[1:]
        assert [line.format(n=n) for line, n in notes.items()] == ["annotations left out, which have no label: 1"]


def test_stacked_annotations_of_webanno(tmp_path: Path) -> None:
    stacked = WEBANNO.replace(b"*\tPERS", b"*[2]|*[3]\tPERS[2]|ROLE[3]").replace(b"*[1]\tDISO[1]", b"*\tDISO")
    (example,) = read("webanno", written(tmp_path, "d.tsv", stacked))
    assert entities(example) == [("patient", "PERS"), ("patient", "ROLE"), ("toux", "DISO"), ("sèche", "DISO")]


def test_what_was_not_accepted_or_was_cancelled_is_left_out_and_counted(tmp_path: Path) -> None:
    notes = Counter[str]()
    raw = PROJECTS["Prodigy"][2]
    refused = raw.replace(b'"accept"', b'"reject"') + raw
    assert len(read("prodigy", written(tmp_path, "d.jsonl", refused), notes)) == 1
    assert len(read("label_studio", written(tmp_path, "d.json", label_studio()), notes)) == 1
    assert sorted(notes.values()) == [1, 1]


def test_of_several_annotators_one_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "d.json", label_studio(annotations=2))
    with pytest.raises(InputError, match="2 annotations of one text; say which one counts"):
        read("label_studio", file)
    assert entities(read("label_studio", file, annotation="last")[0]) == ENTITIES


def test_a_pack_names_the_reader_and_its_options(tmp_path: Path) -> None:
    for number in range(60):
        text = TEXT.replace("Le", f"Le {number}")
        raw = bioc_xml([(s + len(text) - len(TEXT), e + len(text) - len(TEXT), label) for s, e, label in BYTES])
        written(
            tmp_path / "of",
            f"{number}.xml",
            raw.replace(TEXT.encode(), text.encode()).replace(b">d<", b">%d<" % number),
        )
    options = {"unit": "bytes"}
    spec = TaskSpec(name="t", kind="ner", path="of", reader="bioc", options=options)
    task = read_task(spec, tmp_path, "fr")
    assert sum(len(part) for part in (task.train, task.dev, task.test)) == 60
    assert task.labels == ("DISO", "PERS")
    with pytest.raises(InputError, match=r"reader bioc has no option 'units'.*did you mean 'unit'"):
        read_task(spec.model_copy(update={"options": {"units": "bytes"}}), tmp_path, "fr")
