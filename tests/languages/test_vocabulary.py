"""What a tokenizer does to a language: counted against a plain count, and audits that find what is lost."""

import gzip
from pathlib import Path

import pytest
from medlingua.languages import vocabulary
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, Terms, load_pack
from medlingua.languages.terms import CHAPTERS, OTHER, Term, chapter_of, read_terms
from medlingua.languages.words import words
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from .conftest import needs_data

PIECES = ["[UNK]", "hyper", "##tension", "tension", "le", "patient", "a", "une", "douleur", "pale", "1957", "28407"]


def word_piece(*more: str, strip: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate([*PIECES, *more])}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=strip, strip_accents=strip)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


TEXTS = ["le patient a une hypertension", "le patient a une douleur"]


def test_pieces_per_word_is_what_a_plain_count_gives() -> None:
    tokenizer = word_piece()
    row = vocabulary.pieces_per_word({"t": tokenizer}, {"c": TEXTS}, "fr").iloc[0]
    counted = sum(len(words(text, "fr")) for text in TEXTS)
    pieces = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS)
    assert (row["words"], row["pieces"]) == (counted, pieces) == (10, 11)
    assert row["pieces_per_word"] == pytest.approx(1.1)
    assert row["in_one_piece"] == pytest.approx(0.9)
    assert row["unknown"] == 0
    assert row["words_in_512"] == int(510 / 1.1)


def test_a_tokenizer_is_read_without_the_length_it_was_saved_with(tmp_path: Path) -> None:
    tokenizer = word_piece()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = vocabulary.read_tokenizer(tmp_path)
    assert read.encode("le patient a une douleur").tokens == ["le", "patient", "a", "une", "douleur"]
    assert read.encode("le").tokens == ["le"]


def test_a_corpus_without_words_is_named() -> None:
    with pytest.raises(InputError, match="corpus empty"):
        vocabulary.pieces_per_word({"t": word_piece()}, {"empty": [" "]}, "fr")


def test_medical_words_by_group_and_the_longest_broken() -> None:
    terms = [Term("Hypertension", "hypertension", "vessels", "IX"), Term("douleur tension", "pain", "signs", "XVIII")]
    frame = vocabulary.medical_words({"t": word_piece()}, terms, "fr")
    assert set(frame["word"]) == {"hypertension", "douleur", "tension"}
    share = vocabulary.one_piece_share(frame).iloc[0]
    assert share["in_one_piece"] == pytest.approx(2 / 3)
    by_group = vocabulary.one_piece_share(frame, by_group=True).set_index("group")["in_one_piece"]
    assert dict(by_group) == {"vessels": 0.0, "signs": 1.0}
    broken = vocabulary.longest_broken(frame, "t", 1).iloc[0]
    assert (broken["word"], broken["cut"]) == ("hypertension", "hyper|tension")


def test_medical_words_by_the_chapter_of_their_code() -> None:
    terms = [Term("Hypertension", "hypertension", "vessels", "IX"), Term("douleur tension", "pain", "signs", "")]
    frame = vocabulary.medical_words({"t": word_piece()}, terms, "fr", by="icd10")
    assert list(zip(frame["word"], frame["group"], strict=True)) == [("hypertension", "IX")]


def test_no_terms_give_frames_without_rows() -> None:
    frame = vocabulary.medical_words({"t": word_piece()}, [], "fr")
    assert vocabulary.one_piece_share(frame).empty
    assert vocabulary.one_piece_share(frame, by_group=True).empty
    assert vocabulary.longest_broken(frame, "t").empty


def test_effective_lengths_take_all_corpora_together_and_tell_the_gain() -> None:
    shorter = word_piece("hypertension")
    corpora = {"one": TEXTS, "two": ["une hypertension"]}
    counted = vocabulary.pieces_per_word({"old": word_piece(), "new": shorter}, corpora, "fr")
    frame = vocabulary.effective_lengths(counted, "old")
    assert list(frame["pieces"]) == [*vocabulary.LENGTHS] * 2
    # 12 words: 14 pieces with the old one, 12 with the new one.
    assert list(frame["words"])[::3] == [int(510 * 12 / 14), 510]
    assert frame["gain"].iloc[0] == 0
    assert frame["gain"].iloc[-1] == pytest.approx(14 / 12 - 1)
    with pytest.raises(InputError, match=r"other: not among .*: old, new"):
        vocabulary.effective_lengths(counted, "other")


def test_changes_lists_the_words_that_are_cut_otherwise_and_no_other() -> None:
    frame = vocabulary.changes(word_piece(), word_piece("hypertension"), TEXTS, "fr")
    assert list(frame["word"]) == ["hypertension"]
    assert list(frame["fewer"]) == [1]
    assert frame.attrs["words"] == 10
    assert vocabulary.shares_changed(frame) == (pytest.approx(0.1), 0)
    back = vocabulary.changes(word_piece("hypertension"), word_piece(), TEXTS, "fr")
    assert vocabulary.shares_changed(back) == (pytest.approx(0.1), pytest.approx(0.1))


def test_overlap_is_by_what_pieces_stand_for() -> None:
    frame = vocabulary.overlap({"small": word_piece(), "large": word_piece("foie", "rein")})
    assert frame.loc["small", "large"] == 1
    # tension and ##tension stand for the same letters.
    assert frame.loc["large", "small"] == pytest.approx(11 / 13)


def test_overlap_of_two_kinds_leaves_the_marks_of_words_aside() -> None:
    pieces = ["<unk>", "▁hyper", "tension", "▁tension", "▁foie"]
    unigram = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    frame = vocabulary.overlap({"unigram": unigram, "wordpiece": word_piece("foie")})
    assert frame.loc["unigram", "wordpiece"] == pytest.approx(3 / 4)  # all but <unk>


def test_entities_are_counted_by_label() -> None:
    text = "le patient a une hypertension"
    gold = (Span.of(17, 29, "DISO"), Span.of(3, 10, "LIVB"))
    frame = vocabulary.entity_splits({"t": word_piece()}, [Example("e", Document("e", text, "s"), gold)])
    rows = frame.set_index("label")
    assert rows.loc["DISO", "pieces"] == 2
    assert rows.loc["LIVB", "in_one_piece"] == 1


@pytest.mark.parametrize(("language", "written", "read"), [("fr", "pâle", "pale"), ("fr", "TA", "ta")])
def test_T7_the_audit_shows_the_meaning_that_an_accent_stripper_loses(language: str, written: str, read: str) -> None:
    letters = [c for c in "abcdefghijklmnopqrstuvwxyzâéèœûµ⁹²⁺½≤≥,/0123456789" for c in (c, f"##{c}")]
    loses, keeps = word_piece(*letters, strip=True), word_piece(*letters)
    frame = vocabulary.audit({"loses": loses, "keeps": keeps}, load_pack(language))
    merged = frame[(frame["finding"] == "merged") & (frame["written"] == written)]
    assert list(merged["tokenizer"]) == ["loses"]
    assert read in merged["meaning"].iloc[0]


def test_T7_the_audit_asks_for_the_words_of_the_pack_and_for_those_of_all_where_it_has_none() -> None:
    loses = {"loses": word_piece(*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "eahinoprtu"), strip=True)}
    italian, english = (set(vocabulary.audit(loses, load_pack(code))["meaning"]) for code in ("it", "en"))
    assert "metà is read as meta" in italian
    assert "pâle is read as pale" not in italian
    assert {"metà is read as meta", "pâle is read as pale"} <= english
    both = set(vocabulary.audit(loses, load_pack("it"), load_pack("fr"))["meaning"])
    assert both >= {"metà is read as meta", "pâle is read as pale"}


def test_T9_the_audit_finds_nfkc() -> None:
    letters = [c for c in "abcdefghijklmnopqrstuvwxyzANST⁹L²m⁺½≤≥μµ,/0123456789" for c in (c, f"##{c}")]
    tokenizer = word_piece(*letters)
    tokenizer.normalizer = normalizers.NFKC()
    meanings = vocabulary.audit({"t": tokenizer}, load_pack("fr")).set_index("written")["meaning"]
    assert meanings["10⁹/L"] == "10⁹/L is read as 109/L"
    assert meanings["m²"] == "m² is read as m2"


def test_T10_T8_the_audit_finds_what_cannot_be_written_and_decomposed_text() -> None:
    findings = vocabulary.audit({"t": word_piece("p", "##â", "##l", "##e")}, load_pack("fr"))
    assert "unknown" in set(findings[findings["written"] == "5 µg"]["finding"])
    assert "NFD differs" in set(findings[findings["written"] == "pâle"]["finding"])


def test_T18_numbers_that_the_vocabulary_gives_away() -> None:
    assert vocabulary.identifiers(word_piece("##99887")) == ["28407", "99887"]


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        vocabulary.read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        vocabulary.read_tokenizer(tmp_path)


# --- terms ------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def pack(*paths: str) -> Pack:
    terms = tuple(Terms(name=f"list{i}", path=path) for i, path in enumerate(paths))
    return Pack(code="fr", name="Français", spacy="fr", terms=terms, folder=Path())


def test_terms_have_their_branch_and_their_chapter(tmp_path: Path) -> None:
    write(tmp_path / "d.tsv.gz", "en\tlang\ttranslation\torigin\nFlu\tfr\tGrippe\tx\nFlu\tde\tGrippe!\tx\n")
    write(
        tmp_path / "b.tsv.gz",
        "subject_id\ttranslation_language\tpredicate_id\tsource_value\ttranslation_value\n"
        "HP:1\tfr\trdfs:label\tPallor\tPâleur\nHP:1\tfr\tIAO:1\tBeing pale\tÊtre pâle\n",
    )
    write(
        tmp_path / "terms/doid/HumanDO.tsv.gz",
        "id\tlabel\tsubClassOf\n1\tflu\tviral disease\n2\tviral disease\tinfection\n3\tinfection\tdisease\n",
    )
    write(tmp_path / "terms/doid/ICD10inDO.tsv.gz", "id\tlabel\txrefs\n1\tflu\tICD10CM:J11\n")
    terms = read_terms(pack("d.tsv.gz", "b.tsv.gz", "not_there.tsv.gz"), tmp_path)
    assert terms == [Term("Grippe", "Flu", "infection", "X"), Term("Pâleur", "Pallor", OTHER, "")]


@pytest.mark.parametrize(
    ("codes", "chapter"),
    [
        (("A00", "B99.9"), "I"), (("C00", "D48.9", "D49"), "II"), (("D50", "D89.3"), "III"), (("H59.0",), "VII"),
        (("H60", "H95"), "VIII"), (("I10-I16", "i99"), "IX"), (("S00", "T98.3"), "XIX"), (("V01", "Y98"), "XX"),
        (("Z00",), "XXI"), (("U07.1",), "XXII"), (("O9A.21",), "XV"), (("", "QA0.0151", "1C00"), ""),
    ],
)  # fmt: skip
def test_a_code_lies_in_its_chapter(codes: tuple[str, ...], chapter: str) -> None:
    assert {chapter_of(code) for code in codes} == {chapter}
    assert not chapter or chapter in CHAPTERS


def test_a_dictionary_with_wrong_columns_says_which_it_needs(tmp_path: Path) -> None:
    write(tmp_path / "d.tsv.gz", "word\tmeaning\nflu\tgrippe\n")
    with pytest.raises(InputError) as caught:
        read_terms(pack("d.tsv.gz"), tmp_path)
    message = str(caught.value)
    assert "d.tsv.gz, line 2" in message
    assert "en, lang and translation" in message
    assert "among its 2 columns" in message
    assert "word" not in message  # of a table without a header they are its first row
    assert caught.value.text == "word, meaning"


def test_no_terms_at_all_names_the_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d\.tsv\.gz"):
        read_terms(pack("d.tsv.gz"), tmp_path)


@needs_data
def test_the_real_terms_of_three_languages(data: Path) -> None:
    for code, some in (("fr", "syndactylie"), ("es", "sindactilia"), ("de", "syndaktylie")):
        assert any(some in term.text.lower() for term in read_terms(load_pack(code), data)), code
