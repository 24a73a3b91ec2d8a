"""Terminologies as hierarchies: what is a kind of what, and how far two things are from each other."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from .delimited import read_rows
from .errors import InputError


@dataclass(frozen=True)
class Hierarchy:
    """parents: of each thing, by name, the kinds that it is of. A name may have several; a root has none."""

    parents: Mapping[str, frozenset[str]]

    @cached_property
    def children(self) -> Mapping[str, frozenset[str]]:
        children: dict[str, set[str]] = defaultdict(set)
        for child, above in self.parents.items():
            for parent in above:
                children[parent].add(child)
        return {parent: frozenset(below) for parent, below in children.items()}

    def within(self, name: str, steps: int) -> dict[str, int]:
        """Everything at most so many steps up or down from `name`, with its distance; itself at 0."""
        distances, edge = {name: 0}, {name}
        for distance in range(1, steps + 1):
            near = {n for x in edge for n in (*self.parents.get(x, ()), *self.children.get(x, ()))}
            edge = near - distances.keys()
            distances |= dict.fromkeys(edge, distance)
        return distances

    def depth(self, name: str) -> int:
        """Steps to the nearest root, and one: a root has depth 1."""
        return 1 + min((self._above(name)[a] for a in self._above(name) if not self.parents.get(a)), default=0)

    def likeness(self, left: str, right: str) -> float:
        """Wu and Palmer (1994): twice the depth of the deepest common kind over the sum of both depths, at most 1;
        0 without a common kind."""
        common = self._above(left).keys() & self._above(right).keys()
        deepest = max((self.depth(name) for name in common), default=0)
        return min(1.0, 2 * deepest / (self.depth(left) + self.depth(right)))

    def _above(self, name: str) -> dict[str, int]:
        """Everything above a name with its least distance; itself at 0."""
        distances, edge, distance = {name: 0}, {name}, 0
        while edge:
            distance += 1
            edge = {p for x in edge for p in self.parents.get(x, ())} - distances.keys()
            distances |= dict.fromkeys(edge, distance)
        return distances


def read_hierarchy(file: Path) -> Hierarchy:
    """A table with columns label and subClassOf, a row an edge; names in small letters. InputError for other columns,
    and for a cycle, which it names."""
    edges = []
    for line, row in read_rows(file, delimiter="\t"):
        if not {"label", "subClassOf"} <= row.keys():
            raise InputError(
                f"{file}, line {line}: not both of label and subClassOf, which a hierarchy has, among its {len(row)} "
                "columns; name them so",
                text=", ".join(row),
            )
        edges.append((row["label"].lower(), row["subClassOf"].lower()))
    return hierarchy_of(edges, str(file))


def by_prefix(codes: Iterable[str], where: str) -> Hierarchy:
    """Codes whose beginnings are a tree, as those of ICD-10 and ICD-O: each below its longest beginning among them,
    signs apart (`c34.1` below `c34`)."""
    plain = {"".join(c for c in code.lower() if c.isalnum()): code for code in codes}
    edges = []
    for key, code in plain.items():
        above = next((plain[key[:end]] for end in range(len(key) - 1, 0, -1) if key[:end] in plain), "")
        edges.append((code, above))
    return hierarchy_of(edges, where)


def hierarchy_of(edges: Iterable[tuple[str, str]], where: str) -> Hierarchy:
    """edges: (child, parent), "" for none."""
    parents: dict[str, set[str]] = defaultdict(set)
    for child, parent in edges:
        parents[child] |= {parent} - {""}
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        circle = " < ".join(error.args[1])
        raise InputError(f"{where}: a hierarchy goes in a circle: {circle}; take one of these edges out") from error
    return Hierarchy({name: frozenset(above) for name, above in parents.items()})
