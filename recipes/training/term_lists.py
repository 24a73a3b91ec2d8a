"""The term lists of a run: the things to learn, those held out, and how they are related."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import Hierarchy, hierarchy_of
from medlingua.languages.pack import Pack
from medlingua.languages.terminologies.concept import Concept as Terminology
from medlingua.languages.terminologies.reading import read_concepts
from medlingua.languages.terms import OTHER, Term, hierarchy_of_terms, read_terms
from medlingua.recipes.settings import Run
from medlingua.recipes.training.term_stream import Concept, Relations, concepts_of, relations_of


@dataclass(frozen=True, slots=True)
class TermLists:
    """train, held_out: concepts with their names. relations: of each concept of `train`, where a phase uses them.
    concepts: of the terminology, for phases of kind relations. names, source: what identifies a concept, and where
    the hierarchy is from, in words. Empty where no phase is of kind terms."""

    train: Sequence[Concept] = ()
    held_out: Sequence[Concept] = ()
    hierarchy: Hierarchy | None = None
    relations: Relations = ()
    concepts: Sequence[Terminology] = ()
    names: str = "English names"
    source: str = "the Disease Ontology"


def term_lists(run: Run, pack: Pack) -> TermLists:
    """The terminology of the settings, or the pack's terms under data.root. InputError where a phase needs terms or a
    hierarchy that are not there."""
    kinds = {phase.kind for phase in run.phases}
    if "relations" in kinds and run.objective.terminology is None:
        raise InputError("objective.kind relations learns from a terminology: name its file in objective.terminology")
    concepts: Sequence[Terminology] = ()
    if run.objective.terminology is not None and not kinds & {"terms", "relations"}:
        raise InputError("objective.terminology is read by phases of kind terms and relations alone: leave it out")
    if "relations" in kinds:
        concepts = read_concepts(Path(str(run.objective.terminology)), pack.code)
        if not any(c.parents for c in concepts):
            raise InputError(
                f"objective.terminology {run.objective.terminology} says of nothing what it is a kind of (is_a, a "
                "column parent), so there is no relation to learn"
            )
    if "terms" not in kinds:
        return TermLists(concepts=concepts)
    steps = run.objective.hierarchy_steps
    if run.objective.terminology is not None:
        lists = _of_terminology(Path(run.objective.terminology), pack)
    else:
        lists = _of_pack(run, pack)
    lists = replace(lists, concepts=concepts)
    if not steps:
        return lists
    if lists.hierarchy is None:
        raise InputError("objective.hierarchy_steps: the Disease Ontology is not under data.root (terms/doid)")
    return replace(lists, relations=relations_of(lists.train, lists.hierarchy, steps))


def _of_pack(run: Run, pack: Pack) -> TermLists:
    if run.data.root is None:
        raise InputError(
            "objective.kind terms reads the pack's term lists: say where they lie with --data ROOT, or name a "
            "release in objective.terminology"
        )
    root = Path(run.data.root)
    train, held_out = concepts_of(read_terms(pack, root))
    return TermLists(train, held_out, hierarchy_of_terms(root))


def _of_terminology(path: Path, pack: Pack) -> TermLists:
    """Preferred names with their synonyms. A name of two concepts stands for both."""
    concepts = read_concepts(path, pack.code)
    if not any(c.synonyms for c in concepts):
        raise InputError(f"objective.terminology {path} has no synonyms, of which objective.kind terms learns")
    train, held_out = concepts_of(Term(s, c.name, OTHER, "") for c in concepts for s in c.synonyms)
    names = {c.code: c.name.lower() for c in concepts}
    edges = [
        (names[c.code], names.get(parent, ""))
        for c in concepts
        for parent in c.parents or ("",)
        if names.get(parent, "") != names[c.code]
    ]
    return TermLists(train, held_out, hierarchy_of(edges, str(path)), names="preferred names", source=path.name)
