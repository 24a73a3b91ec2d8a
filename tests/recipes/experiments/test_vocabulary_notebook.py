"""What the notebooks call: what is held out, what is refused, what an extension is said to change."""

from pathlib import Path

import pytest
from medlingua.adapters.tokenizer import empty_tokenizer, learn_tokenizer
from medlingua.languages import vocabulary
from medlingua.languages.errors import InputError
from medlingua.recipes.experiments import vocabulary_notebook as study
from medlingua.recipes.experiments.vocabulary import by_name
from medlingua.recipes.experiments.vocabulary_notebook import Material
from tokenizers import normalizers

from ..conftest import cases, write_jsonl


@pytest.fixture(scope="module")
def given() -> Material:
    return study.gather("fr", None)


@pytest.fixture(scope="module")
def tokenizers(given: Material) -> study.Opened:
    return study.learnt("WordPiece", [given], 900)


def test_held_out_documents_are_a_fifth_and_none_is_learnt_on(given: Material) -> None:
    learn, held = (set(given.learn["synthetic cases"]), set(given.held["synthetic cases"]))
    assert (len(learn), len(held)) == (96, 24)
    assert not learn & held


def test_a_document_that_occurs_twice_is_not_held_out(tmp_path: Path) -> None:
    texts = cases(20)
    texts[5] = texts[1]  # the sixth would be held out, but the second is learnt on
    (tmp_path / "corpora/fr").mkdir(parents=True)
    plain = write_jsonl(tmp_path / "notes.jsonl", texts)
    compressed = tmp_path / "corpora/fr/e3c_pamj_fr.jsonl.zst"
    import zstandard

    compressed.write_bytes(zstandard.compress(plain.read_bytes()))
    given = study.gather("fr", tmp_path)
    assert given.held == {"e3c_pamj_fr": [texts[0], texts[10], texts[15]]}
    assert study.label(given) == "fr, real text"
    assert "English, synthetic cases" in given.other
    assert [note for note in given.notes if note.startswith("no terms in this data root")]


def test_what_gather_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        study.gather("fr", tmp_path / "nowhere")
    with pytest.raises(InputError, match="no corpus of language fr"):
        study.gather("fr", tmp_path)


def test_synthetic_text_among_real_text_is_labelled(given: Material) -> None:
    assert study.label(given) == "fr, SYNTHETIC text"
    assert "SYNTHETIC" in "\n".join(given.notes)


def test_an_extension_is_measured_on_held_out_text(given: Material, tokenizers: study.Opened) -> None:
    ((name, old),) = tokenizers.items()
    extended = study.extensions(tokenizers, given, 100, 5)
    assert list(extended.named) == ["new fr WordPiece, 900 + 100"]
    new = extended.after[name]
    assert len(new) == len(old) + 100
    counts = [
        sum(len(t.backend_tokenizer.encode(text, add_special_tokens=False).ids) for text in given.held_texts)
        for t in (old, new)
    ]
    assert list(extended.counted["pieces"]) == counts
    assert counts[1] < counts[0]
    assert list(extended.counted["state"]) == ["before", "after"]
    held, english = extended.recut.itertuples(index=False)
    assert (held.text, english.text) == ("held out", "English, synthetic cases")
    assert 0 < held.changed < 1
    assert english.changed < held.changed
    assert set(extended.examples.columns) == {"tokenizer", "word", "count", "old", "new"}


def test_a_tokenizer_that_loses_accents_is_named_and_not_extended(given: Material) -> None:
    stripping = learn_tokenizer(lambda: given.learn_texts, 900, empty_tokenizer("WordPiece"))
    stripping.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    extended = study.extensions({"uncased": stripping}, given, 100, 5)
    assert (extended.after, len(extended.counted), len(extended.recut), len(extended.examples)) == ({}, 0, 0, 0)
    assert extended.notes[0].startswith("not extended: uncased: its tokenizer loses accents")


def test_without_folders_three_kinds_are_learnt(given: Material) -> None:
    learnt = study.tokenizers_of([""], [given], 900)
    assert list(learnt) == [f"new fr {kind}, 900" for kind in ("WordPiece", "BPE", "Unigram")]
    assert all(len(tokenizer) == 900 for tokenizer in learnt.values())


def test_side_by_side_has_a_row_for_each_variant(given: Material, tokenizers: study.Opened) -> None:
    extended = study.extensions(tokenizers, given, 100, 5)
    rows = study.side_by_side(tokenizers, extended.after, study.learnt("BPE", [given], 900), given)
    assert list(rows["variant"]) == ["as it is", "extended", "new"]
    as_it_is, longer, _ = rows.itertuples(index=False)
    assert as_it_is.tokenizer == longer.tokenizer
    assert longer.pieces_per_word < as_it_is.pieces_per_word
    assert longer.words_in_512 > as_it_is.words_in_512
    assert rows["medical_in_one_piece"].isna().all()
    findings = vocabulary.audit(study.pipelines(tokenizers), given.pack)
    assert as_it_is.findings == len(findings)


def test_folders_that_end_alike_keep_their_whole_names() -> None:
    assert by_name(("a/model", "b/model", "c/tiny")) == {"a/model": "a/model", "b/model": "b/model", "tiny": "c/tiny"}
