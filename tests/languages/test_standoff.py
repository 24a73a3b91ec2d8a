"""Gold in a table or in lines, its texts in files; and paths that lead into an archive."""

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from medlingua.languages.annotations import Span
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.questions import read_nli4ct
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.readers.conll import read_conll
from medlingua.languages.readers.lines import read_line_labels, read_paraphrases
from medlingua.languages.readers.standoff import read_codes, read_offsets
from medlingua.languages.readers.tables import read_json, read_table
from medlingua.languages.tasks import available, read_task

from .test_questions import STATEMENT, trials, written

TEXT = "Toux seche depuis trois jours, fievre."
COUGH, FEVER = Span.of(0, 10, "S"), Span.of(31, 37, "S")


def texts(folder: Path, **named: str) -> Path:
    (folder / "text_files").mkdir(parents=True)
    for name, text in named.items():
        (folder / "text_files" / f"{name}.txt").write_bytes(text.encode())
    return folder


def put(path: Path, *rows: str) -> Path:
    path.write_text("".join("\t".join(row.split("|")) + "\n" for row in rows), encoding="utf-8")
    return path


def test_offsets_of_a_folder_are_read_with_documents_without_any(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a=TEXT, b="Rien.")
    put(folder / "m.tsv", "filename|label|start|end|text", "a|S|31|37|fievre", "a|S|0|10|Toux seche")
    assert {e.id: e.gold for e in read_offsets(folder, source="s")} == {"a": (COUGH, FEVER), "b": ()}
    assert [e.id for e in read_offsets(folder / "m.tsv", source="s")] == ["a"]


def test_columns_have_the_names_that_the_set_gives_them_and_several_tables_are_one(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a=TEXT)
    put(folder / "m.tsv", "filename|label|off0|off1|span", "a|S|0|10|Toux seche")
    put(folder / "n.tsv", "filename|label|start_span|end_span|text", "a|S|31|37|fievre", "a|T|24|29|jours")
    options = {"start": ("off0", "start_span"), "end": ("off1", "end_span"), "words": ("span", "text")}
    (example,) = read_offsets(folder, source="s", tables=("m.tsv", "n.tsv"), labels=("S",), **options)
    assert example.gold == (COUGH, FEVER)


def test_fragments_in_one_column_and_rows_without_a_mention(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a=TEXT, b=TEXT)
    put(folder / "x.tsv", "a|S|Toux fievre|0 4;31 37", "b|S|Toux seche|0 4;5 10")
    columns = {"document": "0", "label": "1", "words": "2", "offsets": "3"}
    first, second = read_offsets(folder, source="s", header=False, **columns)
    assert (first.gold, second.gold) == ((Span(((0, 4), (31, 37)), "S"),), (COUGH,))
    put(folder / "x.tsv", "filename|label|start|end|text", "a|-|-|-|-")
    assert [e.gold for e in read_offsets(folder, source="s")] == [(), ()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c|S|0|4|Toux", r"m\.tsv, line 2: a row needs the name of a document"),
        ("a|S|0|four|Toux", r"m\.tsv, line 2: no offsets such as 0 4"),
        ("a|S|1|5|Toux", r"m\.tsv, line 2: offsets 1 5 give other words"),
    ],
)
def test_a_row_that_fits_no_text_is_refused_without_its_words(row: str, message: str, tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a=TEXT)
    put(folder / "m.tsv", "filename|label|start|end|text", row)
    with pytest.raises(InputError, match=message) as raised:
        list(read_offsets(folder, source="s"))
    assert "Toux" not in str(raised.value)


def test_misplaced_mentions_are_moved_or_left_in_place_and_counted(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a="fievre, toux, fievre")
    put(folder / "m.tsv", "filename|label|start|end|text", "a|S|13|19|fievre", "a|S|8|12|toux")
    notes = Counter[str]()
    (example,) = read_offsets(folder, source="s", misplaced="move", notes=notes)
    assert example.gold == (Span.of(8, 12, "S"), Span.of(14, 20, "S"))
    assert [note.format(n=n) for note, n in notes.items()] == [
        "annotations moved to the nearest place with their words, as their offsets give others: 1"
    ]
    notes.clear()
    (example,) = read_offsets(folder, source="s", misplaced="keep", notes=notes)
    assert example.gold == (Span.of(8, 12, "S"), Span.of(14, 19, "S"))  # the space in front is cut off
    assert any("kept at their offsets" in note for note in notes)
    put(folder / "m.tsv", "filename|label|start|end|text", "a|S|0|6|asthme")
    with pytest.raises(InputError, match="offsets 0 6 give other words"):
        list(read_offsets(folder, source="s", misplaced="move"))
    put(folder / "m.tsv", "filename|label|start|end|text", "a|S|10|60|asthme")
    with pytest.raises(InputError, match="offsets 10 60 lie outside the text"):
        list(read_offsets(folder, source="s", misplaced="keep"))


def test_fragments_are_moved_together(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a=TEXT)
    put(folder / "x.tsv", "a|S|Toux fievre|1 5;32 38")
    columns = {"document": "0", "label": "1", "words": "2", "offsets": "3"}
    (example,) = read_offsets(folder, source="s", header=False, misplaced="move", **columns)
    assert example.gold == (Span(((0, 4), (31, 37)), "S"),)


def test_codes_of_a_folder_are_read_with_documents_without_any_and_refused_without_documents(tmp_path: Path) -> None:
    folder = texts(tmp_path / "f", a="Caso a", b="Caso b")
    put(folder / "trainD.tsv", "a|q62.11", "a|n28.89")
    read = [e.gold for e in read_codes(folder, source="s", tables="*D.tsv", capitals=True)]
    assert read == [frozenset({"Q62.11", "N28.89"}), frozenset()]
    put(folder / "trainD.tsv", "c|q62")
    with pytest.raises(InputError, match=r"trainD\.tsv, line 1: a row needs the name of a document"):
        list(read_codes(folder, source="s"))


def test_codes_of_a_table_are_those_of_its_documents_with_texts_of_several_archives(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        with zipfile.ZipFile(tmp_path / f"brat_{name}.zip", "w") as archive:
            archive.writestr(f"{name}1.txt", f"Caso {name}")
    table = put(tmp_path / "dev.tsv", "file|label", "dev1|0")
    options = {"texts": "brat_*.zip", "document": "file", "code": "label", "header": True}
    (example,) = read_codes(table, source="s", single=True, **options)
    assert (example.id, example.document.text, example.gold) == ("dev1", "Caso dev", "0")
    put(table, "file|label", "dev1|0", "dev1|1")
    with pytest.raises(InputError, match="2 labels for dev1, not one"):
        list(read_codes(table, source="s", single=True, **options))


def test_labels_of_lines_belong_to_their_sentences_and_to_the_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        archive.writestr("text/1.txt", "One .\nTwo .\nThree .\n")
        archive.writestr("labels/1.txt", "< <A--x ANDB--y ANDA--z< NULL")
    (whole,) = read_line_labels(tmp_path / "h.zip", source="s")
    assert (whole.document.text, whole.gold) == ("One .\nTwo .\nThree .", frozenset({"A", "B"}))
    sentences = list(read_line_labels(tmp_path / "h.zip", source="s", unit="sentence"))
    assert [e.gold for e in sentences] == [frozenset(), frozenset({"A", "B"}), frozenset()]
    assert {e.document.meta["document"] for e in sentences} == {"1"}
    with zipfile.ZipFile(tmp_path / "h.zip", "a") as archive:
        archive.writestr("text/2.txt", "One .\nTwo .\n")
        archive.writestr("labels/2.txt", "<A")
    with pytest.raises(InputError, match="2 lines and labels of 1"):
        list(read_line_labels(tmp_path / "h.zip", source="s"))


def test_paraphrases_share_the_answer_that_they_are_divided_by(tmp_path: Path) -> None:
    (tmp_path / "doctor.txt").write_text("HDM1 +++ depuis quand ?\nHDM3 +++ ça dure ?\nATD5 +++ avant ?\n")
    (tmp_path / "patient.txt").write_text("P2 +++  Hier.\nP4 +++ hier.\nP6 +++ non\n")
    (tmp_path / "d_p.txt").write_text("HDM1 +++ P2\nHDM3 +++ P4\nATD5 +++ P6\n")
    first, second, third = read_paraphrases(tmp_path, source="s")
    assert (first.gold, first.document.text) == ("HDM", "depuis quand ?")
    assert first.document.meta["answer"] == second.document.meta["answer"] != third.document.meta["answer"]
    (tmp_path / "d_p.txt").write_text("HDM1 +++ P2\nHDM3 +++ P4\n")
    with pytest.raises(InputError, match="question ATD5 has no answer"):
        list(read_paraphrases(tmp_path, source="s"))


def test_a_line_of_a_text_may_be_a_document(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b"Toux.\n\nFievre et toux.\n")
    (tmp_path / "d.ann").write_text("T1\tS 0 4\tToux\nT2\tS 7 13;17 21\tFievre toux\n")
    first, second = read_brat(tmp_path, source="s", lines=True)
    assert (first.document.text, first.gold) == ("Toux.", (Span.of(0, 4, "S"),))
    assert (second.document.text, second.gold) == ("Fievre et toux.", (Span(((0, 6), (10, 14)), "S"),))
    (tmp_path / "d.ann").write_text("T1\tS 0 13\tToux. Fievre\n")
    with pytest.raises(InputError, match="beyond line 1"):
        list(read_brat(tmp_path, source="s", lines=True))


def test_brat_reads_the_labels_that_count_and_skips_by_pattern(tmp_path: Path) -> None:
    for name in ("d", "cord.1"):
        (tmp_path / f"{name}.txt").write_text("Toux.")
        (tmp_path / f"{name}.ann").write_text("T1\tS 0 4\tToux\nT2\tX 0 4\tToux\n")
    (example,) = read_brat(tmp_path, source="s", labels=("X",), skip=("cord.*", "none.*"))
    assert (example.id, example.gold) == ("d", (Span.of(0, 4, "X"),))


def archived(root: Path, *names: str) -> TaskSpec:
    with zipfile.ZipFile(root / "ref.zip", "w") as archive:
        for name in names:
            archive.writestr(f"{name}/{name}1.txt", f"Toux {name}.")
            archive.writestr(f"{name}/{name}1.ann", "T1\tS 0 4\tToux\n")
    splits = {"train": "ref.zip/a", "dev": ["ref.zip/b"], "test": "ref.zip/c"}
    return TaskSpec.model_validate({"name": "t", "kind": "ner", "path": ".", "reader": "brat", "splits": splits})


def test_a_path_may_lead_into_an_archive(tmp_path: Path) -> None:
    spec = archived(tmp_path, "a", "b", "c")
    assert available(spec, tmp_path)
    assert [e.document.text for e in read_task(spec, tmp_path, "es").test] == ["Toux c."]
    spec = archived(tmp_path, "a", "b")
    with pytest.raises(InputError, match=r"ref\.zip: no .* file below 'c' in it"):
        read_task(spec, tmp_path, "es")
    (tmp_path / "ref.zip").unlink()
    assert not available(spec, tmp_path)


def test_documents_of_train_that_test_has_too_are_left_out_and_counted(tmp_path: Path) -> None:
    for part, names in (("train", "abc"), ("test", "cd")):
        (tmp_path / part).mkdir()
        for name in names:
            (tmp_path / part / f"{name}.txt").write_text(f"Toux {name}.")
            (tmp_path / part / f"{name}.ann").write_text("T1\tS 0 4\tToux\n")
    splits = {"train": "train", "dev": "train", "test": "test"}
    spec = TaskSpec.model_validate({"name": "t", "kind": "ner", "path": ".", "reader": "brat", "splits": splits})
    with pytest.raises(InputError, match="2 ids occur more than once"):  # a and b, of train and dev
        read_task(spec, tmp_path, "es")
    (tmp_path / "dev").mkdir()
    for file in (tmp_path / "train").glob("b.*"):
        file.rename(tmp_path / "dev" / file.name)
    task = read_task(spec.model_copy(update={"splits": splits | {"dev": "dev"}}), tmp_path, "es")
    assert [[e.id for e in part] for part in (task.train, task.dev, task.test)] == [["a"], ["b"], ["c", "d"]]
    assert task.notes == ("documents of train or dev left out, which test has too: 1",)


def test_damaged_conll_is_repaired_on_request(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv.gz"
    file.write_bytes(gzip.compress(b"Les O\nplus jeunes B-X\n\xc3 I-X\nO\n \nfin O\n"))
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_conll(file, source="s"))
    notes = Counter[str]()
    first, second = read_conll(file, source="s", repair=True, notes=notes)
    assert (first.document.text, first.gold) == ("Les plus jeunes \ufffd", (Span.of(4, 17, "X"),))
    assert second.document.text == "fin"
    assert sorted(note.format(n=n) for note, n in notes.items()) == [
        "lines that are not UTF-8, whose wrong bytes are read as U+FFFD: 1",
        "tags left out, which have no token: 1",
        "tokens with a space inside: 1",
    ]


def test_json_lines_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text('{"text": "<< a >> [[ b ]]", "label": "X"}\n{"text": "c", "label": "Y"}\n')
    assert [e.gold for e in read_json(tmp_path / "t.txt", source="s", labels="label", lines=True)] == ["X", "Y"]


def test_the_value_of_a_pair_is_the_mean_of_its_annotators(tmp_path: Path) -> None:
    file = put(tmp_path / "p.tsv", "one|two|a|b|c", "toux|fievre|1|2|", "toux|toux|4|4|4")
    columns = {"text": "two", "question": "one", "labels": ("a", "b", "c")}
    assert [e.gold for e in read_table(file, source="s", **columns)] == [1.5, 4.0]
    for row, message in (("x|y|||", "line 2: no number"), ("x|y|1|high|", "line 2: a cell of 'labels' is no number")):
        put(file, "one|two|a|b|c", row)
        with pytest.raises(InputError, match=message):
            list(read_table(file, source="s", **columns))


def test_trial_records_may_lie_in_a_folder_next_to_that_of_the_statements(tmp_path: Path) -> None:
    for name in ("records", "statements"):
        (tmp_path / name).mkdir()
    trials(tmp_path / "records")
    path = written(tmp_path / "statements" / "test.json", {"a": STATEMENT | {"Label": "Entailment"}})
    (example,) = read_nli4ct(path, source="s", records="records")
    assert "Response 13%" in example.document.text
    with pytest.raises(InputError, match="no name of a folder"):
        list(read_nli4ct(path, source="s", records="../records"))
