"""German compounds in their parts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.compounds import Compounds, count_words, in_parts
from medlingua.languages.words import words

TEXT = (
    "Die Leber ist gross. Eine Zirrhose der Leber. Die Entzündung der Lunge und das Gewebe der Lunge. Operation der "
    "Leber, Operation der Lunge. Krankheit und Geschichte. Herz und Klappe, Herz und Klappe, der Fehler am Herz. "
)
LINKS = ("s", "es", "n", "en")


@pytest.fixture
def compounds() -> Compounds:
    return Compounds(count_words([TEXT] * 5, "de"), LINKS)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("Leberzirrhose", ["Leber", "zirrhose"]),
        ("Lungenentzündung", ["Lungen", "entzündung"]),
        ("Operationsgeschichte", ["Operations", "geschichte"]),
        ("Herzklappenfehler", ["Herz", "klappen", "fehler"]),
        ("Lungengewebe", ["Lungen", "gewebe"]),
        ("Leber", ["Leber"]),
        ("Fieber", ["Fieber"]),
        ("Krankheiten", ["Krankheiten"]),
    ],
)
def test_a_compound_is_cut_where_its_words_meet(word: str, parts: list[str], compounds: Compounds) -> None:
    begins = compounds.parts(word)
    assert [word[a:b] for a, b in zip(begins, [*begins[1:], len(word)], strict=True)] == parts


def test_a_word_more_frequent_than_its_parts_stays_whole() -> None:
    counts = Counter({"herz": 4, "klappe": 4, "herzklappe": 90})
    assert Compounds(counts, LINKS).parts("Herzklappe") == (0,)


@given(st.text(alphabet="lebrzihos L.,ß", max_size=60))
def test_parts_cover_the_words_and_nothing_else(text: str) -> None:
    compounds = Compounds(Counter({"leber": 9, "zirrhose": 9, "hose": 5, "sohle": 5}), LINKS)
    ranges = words(text, "de")
    parts = in_parts(text, ranges, compounds)
    assert "".join(text[a:b] for a, b in parts) == "".join(text[a:b] for a, b in ranges)
    assert {a for a, _ in ranges} <= {a for a, _ in parts}
