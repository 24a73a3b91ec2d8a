"""Rows of the hub that list several documents."""

import pytest
from medlingua.languages.documents import unnested

LISTED = {"id": "p1", "specialty": "cardiologie", "documents": [{"type": "CRH", "text": "Un."}, {"text": "Deux."}]}
COLUMNS = {"id": "p1", "documents": {"type": ["CRH", "CRO"], "text": ["Un.", "Deux."]}}


@pytest.mark.parametrize("row", [LISTED, COLUMNS])
def test_each_object_of_the_column_is_a_row_with_an_id_of_its_own(row: dict[str, object]) -> None:
    rows = list(unnested(row, "documents.text"))
    assert [item["documents.text"] for item in rows] == ["Un.", "Deux."]
    assert [item["id"] for item in rows] == ["p1:1", "p1:2"]
    assert rows[0]["type"] == "CRH"


def test_a_plain_column_and_a_missing_one_are_left_to_the_reader() -> None:
    assert list(unnested(LISTED, "text")) == [LISTED]
    assert list(unnested({"id": "p1"}, "documents.text")) == [{"id": "p1"}]
    assert list(unnested({"documents.text": "x"}, "documents.text")) == [{"documents.text": "x"}]
