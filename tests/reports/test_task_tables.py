"""What the tasks of a report hold, in its page and in its Markdown."""

from pathlib import Path

import pytest
from medlingua.reports.compare import write_comparison
from medlingua.reports.page import write_report
from medlingua.reports.read import append_row, read_task_parts
from medlingua.reports.rows import Score, TaskPartRow, TextLengths
from medlingua.reports.task_tables import parts_table, shared_texts

from .conftest import write_run

LENGTHS = TextLengths(median=120, high=900, longest=1_234, total=45_678)


def part(task: str, name: str, **changes: object) -> TaskPartRow:
    row = TaskPartRow(
        task=task, language="fr", kind="ner", part=name, examples=12, texts=11, words=LENGTHS,
        tokens={"m": LENGTHS}, labels={"DISO": 30, "CHEM": 10}, kinds=2, without_gold=1, spans=40, nested=4,
        discontinuous=2, shared={},
    )  # fmt: skip
    return row.model_copy(update=changes)


def test_a_part_has_a_row_and_a_column_without_any_value_is_left_out() -> None:
    codes = {f"C{n:02}": 30 - n for n in range(20)}
    frame = parts_table([part("a", "train"), part("a", "test", labels=codes, kinds=300, tokens={"other": LENGTHS})])
    first, second = frame.to_dict("records")
    assert first["Words"] == "45\u202f678"
    assert first["Words a text"] == "120 / 900 / 1\u202f234"
    assert first["Labels"] == "DISO\u00a030, CHEM\u00a010"
    assert (first["Nested"], first["In fragments"]) == ("10.0\u202f%", "5.0\u202f%")
    assert second["Labels"] == "300 kinds: C00\u00a030, C01\u00a029, C02\u00a028, C03\u00a027, …"
    assert (second["Tokens a text, m"], second["Tokens a text, other"]) == ("–", "120 / 900 / 1\u202f234")
    assert "Nested" not in parts_table([part("a", "train", nested=0)])


def test_shared_texts_of_two_parts_are_listed_once() -> None:
    rows = [
        part("a", "train", shared={"test of b": 1200}),
        part("b", "test", shared={"train of a": 1200, "dev of c": 1}),
    ]
    assert shared_texts(rows) == [
        "1\u202f200 texts are in train of a and in test of b.",
        "1 text is in test of b and in dev of c.",
    ]


def test_a_later_row_adds_its_model_and_what_it_shares(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    append_row(file, part("a", "test"), part("a", "test", tokens={"n": LENGTHS}, shared={"train of b": 2}))
    (row,) = read_task_parts(file)
    assert set(row.tokens) == {"m", "n"}
    assert row.shared == {"train of b": 2}


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_the_table_is_folded_in_the_page_and_plain_in_markdown(kind: str, tmp_path: Path) -> None:
    hostile = part("a|b", "test", labels={"<script>x</script>": 3}, kinds=1, shared={"train of b": 2})
    if kind == "run":
        folder = write_run(tmp_path / "run")
    else:
        folder = tmp_path
        score = Score(
            model="m", task="a|b", language="fr", split="test", metric="f1", protocol="ner-strict/1", value=0.5,
            seed=0, examples=12, gold=40,
        )  # fmt: skip
        append_row(folder / "results.jsonl", score)
    append_row(folder / "tasks.jsonl", hostile)
    page = (write_report if kind == "run" else write_comparison)(folder).read_text(encoding="utf-8")
    folded = page.split("<summary>Documents and labels of the tasks</summary>")[1].split("</details>")[0]
    assert "&lt;script&gt;x&lt;/script&gt;\u00a03" in folded
    assert "2 texts are in test of a|b and in train of b." in folded
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Documents and labels of the tasks" in text
    assert "| a\\|b | test | 12 |" in text


def test_a_report_without_the_file_has_no_such_table(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert "Documents and labels of the tasks" not in page
