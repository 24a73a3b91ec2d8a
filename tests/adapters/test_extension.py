"""True extension: new pieces are reached, other words stay as they were, whatever the kind of tokenizer."""

import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import load
from medlingua.adapters.extension import Extension, extend
from medlingua.languages.errors import InputError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

KINDS = ["WordPiece", "BPE", "Unigram"]
GENERAL_WORDS = (
    "le la les un une des et en il elle est sont dans pour avec sur nous vous intense attention extension maison "
    "tension hyper tendre petite jardin histoire pressions confirmé firme note notes encore interne external "
    "hyperactif nez ne nerf étendue élève élevée bonne main demain travail année ano año Übung œuvre ville"
)
MEDICAL_WORDS = (
    "néphropathie néphropathies néphrectomie hypertension hypertensions tensiomètre échographie échographies "
    "œdème œdèmes fièvre fièvres hépatomégalie übelkeit niñez ictère thrombopénie thrombopénies anémie anémies "
    "scintigraphie angiographie coloscopie fibroscopie laparotomie cholécystite appendicite pancréatite péritonite "
    "créatininémie hyponatrémie hypokaliémie dyspnée tachycardie bradycardie cyanose splénectomie colectomie "
    "amoxicilline paracétamol héparine corticoïdes chimiothérapie radiothérapie métastase métastases carcinome"
)
GENERAL, MEDICAL = GENERAL_WORDS.split(), MEDICAL_WORDS.split()
SIZE = 80
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]


def general(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(GENERAL, k=14)).capitalize() + "." for _ in range(count)]


def medical(count: int, seed: int = 2) -> list[str]:
    """Notes in which medical words stand among general ones; each starts with one and has one in capitals."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        words = draw.choices(MEDICAL, k=8) + draw.choices(GENERAL, k=8)
        draw.shuffle(words)
        texts.append(f"{words[0].capitalize()} {' '.join(words[1:])}, {draw.choice(MEDICAL).upper()}.\n{words[3]}")
    return texts


def old(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer learnt on general text alone; every letter of the medical words is known to it."""
    letters = sorted(set("".join([*GENERAL, *MEDICAL]) + "".join([*GENERAL, *MEDICAL]).upper() + ".,0123456789"))
    common: dict[str, Any] = {"special_tokens": SPECIALS, "show_progress": False}
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=400, initial_alphabet=letters, **common)
    elif kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
        trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=260, initial_alphabet=letters, unk_token="<unk>", **common)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.train_from_iterator([*general(300), " ".join(letters), "".join(letters), "0123456789"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(s, tokenizer.token_to_id(s)) for s in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>",
        mask_token="<mask>",
    )  # fmt: skip


@cache
def _extended(kind: str) -> tuple[PreTrainedTokenizerFast, Extension]:
    before = old(kind)
    return before, extend(before, medical(400), SIZE)


@pytest.fixture(params=KINDS)
def pair(request: Any) -> tuple[PreTrainedTokenizerFast, Extension]:
    return _extended(request.param)


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_T5_every_new_piece_is_reached(pair: Any) -> None:
    """Each new piece is used by some text of the corpus; a step on the way (BPE) is counted, not hidden."""
    before, extension = pair
    new = extension.tokenizer
    used = {id for text in medical(400) for id in ids(new, text)}
    unused = [p for p in extension.pieces if new.convert_tokens_to_ids(p) not in used]
    assert len(unused) == extension.steps
    assert len(new) == len(before) + SIZE
    assert len(set(extension.pieces)) == SIZE


def test_T5_frequent_words_are_one_piece_and_plurals_share_their_stem(pair: Any) -> None:
    _, extension = pair
    new = extension.tokenizer
    word, plural = (ids(new, f"la {w}")[len(ids(new, "la")) :] for w in ("néphropathie", "néphropathies"))
    assert len(word) == 1
    assert len(plural) == 1 or plural[0] == word[0]


@settings(max_examples=200, deadline=None)
@given(text=st.lists(st.sampled_from([*GENERAL, *MEDICAL, "hypertendre", "intensions", "x", "5µg"]), max_size=12))
@pytest.mark.parametrize("kind", KINDS)
def test_T1_a_text_without_a_new_piece_is_cut_as_before(kind: str, text: list[str]) -> None:
    before, extension = _extended(kind)
    first = len(before)
    for word in text:
        line = f"la {word}"
        now = ids(extension.tokenizer, line)
        if all(id < first for id in now):
            assert now == ids(before, line)


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_T1_new_pieces_join_old_ones_and_cut_no_word_elsewhere(kind: str) -> None:
    """Undone to the pieces they were joined of, the new cuts are the old cuts: no boundary has moved."""
    before, extension = _extended(kind)
    for line in [*general(50, seed=7), *medical(50, seed=8)]:
        assert boundaries(extension.tokenizer, line) <= boundaries(before, line)


def written(extension: Extension) -> list[str]:
    """The new pieces as a person reads them."""
    new = extension.tokenizer
    return [new.decode([new.convert_tokens_to_ids(piece)]) for piece in extension.pieces]


def boundaries(tokenizer: Any, line: str) -> set[int]:
    encoding = tokenizer.backend_tokenizer.encode(line, add_special_tokens=False)
    return {place for start, end in encoding.offsets for place in (start, end)}


def test_the_parts_of_a_new_piece_are_the_old_pieces_that_stood_in_its_place(pair: Any) -> None:
    """In most words that have it; its text alone, after a letter that never stood there, may be cut otherwise."""
    before, extension = pair
    new = extension.tokenizer
    first = len(before)
    names = {id: piece for piece, id in new.get_vocab().items()}
    places: dict[str, Counter[tuple[int, ...]]] = {piece: Counter() for piece in extension.pieces}
    for text in medical(400):
        then, now = (t.backend_tokenizer.encode(text, add_special_tokens=False) for t in (before, new))
        for id, (start, end) in zip(now.ids, now.offsets, strict=True):
            if id >= first:
                inside = [i for i, (a, b) in zip(then.ids, then.offsets, strict=True) if a >= start and b <= end]
                places[names[id]][tuple(inside)] += 1
    seen = {piece: counts.most_common(1)[0][0] for piece, counts in places.items() if counts}
    assert len(seen) > SIZE // 2
    assert {piece: extension.parts[piece] for piece in seen} == seen
    assert set(extension.parts) == set(extension.pieces)


def test_T1_T4_general_text_takes_no_more_pieces(pair: Any) -> None:
    before, extension = pair
    for line in general(200, seed=9):
        assert len(ids(extension.tokenizer, line)) <= len(ids(before, line))


def test_T2_case_variants_and_words_inside_words(pair: Any) -> None:
    """A piece matches its own writing only: not in other case, not out of the middle of a word."""
    before, extension = pair
    new = extension.tokenizer
    assert len(ids(new, "la néphropathie")) < len(ids(before, "la néphropathie"))
    whole = ids(new, "la néphropathie")[-1]
    for other in ["la nephropathie", "la NÉPHROPATHIE", "la Néphropathie", "lanéphropathie", "antinéphropathie"]:
        assert whole not in ids(new, other)


def test_T3_decoding_gives_back_what_it_gave_before(pair: Any) -> None:
    before, extension = pair
    for line in [*medical(30, seed=3), *(f"la {w}" for w in "éèñüóçœßÉ"), "10⁹/L µg"]:
        was = before.decode(ids(before, line))
        assert extension.tokenizer.decode(ids(extension.tokenizer, line)) == was


def test_T4_the_corpus_is_shorter_by_the_reported_counts(pair: Any) -> None:
    before, extension = pair
    lines = [line for text in medical(400) for line in text.splitlines()]
    assert sum(len(ids(before, line)) for line in lines) == extension.corpus_pieces_old
    assert sum(len(ids(extension.tokenizer, line)) for line in lines) == extension.corpus_pieces_new
    assert extension.corpus_pieces_new < 0.6 * extension.corpus_pieces_old


@pytest.mark.parametrize("step", [-20.0, -10.0, -1.0, 0.0])
def test_T6_the_score_is_the_lowest_that_wins(step: float) -> None:
    """A hair below it, the piece is never used: its own best cut wins."""
    _, extension = _extended("Unigram")
    piece = max((p for p in extension.pieces if p.startswith("▁")), key=len)
    state = json.loads(extension.tokenizer.backend_tokenizer.to_str())
    place = next(i for i, (p, _) in enumerate(state["model"]["vocab"]) if p == piece)
    word = piece.removeprefix("▁")
    assert ids(extension.tokenizer, word) == [place]
    state["model"]["vocab"][place][1] += step - 1e-4 * (step == 0)
    lower = Tokenizer.from_str(json.dumps(state))
    assert place not in lower.encode(word, add_special_tokens=False).ids


def test_T8_T10_composed_text_and_unknown_signs_are_as_before(pair: Any) -> None:
    before, extension = pair
    new = extension.tokenizer
    for text in ["5µg de fièvre", "tensionµ", unicodedata.normalize("NFD", "fièvre élevée"), "a" * 101]:
        assert (new.unk_token_id in ids(new, text)) == (before.unk_token_id in ids(before, text))
    assert ids(new, unicodedata.normalize("NFD", "la fièvre")) == ids(new, "la fièvre")


def test_T15_special_tokens_keep_their_ids_and_frame_a_text(pair: Any) -> None:
    before, extension = pair
    new = extension.tokenizer
    for role in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(new, f"{role}_token_id") == getattr(before, f"{role}_token_id")
    framed = new("fièvre <mask>")["input_ids"]
    assert framed[0] == new.cls_token_id
    assert framed[-1] == new.sep_token_id
    assert new.mask_token_id in framed
    for piece, id in before.get_vocab().items():
        assert new.convert_tokens_to_ids(piece) == id
    assert sorted(new.get_vocab().values()) == list(range(len(new)))


def test_T17_an_extended_tokenizer_reads_back_the_same(pair: Any, tmp_path: Any) -> None:
    _, extension = pair
    extension.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for line in [*medical(50, seed=4), *general(50, seed=5)]:
        assert again(line)["input_ids"] == extension.tokenizer(line)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_T18_names_and_numbers_do_not_become_pieces(kind: str) -> None:
    # The same letter in twelve documents; its names are more frequent than any word of the notes.
    letter = " Madame Kowalczyk et Monsieur Vanderbroucke, dossier 2840775123456, vus le 12/03/1957." * 30
    extension = extend(old(kind), [*medical(100), *[letter] * 12], 30)
    text = " ".join(written(extension))
    assert not any(c.isdigit() for c in text)
    assert "owalc" not in text
    assert "derbrou" not in text
    assert any("numbers" in why for why in extension.refused)
    assert any("names" in why for why in extension.refused)


@pytest.mark.parametrize("kind", KINDS)
def test_T18_a_word_of_few_documents_is_no_piece(kind: str) -> None:
    rare = [" ".join(["splénomégalie"] * 200)] * 3  # frequent, in three documents
    extension = extend(old(kind), [*medical(100), *rare], 30)
    assert not any("nomég" in piece for piece in written(extension))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind: str) -> None:
    before = old(kind)
    first, second = (
        json.loads(extend(before, medical(60), 20).tokenizer.backend_tokenizer.to_str()) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_T5_inserted_pieces_may_cut_other_words(kind: str) -> None:
    before, appended = _extended(kind)
    inserted = extend(before, medical(400), SIZE, priority="insert")
    assert inserted.corpus_pieces_new < 0.7 * inserted.corpus_pieces_old
    changed = sum(ids(inserted.tokenizer, line) != ids(before, line) for line in general(200, seed=9))
    changed_by_appending = sum(ids(appended.tokenizer, line) != ids(before, line) for line in general(200, seed=9))
    assert changed >= changed_by_appending


def test_T5_wordpiece_has_no_priority() -> None:
    with pytest.raises(InputError, match=r"leave priority at 'append'"):
        extend(old("WordPiece"), medical(20), 5, priority="insert")


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_with_too_few_candidates_says_how_many_and_why(kind: str) -> None:
    with pytest.raises(InputError) as caught:
        extend(old(kind), medical(6), 4_000)
    message = str(caught.value)
    assert "the 4,000 requested" in message
    assert "in too few documents" in message
    assert "lower new_pieces, lower min_documents" in message


@pytest.mark.parametrize("kind", KINDS)
def test_T15_special_tokens_behind_the_vocabulary_keep_their_ids(kind: str) -> None:
    before = old(kind)
    before.add_special_tokens({"additional_special_tokens": ["<deid>"]})
    at = before.convert_tokens_to_ids("<deid>")
    assert at == len(before) - 1
    new = extend(before, medical(300), 20).tokenizer
    assert new("<deid>", add_special_tokens=False)["input_ids"] == [at]
    assert sorted(new.get_vocab().values()) == list(range(len(before) + 20))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_with_added_words_is_refused_with_the_reason(kind: str) -> None:
    spoilt = old(kind)
    spoilt.add_tokens(["tension", "fièvre"])
    with pytest.raises(InputError) as caught:
        extend(spoilt, medical(20), 5)
    assert "add_tokens" in str(caught.value)
    assert "'tension', 'fièvre'" in str(caught.value)
    assert "Repair the vocabulary first" in str(caught.value)


def test_a_kind_that_is_not_known_is_named() -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, "<unk>")))
    with pytest.raises(InputError, match="WordLevel"):
        extend(words, medical(5), 2)


def test_the_real_multilingual_tokenizer_is_extended_and_reads_back(
    shared_model: Callable[..., Any], tmp_path: Any
) -> None:
    encoder = load(str(shared_model("multilingual-mini")), head="fresh")
    before = encoder.tokenizer
    extension = extend(before, medical(300), 30)
    new = extension.tokenizer
    assert len(new) == len(before) + 30
    assert new.mask_token_id == before.mask_token_id
    for line in medical(50, seed=6):
        assert boundaries(new, line) <= boundaries(before, line)
