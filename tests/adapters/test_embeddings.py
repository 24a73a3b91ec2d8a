"""The rows of a new vocabulary."""

from typing import Any

import pytest
import torch
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.embeddings import replace_vocabulary, set_bias_to_frequencies
from medlingua.adapters.encoder import Encoder, load, save
from medlingua.adapters.extension import extend
from medlingua.adapters.packed import hidden_states, pack
from medlingua.adapters.tokenizer import learn_tokenizer
from medlingua.languages.cases import generate_cases
from medlingua.languages.pack import load_pack
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

FAMILIES = sorted(ARCHITECTURES)
WORDS = ["stéthoscope", "électrocardiogramme", "hépatosplénomégalie", "ganglions", "frissons"]


class Replaced:
    """An encoder before and after, its tables copied first: the model is changed in place."""

    def __init__(self, folder: Any, corpus: list[str], new: Any = None) -> None:
        encoder = load(str(folder))
        self.old = encoder.tokenizer
        self.new = new or learn_tokenizer(lambda: [*corpus, *WORDS * 40], len(self.old) + 60, self.old)
        self.table, self.output, self.bias = (x if x is None else x.detach().clone() for x in weights(encoder))
        self.encoder, self.counts = replace_vocabulary(encoder, self.new)
        self.now = weights(self.encoder)
        before, after = self.old.get_vocab(), self.new.get_vocab()
        self.shared = sorted((before[piece], id) for piece, id in after.items() if piece in before)
        self.fresh = {piece: id for piece, id in after.items() if piece not in before}


def weights(encoder: Encoder) -> tuple[Any, Any, Any]:
    _, decoder = encoder.architecture.head(encoder.model)
    return encoder.model.get_input_embeddings().weight, decoder.weight, decoder.bias


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_rows_are_copied_exactly_and_every_row_is_counted(family: str, build: Any, corpus: Any) -> None:
    r = Replaced(build(family), corpus)
    then, now = (torch.tensor(ids) for ids in zip(*r.shared, strict=True))
    assert len(then) > 100
    assert torch.equal(r.now[0][now], r.table[then])
    assert torch.equal(r.now[1][now], r.output[then])
    assert r.counts.shared == len(r.shared)
    assert r.counts.shared + r.counts.averaged + r.counts.fallback == len(r.new)
    assert r.counts.averaged > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_T14_the_config_fits_the_tokenizer(family: str, build: Any, corpus: Any) -> None:
    r = Replaced(build(family), corpus)
    config = r.encoder.model.config
    assert config.vocab_size == len(r.new) == len(r.now[0]) == len(r.now[1])
    assert r.encoder.tokenizer is r.new
    assert config.pad_token_id == r.new.pad_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_T13_the_bias_is_carried(family: str, build: Any, corpus: Any) -> None:
    r = Replaced(build(family), corpus)
    if r.bias is None:
        assert r.now[2] is None
        return
    then, now = (torch.tensor(ids) for ids in zip(*r.shared, strict=True))
    assert torch.equal(r.now[2][now], r.bias[then])
    assert (r.now[2][list(r.fresh.values())] != 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_C14_tied_stays_tied_and_untied_stays_untied_and_reloads(
    family: str, build: Any, corpus: Any, sample: list[str]
) -> None:
    folder = build(family)
    r = Replaced(folder, corpus)
    tied = r.encoder.model.config.tie_word_embeddings
    assert (r.now[0].data_ptr() == r.now[1].data_ptr()) == tied
    save(r.encoder, folder / "out", sample=sample)
    for mine, again in zip(r.now, weights(load(str(folder / "out"))), strict=True):
        assert (mine is None and again is None) or torch.equal(mine, again)


@pytest.mark.parametrize("family", ["bert", "roberta", "eurobert"])
def test_a_new_row_is_the_mean_of_the_old_pieces_of_its_text(family: str, build: Any, corpus: Any) -> None:
    r = Replaced(build(family), corpus)
    seen = 0
    for piece, id in r.fresh.items():
        text = piece if family == "bert" else r.new.backend_tokenizer.decoder.decode([piece])
        begins = not piece.startswith("##") if family == "bert" else text.startswith(" ")
        if not begins or not text.strip().isalpha() or r.old.unk_token_id in r.old(text)["input_ids"]:
            continue
        pieces = r.old(text, add_special_tokens=False)["input_ids"]
        for now, then in zip(r.now[:2], (r.table, r.output), strict=True):
            torch.testing.assert_close(now[id], then[pieces].mean(dim=0))
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_continuation_is_cut_as_the_end_of_a_word(family: str, build: Any, corpus: Any) -> None:
    """ "-aire" starts from the pieces that follow a first letter, not from those that begin a word."""
    r = Replaced(build(family), corpus)
    letter = r.old.convert_tokens_to_ids("a")
    seen = 0
    for piece, id in r.fresh.items():
        inside = piece.removeprefix("##") if piece.startswith("##") or family == "roberta" else ""
        if not (inside.isascii() and inside.isalpha()):
            continue
        first, *rest = r.old(f"a{inside}", add_special_tokens=False)["input_ids"]
        if first == letter and r.old.unk_token_id not in rest:
            torch.testing.assert_close(r.now[0][id], r.table[rest].mean(dim=0))
            seen += 1
    assert seen > 0


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_piece_of_an_extension_starts_from_its_parts(family: str, build: Any, corpus: list[str]) -> None:
    encoder = load(str(build(family)))
    old = encoder.tokenizer
    table = weights(encoder)[0].detach().clone()
    extension = extend(old, corpus, 15, min_documents=2)
    changed, counts = replace_vocabulary(encoder, extension.tokenizer, parts=extension.parts)
    now = weights(changed)[0]
    assert counts.averaged == 15
    for piece, parts in extension.parts.items():
        id = extension.tokenizer.convert_tokens_to_ids(piece)
        torch.testing.assert_close(now[id], table[list(parts)].mean(dim=0))


@pytest.mark.parametrize("family", ["bert", "modernbert", "eurobert"])
def test_T12_new_rows_are_not_all_alike_and_are_the_same_each_time(family: str, build: Any, corpus: Any) -> None:
    folder = build(family)
    first = Replaced(folder, corpus)
    again = Replaced(folder, corpus, first.new)
    assert torch.equal(first.now[0], again.now[0])
    rows = normalize(first.now[0][list(first.fresh.values())], dim=-1)
    cosines = (rows @ rows.T - torch.eye(len(rows))).abs()
    assert cosines.median() < 0.9
    assert len(rows.unique(dim=0)) > 0.8 * len(rows)


def test_specials_are_matched_by_role_not_by_string(build: Any, corpus: list[str], new_byte_pieces: Any) -> None:
    """A BERT that takes a byte-level vocabulary: [MASK] becomes <mask>, wherever it stands."""
    encoder = load(str(build("bert")))
    old = encoder.tokenizer
    table = weights(encoder)[0].detach().clone()
    encoder, _ = replace_vocabulary(encoder, learn_tokenizer(lambda: corpus, 400, new_byte_pieces))
    now = weights(encoder)[0]
    for role in ("pad", "unk", "cls", "sep", "mask"):
        name = f"{role}_token_id"
        assert torch.equal(now[getattr(encoder.tokenizer, name)], table[getattr(old, name)]), role
    assert encoder.model.config.pad_token_id == encoder.tokenizer.pad_token_id != old.pad_token_id


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_T13_a_fresh_bias_gives_the_pieces_their_frequencies(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    counts = torch.arange(len(encoder.tokenizer)) % 7
    set_bias_to_frequencies(encoder, counts)
    shares = weights(encoder)[2].softmax(0)
    torch.testing.assert_close(shares, (counts + 1) / (counts + 1).sum(), atol=1e-6, rtol=1e-4)


def test_T13_before_training_new_pieces_get_about_the_mass_of_their_share(shared_model: Any) -> None:
    """On a real masked-LM: within a factor of three, where words at random places are hidden."""
    encoder = load(str(shared_model("english-clinical-mini")))
    texts = [case.document.text for case in generate_cases(load_pack("en"), 80, seed=5)]
    old = len(encoder.tokenizer)
    encoder, _ = replace_vocabulary(encoder, extend(encoder.tokenizer, texts, 60).tokenizer)
    draw = torch.Generator().manual_seed(0)
    mass, wanted = 0.0, 0
    for text in texts[:30]:
        ids = torch.tensor(encoder.tokenizer(text, truncation=True, max_length=300)["input_ids"])
        hidden = torch.rand(len(ids), generator=draw) < 0.15
        shown = torch.where(hidden, encoder.tokenizer.mask_token_id, ids)
        packed = pack([shown.numpy()], encoder.first_position)
        with torch.no_grad():
            transform, decoder = encoder.architecture.head(encoder.model)
            shares = decoder(transform(hidden_states(encoder, packed)[hidden])).softmax(-1)
        mass += float(shares[:, old:].sum())
        wanted += int((ids[hidden] >= old).sum())
    assert wanted > 20
    assert 1 / 3 < mass / wanted < 3


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_old_logits_are_unchanged_on_text_without_a_new_piece(family: str, build: Any, corpus: Any) -> None:
    encoder = load(str(build(family)))
    extension = extend(encoder.tokenizer, corpus, 5, min_documents=2)
    text = next(t for t in corpus if max(extension.tokenizer(t)["input_ids"]) < len(encoder.tokenizer))
    ids = torch.tensor([encoder.tokenizer(text)["input_ids"]])
    old = len(encoder.tokenizer)
    with torch.no_grad():
        before = encoder.model(ids).logits.clone()
        extended, counts = replace_vocabulary(encoder, extension.tokenizer)
        after = extended.model(torch.tensor([extension.tokenizer(text)["input_ids"]])).logits
    assert counts.shared == old
    assert after.shape[-1] == old + 5
    torch.testing.assert_close(after[..., :old], before, atol=1e-5, rtol=1e-5)


def test_the_vocabulary_is_built_once_not_at_every_piece(build: Any, corpus: Any, monkeypatch: Any) -> None:
    """transformers makes a new dictionary at each call: once a piece would take minutes at 30,000 pieces."""
    encoder, calls = load(str(build("bert"))), []
    get_vocab = PreTrainedTokenizerFast.get_vocab
    new = learn_tokenizer(lambda: corpus, 300, encoder.tokenizer)
    monkeypatch.setattr(PreTrainedTokenizerFast, "get_vocab", lambda self: calls.append(1) or get_vocab(self))
    replace_vocabulary(encoder, new)
    assert len(calls) < 5
