"""The term lists of a run: the things to learn and those held out, and what the models make of their names."""

from pathlib import Path

from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.pack import Pack
from medlingua.languages.terms import hierarchy_of_terms, read_terms
from medlingua.recipes import machine, terms
from medlingua.recipes.settings import Run
from medlingua.recipes.start import unchanged
from medlingua.recipes.term_stream import Concept, Kin, concepts_of, kin_of
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import Score


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


def score_terms(
    run: Run,
    base: str,
    encoder: Encoder,
    learnt: list[Concept],
    asked: list[Concept],
    hierarchy: Hierarchy | None,
    pack: Pack,
    folder: Path,
) -> None:
    """Retrieval across languages, and what names say of the hierarchy, by the base and by what was trained, once."""
    task = f"terms_{pack.code}"
    if any(score.task == task for score in read_run(folder).scores):
        return
    rows = []
    for name in ("base", "trained") if base else ("trained",):
        model = encoder if name == "trained" else unchanged(run, base)
        model.model.eval().to(machine.device())
        queries = sum(len(concept.names) - 1 for concept in asked)
        note = f"among the English names of {len(learnt) + len(asked):,} things"
        found = [(terms.PROTOCOL, queries, note, terms.retrieval(model, learnt, asked, name))]
        if hierarchy is not None:
            related, things = terms.hierarchy_scores(model, learnt, asked, hierarchy, name)
            found.append((terms.HIERARCHY_PROTOCOL, things, "English names in the Disease Ontology", related))
        rows += [
            Score(
                model=name, task=task, language=pack.code, split="test", metric=metric, protocol=protocol,
                value=value, seed=None, examples=count, gold=count, note=note,
            )
            for protocol, count, note, values in found
            for metric, value in values.items()
        ]  # fmt: skip
    append_row(folder / "results.jsonl", *rows)
