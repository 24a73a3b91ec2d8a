"""Terminologies in the formats of their releases, written by hand here as their makers write them, and the real ones
that the data root has; and the text that is made from them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.terminologies.concept import Concept
from medlingua.languages.terminologies.passages import passages, with_parents
from medlingua.languages.terminologies.reading import read_concepts

from tests.languages.conftest import LANGUAGES
from tests.recipes.conftest import call

DATA = Path(__file__).parents[2].parent / "shared" / "data"

OBO = """format-version: 1.2

[Term]
id: DOID:4
name: disease
def: "A disposition to undergo \\"pathological\\" processes." [url:none]

[Term]
id: DOID:10242
name: ehrlichiosis
synonym: "Ehrlichia infection" EXACT []
synonym: "tick fever" RELATED []
is_a: DOID:4 ! disease

[Term]
id: DOID:9
name: old thing
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
CLAML = """<?xml version="1.0" encoding="UTF-8"?>
<ClaML version="2.0.0">
  <Class code="I10-I15" kind="block"><Rubric kind="preferred"><Label xml:lang="de">Hypertonie</Label></Rubric></Class>
  <Class code="I10" kind="category"><SuperClass code="I10-I15"/>
    <Rubric kind="preferred"><Label xml:lang="de">Essentielle <Term>Hypertonie</Term></Label></Rubric>
    <Rubric kind="inclusion"><Label xml:lang="de">Bluthochdruck</Label></Rubric>
    <Rubric kind="inclusion"><Label xml:lang="en">High blood pressure</Label></Rubric>
  </Class>
</ClaML>"""
MESH = """<?xml version="1.0"?>
<DescriptorRecordSet LanguageCode="fre">
  <DescriptorRecord><DescriptorUI>D007239</DescriptorUI><DescriptorName><String>Infections[Infections]</String></DescriptorName>
    <TreeNumberList><TreeNumber>C01</TreeNumber></TreeNumberList>
    <ConceptList><Concept PreferredConceptYN="Y"><ScopeNote>Invasion par des microbes.</ScopeNote><TermList>
      <Term><String>Infections</String></Term><Term><String>Infestations</String></Term></TermList></Concept></ConceptList>
  </DescriptorRecord>
  <DescriptorRecord><DescriptorUI>D000038</DescriptorUI><DescriptorName><String>Abcès[Abscess]</String></DescriptorName>
    <TreeNumberList><TreeNumber>C01.830</TreeNumber></TreeNumberList></DescriptorRecord>
</DescriptorRecordSet>"""
BABELON = (
    "subject_id\tsource_language\ttranslation_language\tpredicate_id\tsource_value\ttranslation_status\ttranslation_value\n"
    "HP:1\ten\tfr\tIAO:0000115\tAn excess.\tOFFICIAL\tUn excès.\n"
    "HP:1\ten\tfr\trdfs:label\tHypertension\tOFFICIAL\tHypertension\n"
    "HP:1\ten\tde\trdfs:label\tHypertension\tOFFICIAL\tBluthochdruck\n"
)
DOID_ES = (
    "source_id\tpredicate\tsource_text\ttranslation_text\ttranslation_lang\n"
    "DOID:1\toboInOwl:hasExactSynonym\tflu\tgripe común\tes\nDOID:1\trdfs:label\tinfluenza\tgripe\tes\n"
)
EDGES = "id\tlabel\tsubClassOf\nDOID:2\tviral disease\tdisease\nDOID:1\tinfluenza\tviral disease\n"
CODES = "code;libellé\nC34;Tumeur maligne des bronches\nC34.1;Lobe supérieur\nC34.10;Lobe supérieur droit\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def snomed(folder: Path) -> Path:
    head = "id\teffectiveTime\tactive\tmoduleId\t"
    place = "Snapshot/Terminology/sct2_"
    written(
        folder, f"{place}Concept_Snapshot_INT_20260101.txt",
        head + "definitionStatusId\n38341003\t20200101\t1\t9\t9\n64572001\t20200101\t1\t9\t9\n1\t20200101\t0\t9\t9\n",
    )  # fmt: skip
    written(
        folder, f"{place}Description_Snapshot-es_INT_20260101.txt",
        head + "conceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n"
        "1\t20200101\t1\t9\t38341003\tes\t900000000000003001\thipertensión arterial (trastorno)\t9\n"
        "2\t20200101\t1\t9\t38341003\tes\t900000000000013009\thipertensión \"arterial\"\t9\n"
        "3\t20200101\t0\t9\t38341003\tes\t900000000000013009\tretirado\t9\n"
        "4\t20200101\t1\t9\t64572001\tes\t900000000000003001\tenfermedad (trastorno)\t9\n"
        "5\t20200101\t1\t9\t38341003\ten\t900000000000013009\thypertension\t9\n",
    )  # fmt: skip
    written(
        folder, f"{place}Relationship_Snapshot_INT_20260101.txt",
        head + "sourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId\n"
        "1\t20200101\t1\t9\t38341003\t64572001\t0\t116680003\t9\t9\n"
        "2\t20200101\t1\t9\t38341003\t1\t0\t363698007\t9\t9\n",
    )  # fmt: skip
    return folder


def umls(folder: Path) -> Path:
    rows = [
        ("C0020538", "FRE", "S", "N", "HTA", "N"),
        ("C0020538", "FRE", "P", "Y", "Hypertension", "N"),
        ("C0020538", "FRE", "P", "N", "Caché", "O"),
        ("C0042373", "FRE", "P", "Y", "Maladies vasculaires", "N"),
        ("C0042373", "ENG", "P", "Y", "Vascular Diseases", "N"),
    ]
    conso = "{}|{}|{}|L1|PF|S1|{}|A1||||MSHFRE|MH|D1|{}|3|{}||\n"  # as the National Library of Medicine writes them
    written(folder, "MRCONSO.RRF", "".join(conso.format(*row) for row in rows))
    related = ("C0020538", "A2", "AUI", "PAR", "C0042373", "A4", "AUI", "", "R1", "", "MSH", "MSH", "", "N", "N", "")
    written(folder, "MRREL.RRF", "|".join(related) + "|\n")
    return folder


def test_an_obo_file_gives_terms_that_are_not_obsolete(tmp_path: Path) -> None:
    assert read_concepts(written(tmp_path, "slim.obo", OBO), "en") == [
        Concept("DOID:4", "disease", definition='A disposition to undergo "pathological" processes.'),
        Concept("DOID:10242", "ehrlichiosis", ("Ehrlichia infection",), ("DOID:4",)),
    ]


def test_claml_gives_the_labels_of_the_language(tmp_path: Path) -> None:
    assert read_concepts(written(tmp_path, "icd10gm.xml", CLAML), "de") == [
        Concept("I10-I15", "Hypertonie"),
        Concept("I10", "Essentielle Hypertonie", ("Bluthochdruck",), ("I10-I15",)),
    ]


def test_mesh_gives_parents_by_tree_numbers_and_translated_names(tmp_path: Path) -> None:
    assert read_concepts(written(tmp_path, "fredesc.xml", MESH), "fr") == [
        Concept("D007239", "Infections", ("Infestations",), (), "Invasion par des microbes."),
        Concept("D000038", "Abcès", (), ("D007239",)),
    ]


def test_tables_of_ontologies_are_recognised_by_their_columns(tmp_path: Path) -> None:
    hpo = read_concepts(written(tmp_path, "hp-fr.babelon.tsv", BABELON), "fr")
    assert hpo == [Concept("HP:1", "Hypertension", definition="Un excès.")]
    spanish = read_concepts(written(tmp_path, "doid-es.tsv", DOID_ES), "es")
    assert spanish == [Concept("DOID:1", "gripe", ("gripe común",))]
    edges = read_concepts(written(tmp_path, "HumanDO.tsv", EDGES), "en")
    assert edges == [Concept("DOID:2", "viral disease"), Concept("DOID:1", "influenza", (), ("DOID:2",))]
    assert with_parents(spanish, edges) == [Concept("DOID:1", "gripe", ("gripe común",), ("DOID:2",))]


def test_codes_without_parents_are_a_tree_by_their_beginnings(tmp_path: Path) -> None:
    concepts = read_concepts(written(tmp_path, "cim10.csv", CODES), "fr")
    assert [c.parents for c in concepts] == [(), ("C34",), ("C34.1",)]
    given = "code,description,parent,synonyms\nA01,Alimentary,,gut|digestion\nB07,Blood,A01,\n"
    assert read_concepts(written(tmp_path, "atc.csv", given), "en") == [
        Concept("A01", "Alimentary", ("gut", "digestion")),
        Concept("B07", "Blood", (), ("A01",)),
    ]


def test_no_term_of_a_code_that_comes_twice_is_lost(tmp_path: Path) -> None:
    table = "code,description,parent,definition\nR,Signe,,\nR05,Toux,R,\nR05,Tussis,,Un réflexe.\nR05,Toux,R,\n"
    assert read_concepts(written(tmp_path, "codes.csv", table), "fr") == [
        Concept("R", "Signe"),
        Concept("R05", "Toux", ("Tussis",), ("R",), "Un réflexe."),
    ]


def test_snomed_gives_active_terms_of_the_language(tmp_path: Path) -> None:
    assert read_concepts(snomed(tmp_path), "es") == [
        Concept("38341003", 'hipertensión "arterial"', (), ("64572001",)),
        Concept("64572001", "enfermedad (trastorno)"),
    ]


@pytest.mark.parametrize(
    ("release", "name", "old", "new", "message"),
    [
        (snomed, "sct2_Description", "typeId", "kind", "no column 'typeId'"),
        (snomed, "sct2_Relationship", "sourceId", "from", "no column 'sourceId'"),
        (umls, "MRREL", "|AUI|PAR|", "|PAR", "line 1: 14 columns, the Rich Release Format has 16"),
    ],
)
def test_a_release_with_other_columns_is_one_clear_line(
    release: Callable[[Path], Path], name: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    folder = release(tmp_path)
    file = next(path for path in folder.rglob("*") if name in path.name)
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_concepts(folder, "es" if release is snomed else "fr")
    assert message in str(error.value)


def test_umls_gives_preferred_terms_first_and_no_suppressed_ones(tmp_path: Path) -> None:
    assert read_concepts(umls(tmp_path), "fr") == [
        Concept("C0020538", "Hypertension", ("HTA",), ("C0042373",)),
        Concept("C0042373", "Maladies vasculaires"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("codes.csv", "kapitel,wert\nI,3\n", "none of its 2 columns holds codes, or none their names"),
        ("notes.csv", "Mme Durand,tousse\nI,3\n", "a table of codes has one of code"),
        (
            "notes.jsonl",
            '{"text": "a, b, c", "id": "a, b, c"}\n',
            "notes.jsonl: not a format that is read. Read are OBO files",
        ),
        ("notes.parquet", "PAR1", "notes.parquet: not a format that is read"),
        ("codes.csv", "code,description\n,Fever\n", "line 2: no code"),
        ("codes.csv", "code,description\n", "no row below the header"),
        ("other.xml", "<Terms><Term/></Terms>", "<Terms> is no terminology that is read here"),
        ("bomb.xml", '<!DOCTYPE a [<!ENTITY b "c">]><ClaML>&b;</ClaML>', "declares entities"),
        ("a.obo", "[Term]\nid: A\nname: a\nis_a: B\n\n[Term]\nid: B\nname: b\nis_a: A\n", "goes in a circle"),
        ("empty.obo", "format-version: 1.2\n", "no term of language 'fr'"),
        ("e.tsv", "id\tlabel\tsubClassOf\nD:1\ta\t\nD:1\tb\t\n", "the code D:1 has two labels"),
        ("old/sct2_Description_Snapshot-fr.txt", "DESCRIPTIONID\tSTATUS\n1\t0\n", "Release Format 2 has; is it RF1"),
        ("short/MRCONSO.RRF", "C1|FRE|P|\n", "line 1: 3 columns, the Rich Release Format has 18"),
        ("folder/notes.txt", "", "neither MRCONSO.RRF nor sct2_Description_Snapshot"),
    ],
)
def test_what_is_no_terminology_is_one_clear_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InputError) as error:
        read_concepts(path.parent if "/" in name else path, "fr")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "Durand" not in str(error.value)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_passage_says_all_that_the_release_says(code: str) -> None:
    sentences = load_pack(code).sentences
    assert sentences is not None
    concepts = [
        Concept("I10-I15", "Hypertension"),
        Concept("I10", "HTA", ("tension", "TA haute"), ("I10-I15",), "Pression > 14."),
    ]
    above, below = (text for _, text in passages(concepts, sentences, "CIM-10"))
    for part in ("HTA", "I10", "CIM-10", "tension, TA haute", "Hypertension", "Pression > 14."):
        assert part in below
    assert "HTA" in above
    assert "{" not in above + below


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True), st.text())
def test_any_words_go_into_passages_as_they_are(names: list[str], definition: str) -> None:
    """Braces too, which are no templates there."""
    sentences = load_pack("fr").sentences
    assert sentences is not None
    concepts = [Concept(str(n), name, (), (), definition) for n, name in enumerate(names)]
    by_code = dict(passages(concepts, sentences, "T"))
    assert list(by_code) == [c.code for c in concepts]
    assert all(c.name in by_code[c.code] and definition in by_code[c.code] for c in concepts)


def test_the_command_writes_a_corpus_and_reads_real_releases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doid = DATA / "terms" / "doid"
    if not doid.is_dir():
        pytest.skip("needs ../shared/data/terms")
    out = tmp_path / "es.jsonl"
    line = ["terminology", str(doid / "doid-es-translated.tsv.gz"), "--lang", "es", "--name", "DOID"]
    line += ["--parents", str(doid / "HumanDO.tsv.gz"), "--out", str(out)]
    assert call(monkeypatch, line) == 0
    rows = [json.loads(row) for row in out.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) > 1_000
    assert sum("forma parte de" in row["text"] for row in rows) > 500
    again = tmp_path / "again.jsonl"
    assert call(monkeypatch, [*line[:-1], str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    obo = read_concepts(doid / "DO_rare_slim.obo.gz", "en")
    assert any(c.definition for c in obo)
    for lang in ("fr", "es", "de"):
        assert len(read_concepts(DATA / "terms" / "hpo" / f"hp-{lang}.babelon.tsv.gz", lang)) > 1_000


def test_a_file_that_exists_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminology itself above all."""
    file = written(tmp_path, "codes.csv", CODES)
    for out in (file, tmp_path):
        assert call(monkeypatch, ["terminology", str(file), "--lang", "fr", "--out", str(out)]) == 2
        assert f"--out {out} exists" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == CODES
