import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.reports.read import (
    append_row,
    half_written,
    read_metrics,
    read_rows,
    read_run,
    read_scores,
    write_whole,
)
from medlingua.reports.rows import EvalRow, Score, TrainRow

from .conftest import evaluation_row, score, training_rows

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NUMBER = st.floats(allow_nan=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.builds(Score, model=TEXT, task=TEXT, note=TEXT, value=NUMBER)))
def test_rows_come_back_as_they_went(tmp_path: Path, rows: list[Score]) -> None:
    file = tmp_path / "results.jsonl"
    file.unlink(missing_ok=True)
    for row in rows:
        append_row(file, row)
    assert read_rows(file, Score) == rows


def test_a_row_with_infinity_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_row(file, training_rows(1)[0].model_copy(update={"grad_norm": float("inf")}))
    assert read_rows(file, TrainRow)[0].grad_norm == float("inf")


@given(cut=st.integers(1, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_killed_run_loses_its_half_line_and_nothing_else(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "metrics.jsonl"
    file.unlink(missing_ok=True)
    first, second, third = training_rows(3)
    for row in (first, second):
        append_row(file, row)
    whole = file.read_bytes()
    line = whole.splitlines(keepends=True)[1]
    remaining = len(line) - min(cut, len(line))
    file.write_bytes(whole[: len(whole) - len(line) + remaining])
    second_is_whole = remaining == len(line) - 1  # only the end of the line is lost
    assert half_written(file) == (0 < remaining < len(line) - 1)
    append_row(file, third)
    assert read_rows(file, TrainRow) == [first, second, third] if second_is_whole else [first, third]
    assert not half_written(file)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    for row in training_rows(2):
        append_row(file, row)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:40], lines[1]]) + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: .*correct or remove that line"):
        read_metrics(file)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text(score("base", 0, 0.5).model_dump_json().replace('"task"', '"tsak"') + "\n")
    with pytest.raises(InputError, match=r"line 1.*: (task: not given; add it|tsak: not known; take it out)"):
        read_scores(file)


def test_after_a_resume_the_later_row_of_a_step_wins(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    rows = training_rows(4)
    again = [row.model_copy(update={"loss": 1.0}) for row in rows[2:]]
    for row in [*rows, evaluation_row("trained", 4, 2.0), *again, evaluation_row("trained", 4, 1.9)]:
        append_row(file, row)
    training, evaluations = read_metrics(file)
    assert [row.step for row in training] == [1, 2, 3, 4]
    assert [row.loss for row in training[2:]] == [1.0, 1.0]
    assert [row.bits_per_byte for row in evaluations] == [1.9]
    assert all(isinstance(row, EvalRow) for row in evaluations)


def test_a_score_measured_again_replaces_the_first(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for value in (0.4, 0.5):
        append_row(file, score("base", 0, value))
    assert [row.value for row in read_scores(file)] == [0.5]


def test_a_folder_without_run_toml_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.toml here"):
        read_run(tmp_path)


def test_broken_settings_and_documents_are_named(run_folder: Path) -> None:
    (run_folder / "cost.json").write_text('{"seconds": 1')
    with pytest.raises(InputError, match=r"cost\.json: not what a run writes there: .*not JSON"):
        read_run(run_folder)
    (run_folder / "run.toml").write_text("strategy = continue\n")
    with pytest.raises(InputError, match=r"run\.toml: not valid TOML.*line 1"):
        read_run(run_folder)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = write_whole(tmp_path / "report.md", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new \ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_importing_the_room_stays_quick() -> None:
    code = (
        "import sys, medlingua.reports.page, medlingua.reports.card, medlingua.reports.compare\n"
        "print(*({'pandas', 'numpy', 'matplotlib', 'jinja2', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
