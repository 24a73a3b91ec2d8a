"""Lists of tokens and tags, as data sets of the hub have them."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.readers.token_lists import read_bio_lists, read_tag_lists
from medlingua.languages.tasks import read_task

NAMES = ("O", "B-DIS", "I-DIS")
ROWS = [
    {"id": "0", "tokens": ["Toux", "sèche", "."], "ner_tags": [1, 2, 0]},
    {"id": "1", "tokens": ["Rien", "."], "ner_tags": [0, 0]},
]


def surfaces(example: Example) -> list[tuple[str, str]]:
    assert isinstance(example.gold, tuple)
    return [(span.surface(example.document.text), span.label) for span in example.gold]


def lines(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def dataset() -> Dataset:
    """As the hub's converter writes it: numbers, whose names are in the file's own metadata."""
    features = Features(
        {"id": Value("string"), "tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=NAMES))}
    )
    return Dataset.from_list(ROWS, features=features)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_entities_are_read_from_numbers_with_the_names_of_the_file_or_of_the_options(
    kind: str, tmp_path: Path
) -> None:
    names: tuple[str, ...] = ()
    if kind == "parquet":
        dataset().to_parquet(file := tmp_path / "train.parquet")
    elif kind == "arrow":
        dataset().save_to_disk(tmp_path / "saved")
        (file,) = (tmp_path / "saved").glob("*.arrow")
    else:
        file, names = lines(tmp_path / "set", ROWS), NAMES
    first, second = read_bio_lists(file, source="s", names=names)
    assert first.document.text == "Toux sèche ."
    assert surfaces(first) == [("Toux sèche", "DIS")]
    assert surfaces(second) == []


def test_the_same_file_name_in_two_folders_gives_a_task_of_two_parts(tmp_path: Path) -> None:
    """The hub's parquet branch: train/0000.parquet and test/0000.parquet, ids counted from 0 in each."""
    for part, word in (("train", "Toux"), ("test", "Fièvre")):
        rows = [{"id": str(n), "tokens": [word, str(n)], "ner_tags": ["B-DIS", "O"]} for n in range(20)]
        lines(tmp_path / part, rows, "0000.jsonl")
    splits = {part: f"{part}/0000.jsonl" for part in ("train", "test")}
    spec = TaskSpec.model_validate(
        {"name": "t", "kind": "ner", "path": "", "reader": "bio_lists", "splits": splits, "licence": "CC0"}
    )
    task = read_task(spec, tmp_path, "fr")
    assert (len(task.train) + len(task.dev), len(task.test)) == (20, 20)
    assert task.labels == ("DIS",)


def test_each_token_has_its_tag_and_what_has_no_token_is_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"tokens": ["Il", " ", "va"], "tags": ["PRON", "X", "VERB"]},
        {"tokens": [], "tags": []},
    ]
    spec = TaskSpec.model_validate(
        {"name": "t", "kind": "tagging", "path": "", "file": "all.jsonl", "reader": "tag_lists", "splits": "ranked"}
    )
    file = lines(tmp_path, [*rows, *({"tokens": [f"d{n}"], "tags": ["NOUN"]} for n in range(20))], "all.jsonl")
    first = next(read_tag_lists(file, source="s"))
    assert surfaces(first) == [("Il", "PRON"), ("va", "VERB")]
    task = read_task(spec, tmp_path, "fr")
    assert task.notes == ("rows left out, which have no token: 1", "tags left out, which have no token: 1")
    assert task.labels == ("NOUN", "PRON", "VERB")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a"], "ner_tags": [1, 2]}, "line 1: 1 in 'tokens' and 2 in 'ner_tags'"),
        ({"tokens": ["a"], "ner_tags": [1]}, "the file does not name its tags.*names = "),
        ({"tokens": ["a"], "ner_tags": ["NOUN"]}, "not O, B-X.*reader tag_lists"),
        ({"tokens": "a b", "ner_tags": ["O", "O"]}, "'tokens' holds text, not a list"),
        ({"tokens": ["a"], "tags": ["O"]}, "no column 'ner_tags'"),
        ({"tokens": [None], "ner_tags": ["O"]}, "'tokens' holds nothing in the place of a token"),
        ({"tokens": ["a"], "ner_tags": [True]}, "'ner_tags' holds true or false in the place of a tag"),
        ({"tokens": [], "ner_tags": []}, "no tokens in it"),
    ],
)
def test_what_are_no_tokens_with_tags_is_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        list(read_bio_lists(lines(tmp_path, [row]), source="s"))


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the number 2, and 2 tags have a name"):
        list(read_bio_lists(lines(tmp_path, ROWS), source="s", names=NAMES[:2]))


def test_tags_of_all_tokens_are_no_entities() -> None:
    with pytest.raises(ValueError, match="tag_lists is for kind tagging; entities in BIO tags have the reader bio_l"):
        TaskSpec(name="t", kind="ner", path="x", reader="tag_lists")
