"""Pruning: the same cut, the same vectors, and no id left behind."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import load
from medlingua.adapters.pruning import prune
from medlingua.languages.cases import generate_cases
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from .test_extension import KINDS, general, ids, medical, old


@pytest.mark.parametrize("kind", KINDS)
def test_T15_texts_are_cut_the_same_and_every_id_follows(kind: str, tmp_path: Any) -> None:
    before = old(kind)
    texts = general(2, seed=11)
    pruned = prune(before, texts)
    assert len(pruned) < len(before)
    for text in texts:
        assert pruned.convert_ids_to_tokens(pruned(text)["input_ids"]) == before.convert_ids_to_tokens(
            before(text)["input_ids"]
        )
    framed = pruned("bonne note")["input_ids"]
    assert framed[0] == pruned.cls_token_id == pruned.get_vocab()["<s>"]
    assert framed[-1] == pruned.sep_token_id == pruned.get_vocab()["</s>"]
    for token in json.loads(pruned.backend_tokenizer.to_str())["added_tokens"]:
        assert pruned.get_vocab()[token["content"]] == token["id"]
    assert sorted(pruned.get_vocab().values()) == list(range(len(pruned)))
    pruned.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(texts)["input_ids"] == pruned(texts)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_T10_other_text_of_the_language_can_still_be_written(kind: str) -> None:
    before = old(kind)
    pruned = prune(before, general(5))
    for text in medical(40):
        unknown = pruned.unk_token_id in ids(pruned, text)
        assert unknown == (before.unk_token_id in ids(before, text))


@pytest.mark.parametrize("number", [2, 40])
@pytest.mark.parametrize("processor", ["bert", "roberta", "sequence"])
def test_T15_template_ids_of_every_kind_of_processor(processor: str, number: int) -> None:
    vocabulary = {f"w{i}": i for i in range(100)}
    vocabulary |= {"<unk>": 100, "<s>": 100 + number, "</s>": 101 + number}
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    first, last = (tokenizer.token_to_id(t) for t in ("<s>", "</s>"))
    frames: dict[str, Any] = {
        "bert": processors.BertProcessing(("</s>", last), ("<s>", first)),
        "roberta": processors.RobertaProcessing(("</s>", last), ("<s>", first)),
        "sequence": processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", first), ("</s>", last)]),
            ]
        ),
    }
    tokenizer.post_processor = frames[processor]
    before = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", cls_token="<s>", sep_token="</s>")
    pruned = prune(before, ["w7 w9 w70"])
    encoded = pruned("w9 w70")["input_ids"]
    assert encoded == [pruned.get_vocab()[t] for t in ("<s>", "w9", "w70", "</s>")]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_T11_byte_fallback_keeps_all_its_pieces(text: str) -> None:
    vocabulary = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("▁a", -2.5), ("▁autre", -4.0)]
    vocabulary += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    pruned = prune(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"), ["a a a"])
    assert "▁autre" not in pruned.get_vocab()
    assert pruned.unk_token_id not in ids(pruned, text)


def test_the_real_multilingual_model_pruned_to_french_gives_the_same_vectors(
    shared_model: Callable[..., Any],
) -> None:
    texts = [case.document.text for case in generate_cases(load_pack("fr"), 20, seed=3)]
    encoder = load(str(shared_model("multilingual-mini")), head="fresh")
    before = encoder.tokenizer
    pruned = prune(before, texts)
    assert len(pruned) < 0.5 * len(before)

    @torch.no_grad()
    def vectors(model: Any, tokenizer: Any) -> list[torch.Tensor]:
        return [
            model.base_model(torch.tensor([tokenizer(t, truncation=True, max_length=400)["input_ids"]]))[0]
            for t in texts[:4]
        ]

    expected = vectors(encoder.model, before)
    smaller, counts = replace_vocabulary(encoder, pruned)
    assert counts.shared == len(pruned)
    assert smaller.model.config.vocab_size == len(pruned)
    for was, now in zip(expected, vectors(smaller.model, pruned), strict=True):
        assert torch.equal(was, now)


def test_a_kind_that_is_not_known_is_named() -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, "<unk>")))
    with pytest.raises(InputError, match="WordLevel"):
        prune(words, ["a"])
