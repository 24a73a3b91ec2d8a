"""FOCUS: mixtures on the simplex, of pieces that are used alike."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import load
from medlingua.adapters.focus import mixtures, piece_vectors, sparsemax
from medlingua.adapters.tokenizer import learn_tokenizer


@settings(max_examples=200, deadline=None)
@given(scores=st.lists(st.floats(-3, 3), min_size=1, max_size=12))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: list[float]) -> None:
    """Against what tells the projection: on the simplex, and no point of it makes an acute angle (its definition)."""
    z = np.array(scores)
    p = sparsemax(z)
    assert p.sum() == pytest.approx(1)
    assert (p >= 0).all()
    for corner in np.eye(len(z)):
        assert (z - p) @ (corner - p) <= 1e-9


class Cut:
    """Words as pieces."""

    def __init__(self, words: list[str]) -> None:
        self._ids = {word: id for id, word in enumerate(words)}
        self.backend_tokenizer = self

    def __len__(self) -> int:
        return len(self._ids)

    def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> list[Any]:
        return [type("Encoding", (), {"ids": [self._ids[w] for w in text.split()]}) for text in texts]


def test_a_new_piece_is_mixed_from_pieces_that_stand_in_its_place() -> None:
    draw = np.random.default_rng(0)
    organs, drugs = ["foie", "rein", "coeur"], ["aspirine", "insuline", "morphine"]
    texts = []
    for _ in range(400):
        texts.append(f"le {draw.choice(organs)} est douloureux au toucher")
        texts.append(f"on donne {draw.choice(drugs)} matin et soir")
    words = sorted({word for text in texts for word in text.split()} | {"jamais"})
    vectors = piece_vectors(Cut(words), texts)
    place = {word: id for id, word in enumerate(words)}
    wanted = np.array([place["coeur"], place["morphine"], place["jamais"]])
    shared = np.array([id for word, id in place.items() if word not in ("coeur", "morphine", "jamais")])
    organ, drug, never = mixtures(vectors, wanted, shared)
    assert {words[i] for i in organ[0][np.argsort(-organ[1])[:2]]} == {"foie", "rein"}
    assert {words[i] for i in drug[0][np.argsort(-drug[1])[:2]]} == {"aspirine", "insuline"}
    assert len(never[0]) == 0
    assert np.array_equal(vectors, piece_vectors(Cut(words), texts))


@pytest.mark.parametrize("rows", ["overlap", "focus"])
def test_T19_shared_rows_and_special_tokens_are_copied_and_the_others_are_not_alike(
    rows: Any, build: Any, corpus: list[str]
) -> None:
    encoder = load(str(build("bert")))
    old = encoder.tokenizer
    table = encoder.model.get_input_embeddings().weight.detach().clone()
    new = learn_tokenizer(lambda: [*corpus, *["stéthoscope ganglions frissons"] * 40], len(old) + 40, old)
    vectors = piece_vectors(new, corpus) if rows == "focus" else None
    replaced, counts = replace_vocabulary(encoder, new, rows, vectors)
    now = replaced.model.get_input_embeddings().weight.detach()
    for role in ("pad", "unk", "cls", "sep", "mask"):
        here, there = getattr(new, f"{role}_token_id"), getattr(old, f"{role}_token_id")
        assert torch.equal(now[here], table[there])
    known = old.get_vocab()
    fresh = [id for piece, id in new.get_vocab().items() if piece not in known]
    for piece, id in new.get_vocab().items():
        if piece in known:
            assert torch.equal(now[id], table[known[piece]])
    assert counts.shared == len(new) - len(fresh)
    assert counts.averaged == 0 if rows == "overlap" else counts.averaged > 0
    likeness = torch.nn.functional.normalize(now[fresh]) @ torch.nn.functional.normalize(now[fresh]).T
    assert likeness.fill_diagonal_(0).max() < 0.999


def test_T19_a_false_friend_starts_from_other_pieces_and_lends_its_row_to_none(build: Any, corpus: list[str]) -> None:
    encoder = load(str(build("bert")))
    old = encoder.tokenizer
    table = encoder.model.get_input_embeddings().weight.detach().clone()
    new = learn_tokenizer(lambda: corpus, len(old) + 40, old)
    vectors = piece_vectors(new, corpus)
    known = old.get_vocab()
    friend = next(id for piece, id in new.get_vocab().items() if piece in known and vectors[id].any())
    there = known[new.convert_ids_to_tokens(friend)]
    with torch.no_grad():  # its meaning is told apart from all others
        encoder.model.get_input_embeddings().weight[there] = table[there] = 1e6
    replaced, counts = replace_vocabulary(encoder, new, "focus", vectors, false_friends={friend})
    now = replaced.model.get_input_embeddings().weight.detach()
    assert now[friend].abs().max() < 10
    assert counts.averaged >= 1
    described = [id for id in range(len(new)) if vectors[id].any()]
    assert now[described].abs().max() < 10


def test_vectors_are_the_same_each_time_where_the_text_says_little() -> None:
    """A matrix of low rank: the solver draws the vectors that it lacks."""
    words = [f"w{i}" for i in range(60)]
    texts = ["w0 w1 w2 w3", "w1 w0 w3 w2"] * 5
    first = piece_vectors(Cut(words), texts)
    for _ in range(4):
        assert np.array_equal(first, piece_vectors(Cut(words), texts))
