"""What a run says where nobody watches a bar: a log of a scheduler's job."""

from typing import Any

import pytest
from medlingua.recipes import console


def test_a_log_gets_lines_with_the_time_left(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 10.0, 40.0, 41.0, 90.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("training", 1000) as bar:
        for done in (100, 250, 260, 900):
            bar.update(done, f"loss {done}")
    lines = capsys.readouterr().err.splitlines()
    # 250 of 1,000 in 40 s leave 120 s; the updates between two lines are not told.
    assert lines == ["training: 25%, 0:02:00 left  loss 250", "training: 90%, 0:00:10 left  loss 900"]


def test_work_of_unknown_length_says_how_far_it_is(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 31.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("reading notes", None) as bar:
        bar.update(5, "5 documents")
    assert capsys.readouterr().err == "reading notes: 5 documents\n"
