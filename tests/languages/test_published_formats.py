"""Sets whose files are not at hand: the pack's record reads each as it is published."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from medlingua.languages.annotations import Example, Span
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.readers.concepts import read_concepts
from medlingua.languages.readers.cues import read_cues
from medlingua.languages.readers.pairs import read_deft_pairs, read_id_pairs
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task

from .conftest import LANGUAGES
from .published_layouts import LAYOUTS, SPECS, clister, cues, deft, i2b2, parhaf, parquet, write


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_pack_s_record_reads_the_published_layout(name: str, tmp_path: Path) -> None:
    files, gold = LAYOUTS[name]
    code, spec = SPECS[name]
    write(tmp_path, files)
    task = read_task(spec, tmp_path, code)
    assert gold in [example.gold for example in task.test]
    assert all(example.document.text.strip() for example in everything(task))


def everything(task: Task) -> tuple[Example, ...]:
    return (*task.train, *task.dev, *task.test)


def test_every_task_that_was_not_seen_has_a_layout_here() -> None:
    assert {name for name, (_, spec) in SPECS.items() if spec.path is not None} == set(LAYOUTS)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_task_is_only_a_name_unless_its_access_forbids_it_and_its_note_says_how_to_request_it(code: str) -> None:
    for spec in load_pack(code).tasks:
        if spec.path is None:
            assert spec.access != "open", f"{spec.name} is only a name: give it a path and a reader"
            assert re.search(r"\bAsk\b", spec.note), f"{spec.name}: its note does not say how it is asked for"
            assert spec.address or spec.hub, spec.name


def test_parts_are_those_of_the_set(tmp_path: Path) -> None:
    for name, sizes in (
        ("diamed", (4, 2, 2)), ("clef_ehealth_2019", (20, 4, 6)), ("bronco150", (0, 0, 5)), ("deft2021", (20, 10)),
        ("socialdisner", (30, 5)), ("gad", (30, 5)), ("i2b2_2010", (12, 1)), ("livingner", (2, 2, 2)),
    ):  # fmt: skip
        code, spec = SPECS[name]
        write(tmp_path, LAYOUTS[name][0])
        task = read_task(spec, tmp_path, code)
        test = len(task.test)
        counts = (len(task.train), len(task.dev), test) if len(sizes) == 3 else (len(task.train + task.dev), test)
        assert counts == sizes, name


def test_documents_without_codes_and_cases_without_one_chapter(tmp_path: Path) -> None:
    for name in ("clef_ehealth_2019", "diamed", "grascco"):
        write(tmp_path, LAYOUTS[name][0])
    clef_task, diamed_task, letters = (
        read_task(SPECS[name][1], tmp_path, SPECS[name][0]) for name in ("clef_ehealth_2019", "diamed", "grascco")
    )
    assert {e.id: e.gold for e in clef_task.test}["30"] == frozenset()
    assert "annotations left out, which have no label: 6" in diamed_task.notes
    assert letters.notes == ("annotations left out, which have no label: 12",)


def test_cues_are_of_sentences_whichever_file_has_them(tmp_path: Path) -> None:
    write(tmp_path, cues("CAS", 5))
    folder = tmp_path / "tasks/cas_essai/corpora"
    gold = {e.id: (e.gold, e.document.text) for e in read_cues(folder, source="s")}
    assert gold["0"] == ("negation_speculation", "Pas de toux 100 000 0")
    assert {n: label for n, (label, _) in gold.items()} == {
        "0": "negation_speculation", "1": "neutral", "2": "speculation", "3": "neutral", "4": "negation_speculation"
    }  # fmt: skip
    with pytest.raises(InputError, match=r"no ESSAI_neg\.txt in it"):
        list(read_cues(folder, source="s", corpus="ESSAI"))


def test_a_pair_without_its_sentence_and_a_description_s_example(tmp_path: Path) -> None:
    write(tmp_path, clister("train") | deft("train"))
    pairs = list(read_deft_pairs(tmp_path / "tasks/deft2020/t1-train.xml", source="s"))
    assert (len(pairs), pairs[0].question, pairs[0].document.text) == (30, "Toux train 0", "Fièvre train 0 & toux")
    table = tmp_path / "tasks/clister/train.csv"
    table.write_text("id_1\tid_2\tsim\ntrain_0_s\ttrain_99_s\t1\n")
    with pytest.raises(InputError, match=r"train\.csv, line 2: id_2 train_99 has no sentence"):
        list(read_id_pairs(table, source="s"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('c="cough" 2:1 2:2||t="problem"', "gives other words than the text"),
        ('c="chest pain" 9:1 9:2||t="problem"', "beyond those of the text"),
        ('c="chest pain" 0:1 0:2||t="problem"', "beyond those of the text"),
        (f'c="chest pain" {"9" * 5000}:1 2:2||t="problem"', "beyond those of the text"),
        ("chest pain 2:1", "not a concept such as"),
    ],
)
def test_a_concept_that_is_not_in_the_text_is_refused_without_its_words(
    line: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, i2b2("concepts", "txt", "a"))
    (tmp_path / "concepts/a.con").write_text(line)
    with pytest.raises(InputError, match=message) as raised:
        list(read_concepts(tmp_path, source="s"))
    assert "chest" not in str(raised.value).lower()


def test_words_of_a_sentence_without_cues_have_tags_too(tmp_path: Path) -> None:
    write(tmp_path, cues("CAS", 5))
    folder = tmp_path / "tasks/cas_essai/corpora"
    tagged = {
        unit: {e.id: [span.label for span in spans_of(e)] for e in read_cues(folder, source="s", unit=unit)}
        for unit in ("pos", "neg", "spec")
    }
    assert tagged["pos"]["3"] == ["ADV", "PRP", "NOM", "NUM", "NUM"]
    assert tagged["neg"]["2"] == ["O"] * 5
    assert tagged["spec"]["2"] == ["cue", "scope", "scope", "O", "O"]
    with pytest.raises(InputError, match=r"unit is 'word'; known: neg, pos, sentence, spec"):
        list(read_cues(folder, source="s", unit="word"))


def spans_of(example: Example) -> tuple[Span, ...]:
    assert isinstance(example.gold, tuple)
    return example.gold


def test_a_gazetteer_gives_codes_and_terms_and_a_mention_without_a_code_is_counted(tmp_path: Path) -> None:
    code, spec = SPECS["distemist_gazetteer"]
    write(tmp_path, LAYOUTS[spec.name][0])
    task = read_task(spec, tmp_path, code)
    assert task.terminology == (("195967001", "asma"), ("49727002", "tos"))
    assert task.notes == ("mentions left out, which have no code: 1",)
    file = tmp_path / "tasks/distemist/dictionary_distemist.tsv"
    file.write_text("code\tname\n1\ttos\n")
    with pytest.raises(InputError, match=r"dictionary_distemist\.tsv, line 2: no column 'term'"):
        read_task(spec, tmp_path, code)
    file.unlink()
    with pytest.raises(InputError, match=r"dictionary_distemist\.tsv is not there"):
        read_task(spec, tmp_path, code)


def test_a_span_of_a_document_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, spec = SPECS["parhaf_pseudo"]
    write(tmp_path, parhaf("parhaf_pseudo", "train", 20) | parhaf("parhaf_pseudo", "dev", 4))
    texts = tmp_path / "tasks/parhaf_pseudo/data/document_metadata/document_metadata_dev.parquet"
    write(tmp_path, {str(texts): parquet(pa.table({"report": ["dev0"], "full_text": ["Mme Petit."]}))})
    with pytest.raises(InputError, match=r"spans_dev\.parquet, row 2: a span of a document that is not in"):
        read_task(spec, tmp_path, code)
    texts.unlink()
    with pytest.raises(InputError, match=r"no document_metadata/document_metadata_dev\.parquet next to it"):
        read_task(spec, tmp_path, code)
