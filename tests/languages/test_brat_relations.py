"""Relations of brat: every pair of a line, its mentions marked, and what relates them."""

from collections import Counter
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.readers.brat_relations import read_brat_relations

TEXT = "El asma afecta las vías respiratorias.\nLa tos y la disnea.\n"
ANN = """T0\tConcept 3 7\tasma
T1\tAction 8 14\tafecta
T2\tConcept 19 23;24 37\tvías respiratorias
T3\tConcept 42 45\ttos
T4\tConcept 51 57\tdisnea
R0\tsubject Arg1:T1 Arg2:T0
R1\ttarget Arg1:T1 Arg2:T2
R2\tcauses Arg1:T0 Arg2:T3
R3\tin-context Arg1:T1 Arg2:T2
*\tsame-as T3 T4
A1\tNegated T3
"""


def write(folder: Path, annotations: str = ANN) -> Path:
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    (folder / "a.ann").write_text(annotations, encoding="utf-8")
    return folder


def test_every_ordered_pair_of_a_line_is_an_example(tmp_path: Path) -> None:
    notes: Counter[str] = Counter()
    examples = {e.id: e for e in read_brat_relations(write(tmp_path), source="s", notes=notes)}
    assert len(examples) == 3 * 2 + 2 * 1
    assert examples["a:1:T1-T0"].document.text == "El # asma # @ afecta @ las vías respiratorias."
    assert examples["a:1:T0-T1"].document.text == "El @ asma @ # afecta # las vías respiratorias."
    assert {name: e.gold for name, e in examples.items() if e.gold != "none"} == {
        "a:1:T1-T0": "subject", "a:1:T1-T2": "target", "a:2:T3-T4": "same-as", "a:2:T4-T3": "same-as"
    }  # fmt: skip
    assert examples["a:2:T3-T4"].document.meta["document"] == "a:2"
    assert dict(notes) == {
        "relations left out, which go beyond a line: {n}": 1,
        "relations left out, which are the second one of a pair: {n}": 1,
    }


def test_placeholders_stand_for_the_mentions(tmp_path: Path) -> None:
    examples = {e.id: e for e in read_brat_relations(write(tmp_path), source="s", marking="placeholders")}
    assert examples["a:1:T1-T2"].document.text == "El asma @HEAD$ las @TAIL$."


def test_a_relation_without_its_entity_and_an_unknown_marking(tmp_path: Path) -> None:
    write(tmp_path, ANN + "R9\ttarget Arg1:T1 Arg2:T8\n")
    with pytest.raises(InputError, match=r"a\.ann, line 12: a relation of an entity that is not there"):
        list(read_brat_relations(tmp_path, source="s"))
    with pytest.raises(InputError, match="marking is 'bold'; known: markers, placeholders"):
        list(read_brat_relations(tmp_path, source="s", marking="bold"))
