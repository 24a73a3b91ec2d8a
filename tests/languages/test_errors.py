"""What is wrong with a value, in words: neither Python's nor pydantic's."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from medlingua.languages.errors import InputError, kind_of, mismatch, nearest
from medlingua.languages.readers.structure import list_of, object_of
from medlingua.languages.readers.tables import read_json
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "x"
    count: int = Field(default=1, ge=1)
    share: float = 0.5
    on: bool = True
    words: tuple[str, ...] = Field(default=("a",), min_length=1)
    table: dict[str, int] = Field(default_factory=dict)
    unit: Literal["piece", "word"] = "piece"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": None}, "expected text, given nothing"),
        ({"name": 3}, "expected text, given 3"),
        ({"count": "many"}, "expected a whole number, given 'many'"),
        ({"count": 1.5}, "expected a whole number, given 1.5"),
        ({"count": "many " * 100}, "expected a whole number, given text"),
        ({"count": 0}, "expected greater than or equal to 1, given 0"),
        ({"share": [1]}, "expected a number, given a list"),
        ({"on": "perhaps"}, "expected true or false, given 'perhaps'"),
        ({"words": "word"}, "expected a list, given 'word'"),
        ({"words": []}, "expected at least 1 in the list or table, given 0"),
        ({"table": True}, "expected a table, given true or false"),
        ({"unit": "letter"}, "expected 'piece' or 'word', given 'letter'"),
        ({"nmae": "x"}, "not known; take it out"),
    ],
)
def test_a_wrong_value_is_described_in_words(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Entry.model_validate(value)
    (error,) = raised.value.errors()
    assert mismatch(error) == message


def test_few_known_names_are_listed_and_of_many_the_nearest() -> None:
    few = [f"task_{n}" for n in range(3)]
    assert nearest("tsk_1", few) == "known: task_0, task_1, task_2; did you mean 'task_1'?"
    assert nearest("x", []) == "none are known"
    many = [*(f"other{'x' * n}" for n in range(40)), "cantemist", "cantemist_norm"]
    message = nearest("cantemis", many)
    assert message.startswith("42 are known, the nearest: cantemist, cantemist_norm")
    assert message.endswith("did you mean 'cantemist'?")
    assert "other" not in message
    assert nearest("§", many) == "42 are known"


def test_a_half_written_line_is_no_json_and_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as raised:
        Entry.model_validate_json('{"name": "Mme Dubelara')
    assert mismatch(raised.value.errors()[0]) == "not JSON"


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "nothing"), (True, "true or false"), ([], "a list"), ({}, "an object"), (2, "a number")],
)
def test_kinds_of_json_have_names(value: object, name: str) -> None:
    assert kind_of(value) == name


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (3, "entry 1: a number, not an object"),
        ({"text": None, "labels": "A"}, "'text' holds nothing, not text"),
        ({"text": "toux", "labels": None}, "no label in 'labels' (it holds nothing)"),
        ({"text": "toux", "labels": " "}, "no label in 'labels' (it holds nothing)"),
        ({"text": "toux", "labels": True}, "no label in 'labels' (it holds true or false)"),
    ],
)
def test_a_reader_says_what_stands_where_something_else_is_expected(
    row: object, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps([row]), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        list(read_json(file, source="s"))
    assert message in str(raised.value)


def test_parts_of_a_format_of_another_kind_are_named() -> None:
    with pytest.raises(InputError, match="the file: a list where an object is expected"):
        object_of([], "the file")
    with pytest.raises(InputError, match="'spans' is an object and no list"):
        list_of({"spans": {}}, "spans", "the file")
