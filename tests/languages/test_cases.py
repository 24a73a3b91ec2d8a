import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from medlingua.languages.cases import Case, generate_cases, recall_case, synthetic_tasks
from medlingua.languages.errors import InputError
from medlingua.languages.grammar import load_grammar
from medlingua.languages.pack import Pack, known_languages, load_pack
from medlingua.languages.task import labels_of
from medlingua.languages.words import nfc

LANGUAGES = known_languages()
SPAN_LABELS = {"SYMPTOM", "DIAG", "DRUG", "DOSE", "PROC", "LAB", "VALUE"}


def cases(code: str, count: int = 60, seed: int = 1, words: tuple[int, int] = (60, 400)) -> list[Case]:
    return list(generate_cases(load_pack(code), count, seed, words))


@pytest.mark.parametrize("code", LANGUAGES)
def test_V2_mentions_are_whole_words_of_the_lexicon_where_they_are_said_to_be(code: str) -> None:
    specialties = load_grammar(load_pack(code)).specialties.values()
    diagnoses = {noun.split(":")[-1] for specialty in specialties for noun in specialty.diagnoses}
    drugs = {drug[0] for specialty in specialties for drug in specialty.drugs}
    seen: Counter[str] = Counter()
    for case in cases(code):
        text = case.document.text
        for span in case.spans:
            surface = span.surface(text)
            seen[span.label] += 1
            assert surface == surface.strip() != ""
            assert not text[span.start - 1 : span.start].isalnum()
            assert not text[span.end : span.end + 1].isalnum()
            if span.label in ("DIAG", "DRUG"):
                known = diagnoses if span.label == "DIAG" else drugs
                assert surface in known or surface[0].lower() + surface[1:] in known
    assert set(seen) == SPAN_LABELS
    assert min(seen.values()) > 30


@pytest.mark.parametrize("code", LANGUAGES)
def test_cases_are_clean_text_marked_synthetic(code: str) -> None:
    for case in cases(code):
        text = case.document.text
        assert case.document.meta["synthetic"] is True
        assert case.document.source == f"synthetic {code}"
        assert nfc(text) == text
        assert not set("{}<>|") & set(text)
        assert not re.search(r"  | [.,]|\n{3}|\.\.", text)
        assert text.endswith(".\n")


@pytest.mark.parametrize("code", LANGUAGES)
def test_cases_are_reproducible_distinct_and_not_repetitive(code: str) -> None:
    first = cases(code)
    assert [case.document.text for case in first] == [case.document.text for case in cases(code)]
    assert cases(code, seed=2)[0].document.text != first[0].document.text
    assert len({case.document.id for case in first}) == len({c.document.text for c in first}) == len(first)
    lines = [s for case in cases(code, 200) for s in case.document.text.split(". ")]
    assert len(set(lines)) > 0.6 * len(lines)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_lexicon_is_wide(code: str) -> None:
    grammar = load_grammar(load_pack(code))
    specialties = grammar.specialties.values()
    assert len(specialties) >= 8
    assert len({noun for specialty in specialties for noun in specialty.diagnoses}) >= 60
    assert len({noun for specialty in specialties for noun in specialty.symptoms}) >= 60
    assert len({drug[0] for specialty in specialties for drug in specialty.drugs}) >= 50
    assert len({noun for specialty in specialties for noun in specialty.procedures}) >= 25
    assert len({lab[0] for lab in grammar.labs}) >= 30


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_noun_fits_every_form(code: str) -> None:
    grammar = load_grammar(load_pack(code))
    nouns = [lab[0] for lab in grammar.labs]
    for specialty in grammar.specialties.values():
        nouns += [*specialty.diagnoses, *specialty.symptoms, *specialty.procedures]
    for noun in nouns:
        assert grammar.without_tag(noun) != noun, noun
        for form in grammar.forms:
            grammar.article(form, noun)


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("words", [(60, 90), (400, 400), (3000, 5000)])
def test_lengths_are_those_requested(code: str, words: tuple[int, int]) -> None:
    for case in cases(code, 8, words=words):
        assert words[0] <= len(case.document.text.split()) <= words[1] * 1.1 + 60


def test_french_elides_and_agrees() -> None:
    text = "\n".join(case.document.text for case in cases("fr", 200))
    for wrong in (
        " de i",
        " de é",
        " le i",
        " la é",
        " la i",
        " du é",
        "de le ",
        "de les ",
        "à le ",
        "une œdèmes",
    ):
        assert wrong not in text, wrong
    for right in ("d’insuffisance", "l’insuffisance", "une péricardite", "œdèmes", "× 10⁹/L", "µg"):
        assert right in text, right


def test_spanish_contracts() -> None:
    text = "\n".join(case.document.text for case in cases("es", 200)).lower()
    for wrong in (" de el ", " a el ", " un fiebre", " la asma", " el fiebre"):
        assert wrong not in text, wrong


def test_italian_takes_the_article_of_the_next_letter_and_contracts() -> None:
    text = "\n".join(case.document.text for case in cases("it", 200)).lower()
    for wrong in (
        r"\b(?:il|un|del|al|sul|i|dei|ai|sui) (?:s[^aeiouàèéìòù]|z|ps|pn|gn)",
        r"\b(?:il|lo|la|del|della|al|alla|sul|sulla|una|uno|i|dei|ai) [aeiouàèéìòù]",
        r"\b(?:lo|uno|dello|gli|degli) [bcdfglmrtv]",
        r"\b(?:di|a|su) (?:il|lo|la|i|gli|le) ",
        r"\bun’(?:empiema|ictus|herpes|infarto|eritema|ittero|aumento|elettrocardiogramma)",
        r"\bun (?:emoglobina|asma|epilessia|embolia|emiparesi|infezione|ecografia|ureteroscopia)",
    ):
        assert not re.findall(wrong, text), wrong
    for right in ("uno striscio", "lo striscio", "un empiema", "un’asma", "dell’", "gli edemi", "all’ecografia"):
        assert right in text, right


def test_german_has_umlauts_and_english_its_articles() -> None:
    german = "\n".join(case.document.text for case in cases("de", 200))
    assert all(letter in german for letter in "äöüß")
    english = "\n".join(case.document.text for case in cases("en", 200))
    assert not any(f" a {word}" in english for word in ("acute", "echo", "ulcer", "electro", "elevated"))


@pytest.mark.parametrize("code", LANGUAGES)
def test_synthetic_tasks_can_be_learned_and_share_nothing_with_the_corpus(code: str) -> None:
    tasks = synthetic_tasks(load_pack(code), 1)
    assert [task.spec.name for task in tasks] == ["synthetic_ner", "synthetic_specialty", "synthetic_outcome"]
    corpus = {case.document.text for case in cases(code, 300)}
    for task in tasks:
        assert task.synthetic
        assert (len(task.train), len(task.dev), len(task.test)) == (160, 40, 80)
        assert not task.unseen
        texts = [example.document.text for part in (task.train, task.dev, task.test) for example in part]
        assert len(set(texts)) == len(texts)
        assert not corpus & set(texts)
        for part in (task.train, task.test):
            counts = Counter(label for example in part for label in set(labels_of(example.gold)))
            assert set(counts) == set(task.labels)
            assert min(counts.values()) >= len(part) / 20, counts
            if task.spec.kind == "classification":
                assert max(counts.values()) <= len(part) / 2, counts


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_gold_specialties_follow_from_the_diagnoses(code: str) -> None:
    grammar = load_grammar(load_pack(code))
    place = {
        grammar.without_tag(noun).lower(): name
        for name, specialty in grammar.specialties.items()
        for noun in specialty.diagnoses
    }
    for case in cases(code):
        derived = {place[s.surface(case.document.text).lower()] for s in case.spans if s.label == "DIAG"}
        assert derived == case.specialties


@example(code="es", seed=46, distance=894)
@given(code=st.sampled_from(LANGUAGES), seed=st.integers(0, 500), distance=st.integers(60, 3000))
def test_recall_cases_state_a_fact_once_and_need_it_at_the_distance(code: str, seed: int, distance: int) -> None:
    case = recall_case(load_pack(code), seed, distance)
    text, without = case.document.text, case.without_fact.text
    word = case.fact.surface(text)
    assert case.answer.surface(text) == case.answer_without_fact.surface(without) == word
    between = len(text[case.fact.end : case.answer.start].split())
    assert abs(between - distance) <= max(1, 0.05 * distance)
    # As a word of its own: "tumorectomía" does not name the "recto".
    named = re.compile(rf"\b{re.escape(word)}\b")
    assert len(named.findall(text)) == 2
    assert len(named.findall(without)) == 1
    assert text[case.fact.end :].endswith(without[case.answer_without_fact.end :])
    assert case.document.meta["synthetic"] is True
    assert recall_case(load_pack(code), seed, distance) == case


def test_a_distance_that_is_too_short_says_which_is_not() -> None:
    with pytest.raises(InputError, match=r"give a distance of \d+ or more"):
        recall_case(load_pack("fr"), 1, 3)


ITALIAN = """
vowels = "[aeiouàèéìòù]"
decimal = ","
date = "{d:02d}/{m:02d}/{y}"
ages = [20, 80]
labs = [["f:emoglobina", 7.0, 16.0, 1, "g/dL"]]
history = ["In anamnesi si segnala {a:comorbidity}."]
visits = ["Visita del {date}"]
[forms]
a = { m = "un ", f = "una ", fv = "un’" }
the = { m = "il ", f = "la ", mv = "l’", fv = "l’" }
[specialties.cardiology]
place = "cardiologia"
diagnoses = ["f:insufficienza cardiaca"]
symptoms = ["f:dispnea", "m:edema"]
drugs = [["bisoprololo", "2,5 mg"]]
procedures = ["f:ecocardiografia"]
[specialties.neurology]
place = "neurologia"
diagnoses = ["f:epilessia"]
symptoms = ["f:cefalea"]
drugs = [["carbamazepina", "200 mg"]]
procedures = ["m:elettroencefalogramma"]
[[sections]]
title = "Motivo"
required = true
sentences = ["<Un paziente|Una paziente> di {age} anni presenta {a:symptom}."]
[[sections]]
title = "Anamnesi"
history = true
repeat = true
sentences = ["Assume {drug} {dose}.", "{the:lab} è {value}.", "È stata richiesta {a:procedure}."]
[[sections]]
title = "Diagnosi"
required = true
sentences = ["Si conclude per {a:diagnosis}."]
[outcomes]
recovered = ["È <guarito|guarita>."]
worsened = ["È <peggiorato|peggiorata>."]
[[recall]]
fact = "È <allergico|allergica> a {x}."
neutral = "Sta bene."
question = "Per l’allergia non si darà mai {x} a casa."
values = ["penicillina", "lattice"]
"""


@pytest.fixture
def italian(tmp_path: Path) -> Pack:
    (tmp_path / "pack.toml").write_text(
        "code = 'it'\nname = 'italiano'\nspacy = 'it'\n[[corpora]]\nname = 'c'\npath = 'c'\n",
        encoding="utf-8",
    )
    (tmp_path / "cases.toml").write_text(ITALIAN, encoding="utf-8")
    return load_pack(str(tmp_path / "pack.toml"))


def test_a_fifth_language_is_a_folder_from_outside(italian: Pack) -> None:
    assert (italian.code, italian.corpora[0].name) == ("it", "c")
    for case in generate_cases(italian, 20, 1):
        assert case.document.text.count("un’insufficienza") + case.document.text.count("un’epilessia") >= 1
        assert case.document.source == "synthetic it"
    assert len(synthetic_tasks(italian, 1, (8, 2, 4))) == 3
    assert recall_case(italian, 1, 100).document.text.count("penicillina") in (0, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{the:lab}", "{thee:lab}", "no form 'thee'.*did you mean 'the'"),
        ("{a:procedure}", "{a:procedur}", "no slot 'procedur'.*did you mean 'procedure'"),
        ('decimal = ","', "decimal = 5", "decimal: expected text, given 5"),
        ("decimal", "decimals", "unknown key 'decimals'.*did you mean 'decimal'"),
        ('title = "Motivo"', 'titel = "Motivo"', "unknown key 'sections.0.titel'.*did you mean 'title'"),
        ("repeat = true", "repeat = false", "no section has repeat = true"),
        ('["bisoprololo", "2,5 mg"]', '["bisoprololo"]', "specialties.cardiology: the drug .* has no dose"),
        (', f = "una ", fv', ", fw", "form 'a' has nothing for"),
        ("Assume {drug}", "Assume {comorbidity}", "is for 'history' alone"),
        ("mai {x} a", "mai a", "must hold {x} once"),
    ],
)
def test_a_grammar_that_cannot_be_used_says_where(italian: Pack, old: str, new: str, message: str) -> None:
    assert old in ITALIAN
    (italian.folder / "cases.toml").write_text(ITALIAN.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=f"(?s)cases.toml.*{message}"):
        list(generate_cases(italian, 20, 1))


def test_a_pack_without_a_grammar_says_so(italian: Pack) -> None:
    (italian.folder / "cases.toml").unlink()
    with pytest.raises(InputError, match=r"no synthetic cases in 'it'"):
        list(generate_cases(italian, 1, 1))
