"""The term lists of a run: the things to learn, those held out, and how they are related."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.pack import Pack
from medlingua.languages.terms import hierarchy_of_terms, read_terms
from medlingua.recipes.settings import Run
from medlingua.recipes.training.term_stream import Concept, Relations, concepts_of, relations_of


@dataclass(frozen=True, slots=True)
class TermLists:
    """train, held_out: concepts with their names. relations: of each concept of `train`, where a phase uses them.
    Empty where no phase is of kind terms."""

    train: Sequence[Concept] = ()
    held_out: Sequence[Concept] = ()
    hierarchy: Hierarchy | None = None
    relations: Relations = ()


def term_lists(run: Run, pack: Pack) -> TermLists:
    """The pack's terms under data.root. InputError where a phase needs terms or a hierarchy that are not there."""
    if all(phase.kind != "terms" for phase in run.phases):
        return TermLists()
    if run.data.root is None:
        raise InputError("objective.kind terms reads the pack's term lists: say where they lie with --data ROOT")
    root, steps = Path(run.data.root), run.objective.hierarchy_steps
    train, held_out = concepts_of(read_terms(pack, root))
    hierarchy = hierarchy_of_terms(root)
    if not steps:
        return TermLists(train, held_out, hierarchy)
    if hierarchy is None:
        raise InputError("objective.hierarchy_steps: the Disease Ontology is not under data.root (terms/doid)")
    return TermLists(train, held_out, hierarchy, relations_of(train, hierarchy, steps))
