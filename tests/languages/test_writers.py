"""Annotations written for other tools: what is read back is what was written."""

import csv
import io
import json
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.annotations import Span, tidy
from medlingua.languages.errors import InputError
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.readers.conll import read_conll
from medlingua.languages.readers.docbin import read_docbin
from medlingua.languages.words import words
from medlingua.languages.writers import CSV_COLUMNS, Annotated, brat, conll, csv_rows, docbin, file_name, json_line
from spacy.tokens import DocBin

TEXT = "Patient opéré du foie.\nToux\nsèche depuis l'été ; œdème 😷 des jambes.\n\nSortie."


def span(*words_of: str, label: str = "DISO") -> Span:
    """The place of words of TEXT, a fragment each."""
    return Span(tuple((TEXT.index(w), TEXT.index(w) + len(w)) for w in words_of), label)


SPANS = (span("foie", label="ANAT"), span("Toux\nsèche"), span("œdème", "jambes"), span("😷", label="DEVICE X"))
NOTE = Annotated("ward/a.txt", TEXT, tuple((s, 0.25 * i) for i, s in enumerate(SPANS)))


def test_brat_reads_back_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    (tmp_path / "a.ann").write_text(brat(NOTE), encoding="utf-8")
    (example,) = read_brat(tmp_path, source="s")
    expected = {Span(s.fragments, s.label.replace(" ", "_")) for s in SPANS}
    assert set(example.gold) == expected  # type: ignore[arg-type]
    # brat itself refuses a span over a line's end: each line has a fragment.
    lines = [line for line in brat(NOTE).splitlines() if line.startswith("T2")]
    assert lines == ["T2\tDISO 23 27;28 33\tToux sèche"]
    assert "#2\tAnnotatorNotes T2\tprobability 0.2500" in brat(NOTE)


@given(
    text=st.text(st.sampled_from("ab \n\r\té😷"), min_size=1, max_size=40),
    borders=st.lists(st.integers(0, 40), min_size=2, max_size=8),
)
def test_brat_keeps_any_span(text: str, borders: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    ends = sorted({min(border, len(text)) for border in borders})
    spans = tidy((Span.of(a, b, "X") for a, b in zip(ends[::2], ends[1::2], strict=False)), text)
    folder = tmp_path_factory.mktemp("brat")
    (folder / "a.txt").write_bytes(text.encode())
    (folder / "a.ann").write_text(brat(Annotated("a", text, tuple((s, None) for s in spans))), encoding="utf-8")
    (example,) = read_brat(folder, source="s")
    assert example.gold == spans


def test_conll_reads_back_what_was_written(tmp_path: Path) -> None:
    note = Annotated("a", TEXT, ((SPANS[0], None), (SPANS[1], None)))
    both = conll(note, "fr") + conll(Annotated("b", "Rien."), "fr")
    (tmp_path / "a.conll").write_text(both, encoding="utf-8")
    first, second = read_conll(tmp_path / "a.conll", source="s")
    mentions = {(" ".join(s.surface(first.document.text).split()), s.label) for s in first.gold}  # type: ignore[union-attr]
    assert mentions == {("foie", "ANAT"), ("Toux sèche", "DISO")}
    assert second.document.text.split() == ["Rien", "."]
    written = [line.split("\t")[0] for line in conll(note, "fr").splitlines()[2:] if line]
    assert written == [TEXT[a:b] for a, b in words(TEXT, "fr")]
    assert both.count("# newdoc id = ") == 2


def test_tags_of_words_are_written_as_they_are() -> None:
    note = Annotated("a", "Toux sèche", ((Span.of(0, 4, "NOM"), None), (Span.of(5, 10, "ADJ"), None)))
    assert conll(note, "fr", bio=False).splitlines()[3:5] == ["Toux\tNOM", "sèche\tADJ"]


def test_conll_refuses_what_tags_cannot_hold() -> None:
    with pytest.raises(InputError, match=r"ward/a\.txt: entities inside each other.*--format brat"):
        conll(NOTE, "fr")
    inside = Annotated("a", TEXT, ((span("Patient opéré"), None), (span("opéré"), None)))
    with pytest.raises(InputError, match="inside each other"):
        conll(inside, "fr")


def test_docbin_reads_back_what_was_written(tmp_path: Path) -> None:
    note = Annotated("a", TEXT, ((SPANS[0], 0.9), (SPANS[1], None)), (("grave", 0.7),))
    (tmp_path / "a.spacy").write_bytes(docbin([note, Annotated("b", "Rien.")], "fr"))
    docs = list(DocBin().from_bytes((tmp_path / "a.spacy").read_bytes()).get_docs(spacy.blank("fr").vocab))
    assert [doc.text for doc in docs] == [TEXT, "Rien."]
    assert [(e.text, e.label_) for e in docs[0].ents] == [("foie", "ANAT"), ("Toux\nsèche", "DISO")]
    assert docs[0].cats == {"grave": pytest.approx(0.7)}
    examples = list(read_docbin(tmp_path / "a.spacy", source="s"))
    assert examples[0].gold == SPANS[:2]


def test_docbin_keeps_entities_inside_entities() -> None:
    note = Annotated("a", TEXT, ((span("Patient opéré"), 0.5), (span("opéré", label="PROC"), 0.5)))
    (doc,) = DocBin().from_bytes(docbin([note], "fr", nested=True)).get_docs(spacy.blank("fr").vocab)
    assert [(s.text, s.label_) for s in doc.spans["medlingua"]] == [("Patient opéré", "DISO"), ("opéré", "PROC")]


def test_a_text_beyond_spacys_own_limit_is_written() -> None:
    long = "Rien. " * 200_000
    (doc,) = DocBin().from_bytes(docbin([Annotated("a", long)], "fr")).get_docs(spacy.blank("fr").vocab)
    assert len(doc.text) == len(long)


def test_json_lines_hold_the_predictions() -> None:
    row = json.loads(json_line(NOTE))
    assert row["id"] == "ward/a.txt"
    second = row["predicted"][1]
    assert second == {
        "fragments": [[23, 33]],
        "label": "DISO",
        "text": "Toux\nsèche",
        "probability": 0.25,
    }
    assert json.loads(json_line(Annotated("b", "Rien."))) == {"id": "b", "predicted": []}
    labels = json.loads(json_line(Annotated("b", "Rien.", labels=(("bénin", 0.5), ("grave", None)))))
    assert labels["labels"] == [{"label": "bénin", "probability": 0.5}, {"label": "grave"}]


def test_csv_holds_the_predictions_under_its_columns() -> None:
    text = ",".join(CSV_COLUMNS["entities"]) + "\n" + csv_rows(NOTE)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["text"] for row in rows] == ["foie", "Toux\nsèche", "œdème jambes", "😷"]
    assert rows[2]["start"] == f"{TEXT.index('œdème')};{TEXT.index('jambes')}"
    labels = ",".join(CSV_COLUMNS["labels"]) + "\n" + csv_rows(Annotated("b", "R", labels=(("a, b", 0.5),)))
    assert list(csv.DictReader(io.StringIO(labels))) == [{"id": "b", "label": "a, b", "probability": "0.5000"}]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_of_csv_is_a_formula(first: str) -> None:
    text = f"{first}HYPERLINK(A1) ; toux - sèche"
    end = text.index(" ;")
    note = Annotated(
        text[:end], text, ((Span.of(0, end, text[:end]), 0.5), (Span.of(end + 3, len(text), "B-2"), 0.5))
    )
    entities = list(csv.reader(io.StringIO(csv_rows(note), newline="")))
    assert entities[0] == [f"'{text[:end]}", "0", str(end), f"'{text[:end]}", "0.5000", f"'{text[:end]}"]
    assert entities[1][3:] == ["B-2", "0.5000", "toux - sèche"], "what is no formula is as it was"
    (labels,) = csv.reader(io.StringIO(csv_rows(Annotated("a", "", labels=((text[:end], 0.5),))), newline=""))
    assert labels == ["a", f"'{text[:end]}", "0.5000"]
    (value,) = csv.reader(io.StringIO(csv_rows(Annotated("a", "", value=-0.5))))
    assert value == ["a", "-0.5"]


@given(st.text(max_size=30))
def test_no_id_leads_out_of_the_folder(identity: str) -> None:
    name = file_name(identity)
    path = Path(name)
    assert name
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert "\0" not in name


def test_ids_keep_what_a_file_system_takes() -> None:
    assert file_name("ward 3/note 7.txt") == "ward 3/note 7"
    assert file_name("notes.jsonl:12") == "notes.jsonl_12"
    assert file_name("../../etc/passwd.txt") == "etc/passwd"
