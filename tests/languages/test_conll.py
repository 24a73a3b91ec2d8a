"""CoNLL in the columns and tags that are about."""

from pathlib import Path

import pytest
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.readers.conll import read_conll


def read(folder: Path, lines: list[str], end: str = "\n", label_column: int | None = None) -> list[Example]:
    (folder / "a.conll").write_bytes((end.join(lines) + end).encode())
    return list(read_conll(folder / "a.conll", source="s", label_column=label_column))


def entities(example: Example) -> list[tuple[str, str]]:
    assert isinstance(example.gold, tuple)
    return [(span.surface(example.document.text), span.label) for span in example.gold]


COUGH = [("toux sèche", "DISO")]


@pytest.mark.parametrize(
    "lines",
    [
        ["une O", "toux B-DISO", "sèche I-DISO"],
        ["une\tO", "toux\tB-DISO", "sèche\tI-DISO"],
        ["une DA O", "toux NC B-DISO", "sèche AQ I-DISO"],  # CoNLL-2002
        ["-DOCSTART- -X- -X- O", "", "une NN X O", "toux NN X B-DISO", "sèche NN X I-DISO"],  # as CoNLL-2003
        ["une O", "toux I-DISO", "sèche I-DISO"],  # IOB1
        ["une\tO", "toux\tB-DISO", "sèche\tE-DISO"],  # BIOES
        ["une\tO", "toux\tB-DISO", "sèche\tL-DISO"],  # BILOU
        ["# global.columns = FORM TAG", "une\tO", "toux\tB-DISO", "sèche\tI-DISO"],  # CoNLL-U Plus
        ["# text = une toux sèche", "une O", "toux B-DISO", "sèche I-DISO"],
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_schemes_say_the_same(lines: list[str], end: str, tmp_path: Path) -> None:
    (example,) = read(tmp_path, lines, end)
    assert example.document.text == "une toux sèche"
    assert entities(example) == COUGH


def test_single_tokens_and_neighbours_of_bioes(tmp_path: Path) -> None:
    (example,) = read(tmp_path, ["a S-X", "b B-X", "c I-X", "d E-X", "e I-X", "f U-Y", "g B-Y", "h B-Y"])
    assert entities(example) == [("a", "X"), ("b c d", "X"), ("e", "X"), ("f", "Y"), ("g", "Y"), ("h", "Y")]


def test_tags_without_a_label_are_entities(tmp_path: Path) -> None:
    (example,) = read(tmp_path, ["une\tO", "toux\tB", "sèche\tI", "fièvre\tB"])
    assert entities(example) == [("toux sèche", "entity"), ("fièvre", "entity")]


def test_two_columns_of_tags_need_a_label_column(tmp_path: Path) -> None:
    lines = ["une B-NP O", "toux I-NP B-DISO", "sèche I-NP I-DISO"]
    with pytest.raises(InputError, match=r"a\.conll: columns 2 and 3 hold tags.*label_column = 3"):
        read(tmp_path, lines)
    assert entities(read(tmp_path, lines, label_column=3)[0]) == COUGH
    assert entities(read(tmp_path, lines, label_column=2)[0]) == [("une toux sèche", "NP")]


def test_docstart_is_a_border_of_documents_and_no_text(tmp_path: Path) -> None:
    first, second = read(
        tmp_path, ["-DOCSTART-\tO", "", "Il\tO", "tousse\tB-DISO", "", "Oui\tO", "", "-DOCSTART-\tO", "", "Elle\tO"]
    )
    assert (first.document.text, second.document.text) == ("Il tousse\nOui", "Elle")
    assert entities(first) == [("tousse", "DISO")]
    one, other = read(tmp_path, ["-DOCSTART-\tO", "", "Il\tO", "tousse\tB-DISO", "", "Oui\tO"])  # divides nothing
    assert (one.document.text, other.document.text) == ("Il tousse", "Oui")


def test_labels_with_spaces(tmp_path: Path) -> None:
    (example,) = read(tmp_path, ["une\tO", "toux\tB-Sign or Symptom", "sèche\tI-Sign or Symptom"])
    assert entities(example) == [("toux sèche", "Sign or Symptom")]
    with pytest.raises(InputError, match=r"line 2: 3 columns, and line 1 has 2; separate them by tabs") as raised:
        read(tmp_path, ["Madame O", "Jeanne B-Nom propre", "Duval I-Nom propre"])
    assert "Jeanne" not in str(raised.value)


def test_a_token_may_be_a_no_break_space(tmp_path: Path) -> None:
    (example,) = read(tmp_path, ["une\tO", "\u00a0\tO", "toux\tB-DISO", "sèche\tI-DISO"])
    assert example.document.text == "une \u00a0 toux sèche"
    assert entities(example) == COUGH


def test_a_token_may_be_a_number_sign(tmp_path: Path) -> None:
    (example,) = read(tmp_path, ["# O", "2 O", "toux B-DISO", "sèche I-DISO"])
    assert example.document.text == "# 2 toux sèche"


def test_a_line_that_is_none_is_named_without_its_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.conll, line 2: not a token and, in column 2, its tag") as raised:
        read(tmp_path, ["Madame\tO", "Jeanne\tNom"])
    assert "Jeanne" not in str(raised.value)
    assert "Jeanne" in raised.value.text
