"""Hierarchies of terms: distances against a plain search, and circles that are named."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import by_prefix, hierarchy_of, read_hierarchy

EDGES = [("lung cancer", "cancer"), ("skin cancer", "cancer"), ("cancer", "disease")]
EDGES += [("melanoma", "skin cancer"), ("pneumonia", "lung disease")]
EDGES += [("lung cancer", "lung disease"), ("lung disease", "disease"), ("disease", "")]


def test_distances_and_likeness_are_those_of_the_tree() -> None:
    tree = hierarchy_of(EDGES, "toy")
    assert tree.within("melanoma", 2) == {"melanoma": 0, "skin cancer": 1, "cancer": 2}
    assert tree.within("cancer", 1) == {"cancer": 0, "disease": 1, "lung cancer": 1, "skin cancer": 1}
    assert [tree.depth(name) for name in ("disease", "cancer", "lung cancer", "melanoma")] == [1, 2, 3, 4]
    assert tree.likeness("melanoma", "lung cancer") == 2 * 2 / (4 + 3)
    assert tree.likeness("melanoma", "pneumonia") == 2 * 1 / (4 + 3)
    assert tree.likeness("pneumonia", "pneumonia") == 1
    assert tree.likeness("pneumonia", "elsewhere") == 0


@settings(max_examples=50, deadline=None)
@given(parents=st.lists(st.integers(0, 19), min_size=1, max_size=20), steps=st.integers(0, 4))
def test_within_is_a_walk_in_both_directions(parents: list[int], steps: int) -> None:
    """Every node below an earlier one: distances by relaxing all edges."""
    edges = [(str(i + 1), str(parent % (i + 1))) for i, parent in enumerate(parents)]
    tree = hierarchy_of([*edges, ("0", "")], "toy")
    distance = {"0": 0}
    for _ in range(len(edges) + 1):
        for a, b in [*edges, *[(b, a) for a, b in edges]]:
            if b in distance:
                distance[a] = min(distance.get(a, 99), distance[b] + 1)
    assert tree.within("0", steps) == {name: d for name, d in distance.items() if d <= steps}


def test_codes_hang_from_their_beginnings() -> None:
    tree = by_prefix(["C34", "c34.1", "c34.11", "d50", "i10.9"], "codes")
    assert dict(tree.parents) == {
        "C34": frozenset(), "c34.1": {"C34"}, "c34.11": {"c34.1"}, "d50": frozenset(), "i10.9": frozenset()
    }  # fmt: skip


def test_a_circle_is_named(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("id\tlabel\tsubClassOf\n1\tA\tB\n2\tB\tC\n3\tC\tA\n4\tD\tA\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"terms.tsv: a hierarchy goes in a circle") as raised:
        read_hierarchy(file)
    message = str(raised.value)
    assert all(name in message for name in ("a", "b", "c"))
    assert "< d" not in message


def test_other_columns_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("name\tparent\na\tb\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"terms.tsv, line 2: not both of label and subClassOf.*among its 2 columns"):
        read_hierarchy(file)
