import re
import subprocess
import sys
from pathlib import Path

import pytest
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Corpus, known_languages, load_pack

from .conftest import LANGUAGES, needs_data

LOCAL = {
    "fr": {"e3c_pamj_fr": 758, "e3c_leaflets_fr": 337},
    "es": {"codiesp_background_es": 2750, "e3c_journal_es": 504},
    "de": {"gesetze_medizin_de": 67, "gesetze_plain_de": 24, "klexikon_medizin_de": 136},
    "en": {"e3c_cases_en": 7938, "nli4ct_records_en": 999, "medquad_en": 15380, "openstax_en": 28},
    "it": {},
}


def test_the_mission_s_languages_and_the_guide_s_example_are_known() -> None:
    assert known_languages() == ("de", "en", "es", "fr", "it")


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_pack_loads_and_states_where_its_licences_are_from(code: str) -> None:
    pack = load_pack(code)
    assert pack.code == code
    assert LOCAL[code].keys() <= {corpus.name for corpus in pack.corpora}
    for entry in (*pack.corpora, *pack.tasks):
        assert not entry.verified or entry.licence_source, entry.name
        assert not entry.verified or entry.path, f"{entry.name}: whose files are not at hand was not opened"
        assert entry.path or entry.hub or entry.address, entry.name


@needs_data
@pytest.mark.parametrize("code", LANGUAGES)
def test_local_corpora_hold_the_documents_and_words_that_were_counted(code: str, data: Path) -> None:
    for corpus in load_pack(code).corpora:
        if corpus.path:
            texts = [d.text for d in read_documents(data / corpus.path, source=corpus.name)]
            assert len(texts) == LOCAL[code][corpus.name], corpus.name
            assert sum(len(text.split()) for text in texts) == corpus.words, corpus.name


def test_what_is_restricted_says_why() -> None:
    def restriction(**values: object) -> str:
        return Corpus.model_validate({"name": "c", "licence": "CC0", **values}).restriction

    assert restriction() == ""
    assert restriction(non_commercial=True) == "non-commercial use only"
    assert restriction(licence="", access="gated") == "gated; no licence stated"
    by_name = {corpus.name: corpus for code in LANGUAGES for corpus in load_pack(code).corpora}
    assert by_name["nli4ct_records_en"].restricted
    assert by_name["e3c_leaflets_fr"].restricted
    assert not by_name["e3c_pamj_fr"].restricted


def test_an_unknown_language_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown language 'ffr'.*did you mean 'fr'.*pack.toml"):
        load_pack("ffr")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('licens = "x"', r"corpora, entry 1 \(c\): unknown key 'licens'.*did you mean 'licence'"),
        ("words = 'many'", r"corpora, entry 1 \(c\): words: expected a whole number, given 'many'"),
        ("words = ", r"not valid TOML.*line 6"),
        ("[[corpora]]\npath = 'x'", r"corpora, entry 2 \(without a name\): key 'name' is missing"),
        ("[[corpora]]\nname = 'c'", r"two entries with the name c"),
        ("[[corpus]]\nname = 'c'", r"top level: unknown key 'corpus'.*did you mean 'corpora'"),
        ("[[tasks]]\nkind = 'ner'\npath = 'x'", r"tasks, entry 1 \(without a name\): key 'name' is missing"),
        ("tasks = 3", r"corpora, entry 1 \(c\): unknown key 'tasks'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "pack.toml"
    file.write_text(f"code = 'xx'\nname = 'X'\nspacy = 'xx'\n[[corpora]]\nname = 'c'\n{body}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_pack(str(file))


def test_tasks_that_do_not_fit_are_listed_as_broken_and_the_others_load(tmp_path: Path) -> None:
    file = tmp_path / "pack.toml"
    file.write_text(
        "code = 'xx'\nname = 'X'\nspacy = 'xx'\n"
        "[[tasks]]\nname = 'bare'\nkind = 'ner'\npath = 'x'\n"
        "[[tasks]]\nname = 'good'\nkind = 'ner'\npath = 'x'\nreader = 'brat'\n"
        "[[tasks]]\nname = 'typo'\nkind = 'ner'\nreadr = 'brat'\n",
        encoding="utf-8",
    )
    pack = load_pack(file)
    assert [task.name for task in pack.tasks] == ["good"]
    assert re.search(r"pack\.toml: tasks, entry 1 \(bare\): .*needs a reader", pack.broken_tasks["bare"])
    assert re.search(r"entry 3 \(typo\): unknown key 'readr'.*did you mean 'reader'", pack.broken_tasks["typo"])


def test_importing_a_pack_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import medlingua.languages.pack, medlingua.languages.tasks, medlingua.languages.words\n"
        "heavy = {'torch', 'transformers', 'spacy', 'pandas', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_pack_names_models_to_start_from_and_only_known_things_in_overlaps(code: str) -> None:
    pack = load_pack(code)
    assert pack.bases
    assert all(base.hub or base.path for base in pack.bases)
    known = {entry.name for entry in (*pack.corpora, *pack.tasks)}
    for overlap in pack.overlaps:
        assert set(overlap.names) & known, overlap


def test_what_needs_a_signature_or_a_licence_is_restricted() -> None:
    by_name = {corpus.name: corpus for code in LANGUAGES for corpus in load_pack(code).corpora}
    assert {"nachos", "ggponc_text", "e3c_layer3", "biomed_fr"} <= {n for n, c in by_name.items() if c.restricted}
    assert not by_name["finemed_fr"].restricted
