import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.languages.words import cut, nfc, sentences, words

from .conftest import LANGUAGES

PROSE = st.lists(
    st.sampled_from(
        [
            "Toux.",
            "Fièvre",
            "à",
            "37,5 °C",
            "Dr. X",
            "\n\n",
            "\r\n",
            " ",
            "e\u0301",
            "10⁹/L ",
            "¿Dolor? ",
            "z. B. ",
            ".",
        ]
    ),
    max_size=60,
).map("".join)


def surfaces(text: str, code: str) -> list[str]:
    return [text[start:end] for start, end in words(text, code)]


def test_T7_words_keep_their_accents_and_case() -> None:
    text = "Interné pâle, sûr ; opéré : SIDA"
    assert [w for w in surfaces(text, "fr") if w.isalpha()] == ["Interné", "pâle", "sûr", "opéré", "SIDA"]


@given(st.text())
def test_T8_composed_and_decomposed_text_become_the_same(text: str) -> None:
    assert nfc(unicodedata.normalize("NFD", text)) == nfc(text)
    assert nfc(nfc(text)) == nfc(text)


@pytest.mark.parametrize(
    "text",
    [
        "10⁹/L",
        "m²",
        "1ª 2º",
        "½",
        "㎎",
        "Ⅳ",
        "Na⁺",
        "µg",
        "ﬁ",
        "a\u00a0b",
        "œdème",
        "Fuß",
        "soft\u00adhyphen",
    ],
)
def test_T9_what_nfkc_would_change_stays(text: str) -> None:
    assert nfc(text) == text


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("fr", "L'œdème d'aujourd'hui", ["L'", "œdème", "d'", "aujourd'hui"]),
        ("fr", "Il dit qu’elle tousse", ["Il", "dit", "qu’", "elle", "tousse"]),
        ("fr", "l'hôpital qu'il a", ["l'", "hôpital", "qu'", "il", "a"]),
        ("de", "Herzrhythmusstörungen am Fuß", ["Herzrhythmusstörungen", "am", "Fuß"]),
        ("es", "¿Dolor en la 2ª costilla?", ["¿", "Dolor", "en", "la", "2ª", "costilla", "?"]),
        ("es", "el 1º día", ["el", "1º", "día"]),
        ("en", "The patient's fever", ["The", "patient", "'s", "fever"]),
    ],
)
def test_words_of_each_language(code: str, text: str, expected: list[str]) -> None:
    assert surfaces(text, code) == expected


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("unit", ["10⁹/L", "m²", "µg/dl", "37,5 °C", "½", "Na⁺"])
def test_T9_units_are_preserved_in_the_words(code: str, unit: str) -> None:
    text = f"x {unit} y"
    assert "".join(surfaces(text, code)) == text.replace(" ", "")


@given(text=st.one_of(PROSE, st.text()), code=st.sampled_from(LANGUAGES))
def test_words_are_in_order_and_omit_only_white_space(text: str, code: str) -> None:
    end_before = 0
    for start, end in words(text, code):
        assert end_before <= start < end
        assert not text[end_before:start].strip()
        end_before = end
    assert not text[end_before:].strip()


@given(text=st.one_of(PROSE, st.text()), code=st.sampled_from(LANGUAGES))
def test_sentences_cover_the_text(text: str, code: str) -> None:
    ranges = sentences(text, code)
    assert "".join(text[start:end] for start, end in ranges) == text
    assert all(start < end for start, end in ranges)
    if text.strip():
        assert all(text[start:end].strip() for start, end in ranges)


def test_sentences_end_at_full_stops_and_blank_lines() -> None:
    text = "  Motif\n\nToux depuis 3 jours. Fièvre à 38,5 °C.\n\nAntécédents\n\nAucun."
    assert [text[a:b].strip() for a, b in sentences(text, "fr")] == [
        "Motif",
        "Toux depuis 3 jours.",
        "Fièvre à 38,5 °C.",
        "Antécédents",
        "Aucun.",
    ]


def test_long_texts_are_read_in_pieces_without_losing_anything() -> None:
    text = "La patiente tousse. " * 25_000
    assert len(words(text, "fr")) == 4 * 25_000
    assert len(sentences(text, "fr")) == 25_000


@given(text=st.one_of(PROSE, st.text()), limit=st.integers(1, 50), code=st.sampled_from(LANGUAGES))
def test_cut_covers_the_text_exactly_in_pieces_within_the_limit(text: str, limit: int, code: str) -> None:
    pieces = cut(text, limit, code)
    assert "".join(text[start:end] for start, end in pieces) == text
    assert all(0 < end - start <= limit for start, end in pieces)


def test_cut_prefers_paragraphs_then_sentences_then_spaces() -> None:
    def pieces(text: str, limit: int, code: str = "fr") -> list[str]:
        return [text[start:end] for start, end in cut(text, limit, code)]

    assert pieces("Une toux. Oui.\n\nUne fièvre. Non.", 20) == ["Une toux. Oui.\n\n", "Une fièvre. Non."]
    assert pieces("Une toux grave. Une fièvre forte.", 24) == ["Une toux grave. ", "Une fièvre forte."]
    assert pieces("toux et fièvre", 9) == ["toux et ", "fièvre"]
    assert pieces("toux" * 3, 5) == ["touxt", "ouxto", "ux"]
    assert pieces("Er kam am 3. Mai in die Klinik.", 20, "de")[0] == "Er kam am 3. Mai in "
    assert pieces("Schon am 3. Mai. Er kam in die Klinik.", 24, "de")[0] == "Schon am 3. Mai. "
    assert pieces("xxe\u0301xx", 3) == ["xx", "e\u0301x", "x"]


def test_cut_is_quick_on_a_document_of_50_mb() -> None:
    text = "Le patient présente une toux sèche, sans fièvre. " * 1_000_000
    before = time.perf_counter()
    pieces = cut(text, 10_000, "fr")
    assert time.perf_counter() - before < 15
    assert pieces[-1][1] == len(text)
    assert all(text[end - 2 : end] == ". " for _, end in pieces)


def test_an_unknown_pipeline_is_explained() -> None:
    with pytest.raises(InputError, match=r"cannot make a blank pipeline 'zzz'.*'xx'"):
        words("a", "zzz")


@pytest.mark.parametrize("text", ["x", ".", '."', " ", "\n", "Bla bla.\n\n", "\u0301"])
def test_cut_stays_linear_on_text_that_repeats_one_sign(text: str) -> None:
    long = text * (4_000_000 // len(text))
    before = time.perf_counter()
    pieces = cut(long, 100_000, "fr")
    assert time.perf_counter() - before < 5
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(long)
