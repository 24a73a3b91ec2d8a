"""Tokenizers that add_tokens spoilt, made whole."""

import copy

import pytest
import torch
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.extension import extend
from medlingua.adapters.fresh import random_encoder
from medlingua.adapters.repair import repair
from medlingua.languages.errors import InputError

from .test_extension import GENERAL, KINDS, MEDICAL, ids, medical, old

# Words that hold each other, one that the tokenizer has already, and two that no single piece can stand for.
WORDS = ["fièvre", "néphropathie", "néphro", "tension", "tensionnel", "maison"]
UNFIT = ["acide folique", "stade,3"]


@pytest.mark.parametrize("kind", KINDS)
def test_T1_T2_T3_added_words_become_pieces_and_cut_no_other_word(kind: str) -> None:
    before = old(kind)
    spoilt = copy.deepcopy(before)
    spoilt.add_tokens([*WORDS, *UNFIT])
    spoilt_words = ("hypertensions", "tensionnelle", "unetension")  # what there is to repair
    assert any(ids(spoilt, word) != ids(before, word) for word in spoilt_words)
    repaired, left = repair(spoilt)
    assert [word for word in left if word != "stade,3"] == ["acide folique"]
    for word in WORDS:
        assert len(ids(repaired, f"la {word}")) == len(ids(repaired, "la")) + 1
        assert repaired.decode(ids(repaired, f"la {word}")).strip() == f"la {word}"
    for word in GENERAL + MEDICAL:
        then, now = (ids(tokenizer, f"la {word}") for tokenizer in (before, repaired))
        if before.convert_ids_to_tokens(then) != repaired.convert_ids_to_tokens(now):
            assert word[0] in "fntm", word  # begins as an added word does
            assert len(now) < len(then)
    assert sorted(repaired.get_vocab().values()) == list(range(len(repaired)))
    assert repaired("la toux")["input_ids"][0] == repaired.cls_token_id
    assert len(extend(repaired, medical(300), 10).pieces) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_word_keeps_the_row_it_was_trained_with(kind: str) -> None:
    spoilt = old(kind)
    spoilt.add_tokens(WORDS)
    spoilt.add_special_tokens({"additional_special_tokens": ["<deid>"]})
    encoder = random_encoder("bert", "tiny", 64, 16, spoilt, seed=0)
    table = encoder.model.get_input_embeddings().weight.detach().clone()
    repaired, _ = repair(spoilt)
    replaced, _ = replace_vocabulary(encoder, repaired)
    rows = replaced.model.get_input_embeddings().weight
    assert len(rows) == len(repaired)
    for word in WORDS[:3]:  # the others were pieces before
        new = ids(repaired, f"la {word}")[-1]
        assert torch.equal(rows[new], table[spoilt.convert_tokens_to_ids(word)]), word
    marked = repaired("la <deid> fièvre")["input_ids"]
    assert torch.equal(rows[marked[-3]], table[spoilt.convert_tokens_to_ids("<deid>")])


def test_a_tokenizer_with_nothing_to_repair_is_refused() -> None:
    with pytest.raises(InputError, match="no word was added"):
        repair(old("BPE"))
