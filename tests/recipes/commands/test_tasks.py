"""adapt tasks: what a pack's tasks need and hold."""

import json
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.commands.tasks import list_tasks

from ..conftest import call

PACK = """
code = "xx"
name = "X"
spacy = "fr"

[[tasks]]
name = "here"
kind = "ner"
path = "brat"
reader = "brat"
licence = "CC0"
licence_source = "README"
note = "Coughs."

[[tasks]]
name = "twin"
kind = "classification"
path = "tables"
reader = "table"
file = "t.csv"
licence = "CC0"

[[tasks]]
name = "asked"
kind = "similarity"
scale = [0, 5]
folds = 5
path = "asked"
reader = "table"
address = "https://example.org/form"
access = "request"
non_commercial = true

[[tasks]]
name = "broken"
kind = "classification"
path = "tables"
reader = "table"
file = "broken.csv"

[[overlaps]]
names = ["here", "twin"]
reason = "The same notes."
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "pack.toml").write_text(PACK, encoding="utf-8")
    (tmp_path / "brat").mkdir()
    (tmp_path / "tables").mkdir()
    for n in range(20):
        (tmp_path / "brat" / f"d{n}.txt").write_text(f"toux {n} et fièvre", encoding="utf-8")
        (tmp_path / "brat" / f"d{n}.ann").write_text(
            "T1\tS 0 4\ttoux\n" if n % 2 else "T1\tS 0 4\ttoux\nT2\tL 0 6\t" + f"toux {n}"[:6] + "\n"
        )
    rows = "".join(f"toux {n} et fièvre,{n % 2}\n" for n in range(20))
    (tmp_path / "tables" / "t.csv").write_text("text,label\n" + rows, encoding="utf-8")
    (tmp_path / "tables" / "broken.csv").write_text("text,label\na,b,c\n", encoding="utf-8")
    return tmp_path


def table(text: str) -> dict[str, dict[str, str]]:
    """The rows of the table by name, cell by cell, as the columns of its head are wide."""
    head, *lines = text.split("\n\n")[0].split("\n")
    names = [name for name in head.split("  ") if name]
    starts = [head.index(name) for name in names]
    cells = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    return {row[0]: dict(zip((n.strip() for n in names), row, strict=True)) for row in cells}


def test_the_table_says_what_is_there_and_how_much_of_it(pack: Path) -> None:
    text = list_tasks(str(pack / "pack.toml"), str(pack), None, None, False)
    rows = table(text)
    assert {name: row["state"] for name, row in rows.items()} == {
        "here": "there", "twin": "there", "asked": "missing, on request", "broken": "broken"
    }  # fmt: skip
    assert rows["here"]["examples"] == "14/2/4"
    assert (rows["here"]["words, median"], rows["here"]["labels"], rows["here"]["nested"]) == ("4", "2", "33.3%")
    assert rows["here"]["protocol"] == "ner-strict/1"
    assert rows["asked"]["protocol"] == "similarity/1, 5 folds"
    assert rows["asked"]["licence"] == "not stated (non-commercial)"
    assert "asked: asked/ under the data root, on request, at https://example.org/form" in text
    assert "broken: " in text
    assert "3 cells where there are 2 columns" in text


def test_what_is_at_hand_comes_first_and_is_counted(pack: Path) -> None:
    file = pack / "pack.toml"
    twins = "".join(
        f'\n[[tasks]]\nname = "{name}"\nkind = "ner"\npath = "far"\nreader = "brat"\n' for name in ("far_a", "far_b")
    )
    text = PACK.replace('[[tasks]]\nname = "here"', f'{twins}\n[[tasks]]\nname = "here"')
    file.write_text(text, encoding="utf-8")
    shown = list_tasks(str(file), str(pack), None, None, False)
    assert list(table(shown)) == ["here", "twin", "broken", "far_a", "far_b", "asked"]
    assert "6 tasks: 2 at hand, 1 unreadable, 3 missing" in shown
    assert "far_a, far_b: far/ under the data root" in shown, "what several tasks need is said once"
    assert "6 tasks; --data ROOT says which are at hand" in list_tasks(str(file), None, None, None, False)


def test_without_a_data_root_every_task_says_what_it_needs(pack: Path) -> None:
    text = list_tasks(str(pack / "pack.toml"), None, None, None, False)
    assert {row["state"] for row in table(text).values()} == {"open", "on request"}
    assert "here: brat/ under the data root" in text


def test_all_about_one_task_with_the_texts_it_shares(pack: Path) -> None:
    text = list_tasks(str(pack / "pack.toml"), str(pack), "here", None, False)
    assert "Coughs." in text
    assert "70/10/20 by document" in text
    assert "14 examples, 14 texts; words: 56, median 4, 90 % up to 4, longest 4" in text
    assert "twin: The same notes." in text
    shared = next(line for line in text.split("\n") if "with twin" in line)
    counts = [int(word) for word in shared.split() if word.isdecimal()]
    assert sum(counts) == 20


def test_lengths_in_tokens_and_everything_as_json(pack: Path, base: Path) -> None:
    in_words, in_tokens = (
        json.loads(list_tasks(str(pack / "pack.toml"), str(pack), "here", tokenizer, True))[0]
        for tokenizer in (None, str(base))
    )
    assert (in_words["unit"], in_tokens["unit"]) == ("words", "tokens")
    assert in_words["parts"]["train"]["lengths"]["total"] == 56
    assert in_tokens["parts"]["train"]["lengths"]["total"] > 56  # the model's tokens are pieces of words
    assert in_words["parts"]["train"]["labels"] == in_tokens["parts"]["train"]["labels"]


def test_published_figures_stand_next_to_the_pack_s_tasks() -> None:
    rows = table(list_tasks("es", None, None, None, False))
    assert rows["casimedicos_es_from_en"]["protocol"] == "ner-strict/1, learnt on en"
    assert rows["medprocner"]["published"].startswith("0.7985 entity F1")
    lines = list_tasks("es", None, "cantemist", None, False)
    assert "0.8340" in lines
    assert "Not known" in lines  # which parts of their protocols


def test_what_cannot_be_listed_is_one_line(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"unknown task 'her' .*did you mean 'here'"):
        list_tasks(str(pack / "pack.toml"), None, "her", None, False)
    with pytest.raises(InputError, match="no such folder"):
        list_tasks(str(pack / "pack.toml"), str(pack / "none"), None, None, False)
    with pytest.raises(InputError, match="3 cells where there are 2 columns"):
        list_tasks(str(pack / "pack.toml"), str(pack), "broken", None, False)
    assert call(monkeypatch, ["tasks"]) == 2
    assert "--lang is needed" in capsys.readouterr().err
    assert call(monkeypatch, ["tasks", "here", "--lang", str(pack / "pack.toml"), "--data", str(pack)]) == 0
    assert "state      there" in capsys.readouterr().out
    (pack / "pack.toml").write_text('code = "xx"\nname = "X"\nspacy = "fr"\n')
    with pytest.raises(InputError, match="has no tasks"):
        list_tasks(str(pack / "pack.toml"), None, None, None, False)
