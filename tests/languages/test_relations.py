"""Pairs of mentions, marked in their sentence."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.relations import marked, read_e3c_relations
from medlingua.languages.tasks import read_task

from .conftest import ROOT, needs_data

TEXT = "La natrémie est à 130. Elle tousse. Le scanner fut normal."
XMI = f"""<?xml version="1.0" encoding="UTF-8"?>
<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore"
  xmlns:custom="http:///webanno/custom.ecore" xmlns:type4="http:///segmentation/type.ecore">
  <type4:Sentence xmi:id="1" begin="0" end="22"/><type4:Sentence xmi:id="2" begin="23" end="35"/>
  <type4:Sentence xmi:id="3" begin="36" end="58"/>
  <custom:EVENT xmi:id="10" begin="3" end="11"/><custom:EVENT xmi:id="11" begin="28" end="34"/>
  <custom:EVENT xmi:id="12" begin="39" end="46"/><custom:EVENT xmi:id="13" begin="12" end="15"/>
  <custom:RML xmi:id="20" begin="18" end="21" PERTAINSTO="30 31"/>
  <custom:RMLPERTAINSTOLink xmi:id="30" target="10"/><custom:RMLPERTAINSTOLink xmi:id="31" target="12"/>
  <cas:Sofa xmi:id="99" sofaString="{TEXT}"/>
</xmi:XMI>"""


def test_pairs_of_a_sentence_are_candidates_and_no_related_one_is_lost(tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_text(XMI, encoding="utf-8")
    gold_by_text = {e.document.text: e.gold for e in read_e3c_relations(tmp_path, source="s")}
    assert gold_by_text == {
        "La # natrémie # est à @ 130 @.": "pertains-to",
        "La natrémie # est # à @ 130 @.": "none",
        "La natrémie est à @ 130 @. Elle tousse. Le # scanner # fut normal.": "pertains-to",
    }
    replaced = {e.document.text for e in read_e3c_relations(tmp_path, source="s", marking="placeholders")}
    assert "La @EVENT$ est à @RESULT$." in replaced


@given(st.integers(0, 10), st.integers(1, 5), st.integers(0, 10), st.integers(1, 5))
def test_markers_take_nothing_away(a: int, b: int, c: int, d: int) -> None:
    text = "abcdefghijklmnopqrst"
    marked_text = marked(text, (a, a + b), (c, c + d), "markers")
    assert marked_text.replace("@ ", "").replace(" @", "").replace("# ", "").replace(" #", "") == text
    assert marked_text.count("@") == marked_text.count("#") == 2
    inside = marked_text[marked_text.index("@ ") + 2 : marked_text.rindex(" @")]
    assert inside.replace("# ", "").replace(" #", "") == text[a : a + b]


def test_offsets_in_utf16_units_are_mapped_and_checked(tmp_path: Path) -> None:
    """UIMA counts an emoji as two."""
    moved = re.sub(r'(begin|end)="(\d+)"', lambda m: f'{m[1]}="{int(m[2]) + 4 * (m[2] != "0")}"', XMI)
    (tmp_path / "d.xml").write_text(moved.replace(TEXT, f"😀😀{TEXT}"), encoding="utf-8")
    assert "😀😀La # natrémie # est à @ 130 @." in {e.document.text for e in read_e3c_relations(tmp_path, source="s")}
    (tmp_path / "d.xml").write_text(XMI.replace('end="46"', 'end="99"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"d\.xml: offset 99 lies outside the text, which ends at 58"):
        list(read_e3c_relations(tmp_path, source="s"))
    (tmp_path / "d.xml").write_text(XMI.replace(TEXT, TEXT[:10] + "😀" + TEXT[11:]), encoding="utf-8")
    with pytest.raises(InputError, match="offset 11 lies inside a character"):
        list(read_e3c_relations(tmp_path, source="s"))


def test_xml_that_declares_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    (tmp_path / "d.xml").write_text(XMI.replace("?>\n", f"?>{bomb}", 1), encoding="utf-8")
    with pytest.raises(InputError, match="declares entities of its own"):
        list(read_e3c_relations(tmp_path, source="s"))


def test_what_is_no_file_of_e3c_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.xml file"):
        list(read_e3c_relations(tmp_path, source="s"))
    (tmp_path / "d.xml").write_text(XMI[:-40], encoding="utf-8")
    with pytest.raises(InputError, match="not XML"):
        list(read_e3c_relations(tmp_path, source="s"))
    with pytest.raises(InputError, match="known: markers, placeholders"):
        list(read_e3c_relations(tmp_path, source="s", marking="bold"))


@needs_data
@pytest.mark.parametrize(("language", "related"), [("fr", 84), ("es", 65), ("en", 107)])
def test_all_relations_of_the_real_documents_are_there(language: str, related: int) -> None:
    spec = next(task for task in load_pack(language).tasks if task.name == f"e3c_results_{language}")
    task = read_task(spec, ROOT, language)
    parts = [task.train, task.dev, task.test]
    assert sum(e.gold == "pertains-to" for part in parts for e in part) == related
    documents = [{e.document.meta["document"] for e in part} for part in parts]
    assert sum(map(len, documents)) == len(set.union(*documents))
