"""Tables as spreadsheets and databases write them."""

from pathlib import Path

import pytest
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.readers.tables import read_table


def rows_of(file: Path) -> list[str]:
    return [document.text for document in read_documents(file, source="s")]


UNQUOTED = [
    "Cas 1.",
    '"Je tousse depuis trois jours',
    "Cas 3.",
    'tout va bien"',
    '"Oui" dit-il',
    '12" de large',
    "Fin.",
]


def test_quotation_marks_of_an_unquoted_table_are_text(tmp_path: Path) -> None:
    lines = "".join(f"{number}\t{text}\tA\n" for number, text in enumerate(UNQUOTED))
    (tmp_path / "c.tsv").write_text(f"id\ttext\tlabel\n{lines}", encoding="utf-8")
    assert rows_of(tmp_path / "c.tsv") == UNQUOTED
    examples = list(read_table(tmp_path / "c.tsv", source="s"))
    assert [(example.document.text, example.gold) for example in examples] == [(text, "A") for text in UNQUOTED]
    assert examples[-1].id == f"c.tsv:{len(UNQUOTED) + 1}"


def test_an_unquoted_table_may_open_a_quote_that_nothing_closes(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text('id\ttext\n1\t"Je tousse\n2\tb\n3\tc\n', encoding="utf-8")
    assert rows_of(tmp_path / "c.tsv") == ['"Je tousse', "b", "c"]


def test_a_quoted_table_with_tabs_stays_one(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text(
        'id\ttext\n1\t"Première ligne\nseconde ""ligne"""\n2\t"un\ttab"\n3\t"simple"\n', encoding="utf-8"
    )
    assert rows_of(tmp_path / "c.tsv") == ['Première ligne\nseconde "ligne"', "un\ttab", "simple"]


def test_a_quoted_cell_without_an_end_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text('id\ttext\n1\ta\n2\t"open\nand more', encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.tsv, after line 2: not a whole table"):
        rows_of(tmp_path / "c.tsv")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_line_with_the_delimiter_is_no_row(first: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(f"{first}\r\nid;text\r\n0;Toux, fièvre\r\n", encoding="utf-8")
    (document,) = read_documents(tmp_path / "c.csv", source="s")
    assert (document.id, document.text) == ("0", "Toux, fièvre")
    (tmp_path / "d.csv").write_text(f"{first}\r\nid;text\r\n0\r\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"d\.csv, line 3: 1 cells where there are 2 columns .*semicolon"):
        rows_of(tmp_path / "d.csv")


def test_tabs_in_a_csv(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id\ttext\r\n0\tToux, fièvre; rien\r\n", encoding="utf-8")
    assert rows_of(tmp_path / "c.csv") == ["Toux, fièvre; rien"]


def test_windows_1252_is_refused_with_what_excel_can_do(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes("id;text\r\n0;Fièvre d’été\r\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"line 2, byte 13 \(0xe8\); in Excel save it as 'CSV UTF-8'.*WINDOWS-1252"):
        rows_of(tmp_path / "c.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["id,text\n0,Toux\n", "id,text\n0,Fièvre à 39\n"])
@pytest.mark.parametrize("name", ["c.csv", "c.txt", "c.jsonl"])
def test_utf16_is_called_utf16(encoding: str, text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match="it is UTF-16") as raised:
        rows_of(tmp_path / name)
    assert "WINDOWS-1252" not in str(raised.value)


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl"])
def test_text_with_a_nul_is_refused(name: str, tmp_path: Path) -> None:
    raw = b"F\x00i" if name == "c.txt" else b'{"text": "F\\u0000i"}'
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match="a NUL at"):
        rows_of(tmp_path / name)
