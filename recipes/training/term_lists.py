"""The term lists of a run: the things to learn and those held out."""

from pathlib import Path

from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.pack import Pack
from medlingua.languages.terms import hierarchy_of_terms, read_terms
from medlingua.recipes.settings import Run
from medlingua.recipes.training.term_stream import Concept, Kin, concepts_of, kin_of


def concepts(run: Run, pack: Pack) -> tuple[list[Concept], list[Concept], Hierarchy | None]:
    """The things of the pack's terms, to learn and held out, and their hierarchy; none where no phase learns them."""
    if all(phase.kind != "terms" for phase in run.phases):
        return [], [], None
    if run.data.root is None:
        raise InputError("objective.kind terms reads the pack's term lists: say where they lie with --data ROOT")
    return *concepts_of(read_terms(pack, Path(run.data.root))), hierarchy_of_terms(Path(run.data.root))


def related(run: Run, learnt: list[Concept], hierarchy: Hierarchy | None) -> Kin:
    if not learnt or not run.objective.hierarchy_steps:
        return ()
    if hierarchy is None:
        raise InputError("objective.hierarchy_steps: the Disease Ontology is not under data.root (terms/doid)")
    return kin_of(learnt, hierarchy, run.objective.hierarchy_steps)
