"""WECHSEL: pieces find their translations through a dictionary of other words."""

import numpy as np
import pytest
from medlingua.adapters.wechsel import align, mixtures
from medlingua.languages.errors import InputError

from .test_focus import Cut

SIZE, KNOWN = 120, 100  # words of a kind, and how many of them the dictionary has
ROLES = [
    "the {organ} hurts when {drug} is low",
    "{drug} was given for the {disease} today",
    "a {disease} of the {organ} was seen",
]
WORDS = {
    "organ": [f"organ{i}" for i in range(SIZE)],
    "drug": [f"drug{i}" for i in range(SIZE)],
    "disease": [f"disease{i}" for i in range(SIZE)],
}


def texts(seed: int, count: int = 20_000) -> list[str]:
    """Each organ, drug and disease keeps the company of its own number, or the next."""
    draw = np.random.default_rng(seed)
    sentences = []
    for _ in range(count):
        i = int(draw.integers(SIZE))
        chosen = {role: words[(i + int(draw.integers(2))) % SIZE] for role, words in WORDS.items()}
        sentences.append(str(draw.choice(ROLES)).format(**chosen))
    return sentences


def foreign(text: str) -> str:
    return " ".join(word[::-1] for word in text.split())


def test_words_outside_the_dictionary_find_their_translations() -> None:
    english, other = texts(0), [foreign(text) for text in texts(1)]
    old = Cut(sorted({word for text in english for word in text.split()}))
    new = Cut(sorted({word for text in other for word in text.split()}))
    known = [word for words in WORDS.values() for word in words[:KNOWN]]
    mixed = mixtures(old, new, english, other, [(word, foreign(word)) for word in known])
    place = {word: id for id, word in enumerate(sorted({w for text in english for w in text.split()}))}
    names = sorted({w for text in other for w in text.split()})
    assert set(mixed) == set(range(len(names)))
    for ids, weights in mixed.values():
        assert weights.sum() == pytest.approx(1)
        assert len(ids) == 10
    unseen = [word for words in WORDS.values() for word in words[KNOWN:]]
    hits = [place[word] in mixed[names.index(foreign(word))][0] for word in unseen]
    assert np.mean(hits) >= 0.6  # ten of 370 by chance: 0.03


def test_a_turned_space_is_turned_back() -> None:
    draw = np.random.default_rng(0)
    theirs = draw.normal(size=(200, 16))
    turn, _ = np.linalg.qr(draw.normal(size=(16, 16)))
    ours = theirs @ turn
    np.testing.assert_allclose(align(theirs, ours, theirs[:40], ours[:40]), theirs, atol=1e-9)


def test_a_dictionary_that_the_texts_do_not_hold_is_refused() -> None:
    english, other = texts(0, 50), [foreign(text) for text in texts(1, 50)]
    old = Cut(sorted({word for text in english for word in text.split()}))
    new = Cut(sorted({word for text in other for word in text.split()}))
    with pytest.raises(InputError, match=r"1 of the dictionary's 1 word pairs .* adapt\.dictionary"):
        mixtures(old, new, english, other, [("the", "eht")])
