"""Which tasks are read: what is asked for, and nothing that is broken stops another."""

from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.recipes.text.task_set import find_tasks

PACK = """
code = "oc"
name = "Occitan"
spacy = "fr"
[[tasks]]
name = "good"
kind = "ner"
path = "good"
reader = "brat"
[[tasks]]
name = "broken"
kind = "ner"
path = "broken"
reader = "json"
file = "c.jsonl"
[[tasks]]
name = "absent"
kind = "ner"
path = "absent"
reader = "brat"
"""


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    (tmp_path / "pack.toml").write_text(PACK, encoding="utf-8")
    (tmp_path / "good").mkdir()
    for number in range(60):
        (tmp_path / "good" / f"{number}.txt").write_text(f"{number} toux", encoding="utf-8")
        start = len(str(number)) + 1
        (tmp_path / "good" / f"{number}.ann").write_text(f"T1\tD {start} {start + 4}\ttoux\n", encoding="utf-8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "c.jsonl").write_bytes('{"text": "Duval"}\n'.encode("utf-16"))
    return load_pack(tmp_path / "pack.toml")


def test_only_requested_tasks_are_read(pack: Pack, tmp_path: Path) -> None:
    tasks = find_tasks(pack, tmp_path, ("good",), ())
    assert [task.spec.name for task in tasks.tasks] == ["good"]
    assert tasks.left_out == ()
    with pytest.raises(InputError, match="UTF-16"):
        find_tasks(pack, tmp_path, ("broken",), ())
    with pytest.raises(InputError, match=r"task absent: .* is not there"):
        find_tasks(pack, tmp_path, ("absent",), ())


@pytest.mark.parametrize("requested", ["all", "none", ("good",)])
def test_a_broken_task_is_named_as_not_checked_and_stops_no_run(
    requested: str | tuple[str, ...], pack: Pack, tmp_path: Path
) -> None:
    tasks = find_tasks(pack, tmp_path, requested, (), check_overlap=True)
    assert [task.spec.name for task in tasks.tasks] == ([] if requested == "none" else ["good"])
    assert list(tasks.test_texts) == ["good"]
    assert tasks.unchecked == ("broken", "absent")
    (line,) = tasks.left_out
    assert "task broken is left out, which cannot be read" in line
    assert "UTF-16" in line
    assert "Duval" not in line


def test_both_texts_of_a_pair_are_checked_and_each_once(tmp_path: Path) -> None:
    lines = ["question,text,label", *(f"Le vaccin n° {n} protège-t-il ?,Rien ne le montre.,non" for n in range(3))]
    (tmp_path / "pairs").mkdir()
    for part in ("train", "dev", "test"):
        (tmp_path / "pairs" / f"{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "pack.toml").write_text(
        "code = 'fr'\nname = 'essai'\nspacy = 'fr'\n[[tasks]]\nname = 'claims'\nkind = 'pairs'\npath = 'pairs'\n"
        "reader = 'table'\noptions = { question = 'question' }\n"
        "splits = { train = 'train.csv', dev = 'dev.csv', test = 'test.csv' }\n",
        encoding="utf-8",
    )
    tasks = find_tasks(load_pack(tmp_path / "pack.toml"), tmp_path, "none", (), check_overlap=True)
    assert not tasks.left_out
    assert tasks.test_texts == {
        "claims": ["Rien ne le montre.", *(f"Le vaccin n° {n} protège-t-il ?" for n in range(3))]
    }


def test_a_broken_entry_of_a_pack_stops_no_other_task(pack: Pack, tmp_path: Path) -> None:
    broken = pack.model_copy(update={"broken_tasks": {"typo": "pack.toml: tasks, entry 3 (typo): unknown key"}})
    tasks = find_tasks(broken, None, "all", (), check_overlap=True)
    assert tasks.left_out == ("task typo is left out: pack.toml: tasks, entry 3 (typo): unknown key",)
    assert "typo" in tasks.unchecked, "nor is the text of a run checked against it"
    assert find_tasks(broken, None, (), ()).left_out == ()
    with pytest.raises(InputError, match=r"task typo: .*entry 3 \(typo\): unknown key"):
        find_tasks(broken, None, ("typo",), ())
