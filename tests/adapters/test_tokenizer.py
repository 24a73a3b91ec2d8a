"""What makes a tokenizer unfit, and new vocabularies."""

import unicodedata
from typing import Any

import pytest
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import load, save
from medlingua.adapters.tokenizer import (
    CLINICAL_SIGNS,
    check_fit,
    empty_tokenizer,
    kind_of,
    learn_tokenizer,
    lost_distinctions,
)
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

PAIRS = [
    ("pâle", "pale"), ("tâche", "tache"), ("interné", "interne"), ("sûr", "sur"), ("opéré", "opère"),
    ("año", "ano"), ("ingresó", "ingreso"), ("papá", "papa"), ("está", "esta"), ("schön", "schon"),
    ("Brüder", "Bruder"), ("drückt", "druckt"), ("SIDA", "sida"), ("IRM", "irm"), ("TA", "ta"),
]  # fmt: skip
MARKS = ["10⁹/L", "m²", "µg", "1ª", "2º", "½", "Na⁺", "Ⅳ"]
KINDS = ["WordPiece", "BPE", "Unigram"]
SIZES = {"WordPiece": 300, "BPE": 420, "Unigram": 460}


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def uncased(strip: bool) -> PreTrainedTokenizerFast:
    """An English BERT's tokenizer: lower-cased, accents stripped or not, every letter known."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=strip)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = [f"{a} {b}" for a, b in PAIRS] + ["tomó tomo Arm arm opere"]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        words, trainers.WordPieceTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.fixture
def learnt(new_word_pieces: Any, new_byte_pieces: Any, corpus: list[str]) -> dict[str, tuple[Any, Any]]:
    """kind -> (the old tokenizer, a new one), learnt on notes, pairs and marks."""
    texts = corpus + [f"{a} {b}" for a, b in PAIRS] + MARKS
    olds = {"WordPiece": new_word_pieces, "BPE": new_byte_pieces, "Unigram": empty_tokenizer("Unigram")}
    return {kind: (old, learn_tokenizer(lambda: texts, SIZES[kind], old)) for kind, old in olds.items()}


def test_T7_an_accent_stripping_tokenizer_loses_both_and_says_so() -> None:
    lost = lost_distinctions(uncased(strip=True), "fr")
    assert set(lost) == {"accents", "upper case"}
    with pytest.raises(InputError) as caught:
        check_fit(uncased(strip=True), "fr", "an/english-base")
    message = str(caught.value)
    assert "an/english-base" in message
    assert all(f"({example})" in message for example in lost.values())
    assert "--set adapt.vocabulary=replace" in message


@pytest.mark.parametrize(("language", "word"), [("fr", "pâle"), ("es", "año"), ("de", "schön")])
def test_T7_the_message_shows_words_of_the_language(language: str, word: str) -> None:
    assert word in lost_distinctions(uncased(strip=True), language)["accents"]


def test_T7_preserved_distinctions_are_not_called_lost() -> None:
    assert set(lost_distinctions(uncased(strip=False), "fr")) == {"upper case"}


def test_T7_a_cased_tokenizer_fits(new_byte_pieces: Any) -> None:
    assert lost_distinctions(new_byte_pieces, "fr") == {}
    check_fit(new_byte_pieces, "de", "a/base")


def test_T7_english_may_be_uncased() -> None:
    check_fit(uncased(strip=True), "en", "an/english-base")


def test_T7_the_real_english_base_is_refused_for_french(shared_model: Any) -> None:
    encoder = load(str(shared_model("english-clinical-mini")))
    with pytest.raises(InputError, match="accents"):
        check_fit(encoder.tokenizer, "fr", "english-clinical-mini")


@pytest.mark.parametrize("pair", PAIRS, ids="=".join)
@pytest.mark.parametrize("kind", KINDS)
def test_T7_a_new_vocabulary_tells_words_apart(kind: str, pair: tuple[str, str], learnt: Any) -> None:
    _, new = learnt[kind]
    left, right = (ids(new, word) for word in pair)
    assert left != right
    assert new.unk_token_id not in left + right
    assert lost_distinctions(new, "it") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_T8_composed_and_decomposed_text_give_the_same_ids(kind: str, learnt: Any, sample: list[str]) -> None:
    _, new = learnt[kind]
    for text in [*sample, *(word for pair in PAIRS for word in pair)]:
        assert ids(new, unicodedata.normalize("NFD", text)) == ids(new, unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("kind", KINDS)
def test_T9_clinical_marks_survive(kind: str, mark: str, learnt: Any) -> None:
    _, new = learnt[kind]
    assert new.unk_token_id not in ids(new, mark)
    assert new.decode(ids(new, mark)).replace(" ", "") == mark


@pytest.mark.parametrize("kind", KINDS)
def test_T18_no_number_becomes_a_piece(kind: str, new_word_pieces: Any, new_byte_pieces: Any, corpus: Any) -> None:
    letter = "Patient Kowalczyk, dossier 2840775123456, né en 1957, 38,5 °C"
    like = {"WordPiece": new_word_pieces, "BPE": new_byte_pieces, "Unigram": empty_tokenizer("Unigram")}[kind]
    new = learn_tokenizer(lambda: [*corpus, *[letter] * 50], SIZES[kind], like)
    pieces = [piece for piece in new.get_vocab() if sum(c.isdigit() for c in piece) > 1 and piece[:3] != "<0x"]
    assert pieces == []
    assert new.unk_token_id not in ids(new, "2840775123456")


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_vocabulary_is_of_the_same_kind_the_requested_size_and_frames_a_text(kind: str, learnt: Any) -> None:
    old, new = learnt[kind]
    assert kind_of(new) == kind_of(old) == kind
    assert len(new) == SIZES[kind]
    roles = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(new, f"{r}_token") for r in roles] == [getattr(old, f"{r}_token") for r in roles]
    assert [getattr(new, f"{r}_token_id") for r in roles] == [getattr(old, f"{r}_token_id") for r in roles]
    framed = new("Toux sèche.")["input_ids"]
    assert (framed[0], framed[-1]) == (new.cls_token_id, new.sep_token_id)
    pair = new("Toux.", "Fièvre.")["input_ids"]
    assert pair.count(new.sep_token_id) == 2
    assert ids(new, new.mask_token) == [new.mask_token_id]
    assert new.model_max_length == old.model_max_length


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_vocabulary(kind: str, learnt: Any, corpus: list[str]) -> None:
    old, _ = learnt[kind]
    first, again = (learn_tokenizer(lambda: corpus, SIZES[kind], old).get_vocab() for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", KINDS)
def test_T17_a_new_vocabulary_gives_the_same_ids_saved(kind: str, learnt: Any, sample: Any, build: Any) -> None:
    folder = build("bert" if kind == "WordPiece" else "roberta")
    encoder, _ = replace_vocabulary(load(str(folder)), learnt[kind][1])
    lines = [*sample, *MARKS, *(unicodedata.normalize("NFD", a) for a, _ in PAIRS)]
    save(encoder, folder / "out", sample=lines)
    saved = AutoTokenizer.from_pretrained(folder / "out")
    assert [saved(line)["input_ids"] for line in lines] == [encoder.tokenizer(line)["input_ids"] for line in lines]
    assert load(str(folder / "out")).length == encoder.length


def test_a_corpus_too_small_for_the_size_is_refused(new_word_pieces: Any) -> None:
    with pytest.raises(InputError, match=r"5,000 requested.*lower size"):
        learn_tokenizer(lambda: ["Toux sèche."], 5000, new_word_pieces)


def test_a_vocabulary_of_another_kind_is_refused_by_name() -> None:
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>")), unk_token="<unk>"
    )
    with pytest.raises(InputError, match=r"WordLevel cannot be replaced.*BPE, Unigram, WordPiece"):
        learn_tokenizer(lambda: ["Toux."], 100, words)


def test_T11_a_new_unigram_writes_any_character_by_its_bytes(learnt: Any) -> None:
    _, new = learnt["Unigram"]
    assert {f"<0x{byte:02X}>" for byte in range(256)} <= set(new.get_vocab())
    for text in ["漢字 и кириллица", "🩺", "\x00"]:
        assert new.unk_token_id not in ids(new, text)
    assert new.decode(ids(new, "🩺 漢")) == "🩺 漢"


def test_T11_a_unigram_too_small_for_its_bytes_and_letters_says_so() -> None:
    with pytest.raises(InputError, match=r"256 bytes.*ask for a size above"):
        learn_tokenizer(lambda: ["Toux."], 300, empty_tokenizer("Unigram"))


@pytest.mark.parametrize("kind", KINDS)
def test_T10_no_clinical_sign_is_unknown(kind: str, learnt: Any) -> None:
    new = learnt[kind][1]
    words = [form for sign in CLINICAL_SIGNS for form in (sign, f"5{sign}", f"mm{sign}", f"5 {sign}g")]
    assert [word for word in words if new.unk_token_id in new(word)["input_ids"]] == []
