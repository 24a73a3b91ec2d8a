"""Scores of term embeddings, by retrieval across languages and by what names say of a hierarchy.

Protocol terms-retrieval/1: for each held-out thing, its name in the language asks for its English name among those of
all things, learnt ones included.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import pack as packed_row
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.pack import Pack
from medlingua.recipes import machine
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.finetune import longest_first
from medlingua.recipes.settings import Run
from medlingua.recipes.training.term_lists import TermLists
from medlingua.recipes.training.term_stream import Concept, encoded
from medlingua.recipes.training.terms import embedded
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import Score
from scipy.stats import spearmanr
from torch import Tensor

PROTOCOL = "terms-retrieval/1"
HIERARCHY_PROTOCOL = "terms-hierarchy/1"
_RELATED_STEPS, _STRANGERS = 3, 10  # pairs whose likeness is compared: all related ones so near, and so many others
_ROW_TOKENS = 8_192


def score_terms(run: Run, base: str, encoder: Encoder, terms: TermLists, pack: Pack, folder: Path) -> None:
    """Retrieval across languages, and what names say of the hierarchy, by the base and by what was trained, once."""
    task = f"terms_{pack.code}"
    if any(score.task == task for score in read_run(folder).scores):
        return
    rows = []
    for name in ("base", "trained") if base else ("trained",):
        model = encoder if name == "trained" else encoders.load(base, revision=run.revision, allow=run.allow)
        model.model.eval().to(machine.device())
        queries = sum(len(concept.names) - 1 for concept in terms.held_out)
        note = f"among the {terms.names} of {len(terms.train) + len(terms.held_out):,} things"
        results = [(PROTOCOL, queries, note, retrieval(model, terms.train, terms.held_out, name))]
        if terms.hierarchy is not None:
            metrics, things = hierarchy_scores(model, terms.train, terms.held_out, terms.hierarchy, name)
            results.append((HIERARCHY_PROTOCOL, things, f"{terms.names} in {terms.source}", metrics))
        rows += [
            Score(
                model=name, task=task, language=pack.code, split="test", metric=metric, protocol=protocol,
                value=value, seed=None, examples=count, gold=count, note=note,
            )
            for protocol, count, note, metrics in results
            for metric, value in metrics.items()
        ]  # fmt: skip
    append_row(folder / "results.jsonl", *rows)


@torch.no_grad()
def retrieval(
    encoder: Encoder, learnt: Sequence[Concept], held_out: Sequence[Concept], name: str
) -> dict[str, float]:
    """accuracy@1, accuracy@5 and MRR of the right English name, a name in the language at a time."""
    english = term_vectors(encoder, [c.english for c in (*held_out, *learnt)], f"English names, {name}")
    queries = [(text, number) for number, concept in enumerate(held_out) for text in concept.names[1:]]
    vectors = term_vectors(encoder, [text for text, _ in queries], f"names, {name}")
    right = torch.tensor([number for _, number in queries], device=vectors.device)
    likeness = vectors @ english.T
    # Names that are just as like count before the right one: a model that gives all the same finds nothing.
    ranks = (likeness >= likeness.gather(1, right[:, None])).sum(dim=1).double()
    return {
        "accuracy@1": float((ranks <= 1).double().mean()),
        "accuracy@5": float((ranks <= 5).double().mean()),
        "MRR": float((1 / ranks).mean()),
    }


@torch.no_grad()
def hierarchy_scores(
    encoder: Encoder, learnt: Sequence[Concept], held_out: Sequence[Concept], hierarchy: Hierarchy, name: str
) -> tuple[dict[str, float], int]:
    """What English names say of the hierarchy (protocol terms-hierarchy/1), and how many things were asked for.

    Of each held-out thing that has a parent among all things: "parent MRR", where the nearest of its parents
    stands among all others; "relatedness Spearman", the correlation of cosines with Wu and Palmer's likeness over
    pairs of it with everything up to three steps away and ten others, drawn once.
    """
    known = [c for c in (*held_out, *learnt) if c.english.lower() in hierarchy.parents]
    names = [c.english.lower() for c in known]
    place = {text: number for number, text in enumerate(names)}
    queries = [c.english.lower() for c in held_out if c.english.lower() in place]
    parents = {text: [place[p] for p in hierarchy.parents[text] if p in place] for text in queries}
    queries = [text for text in queries if parents[text]]
    if not queries:
        return {}, 0
    vectors = term_vectors(encoder, [c.english for c in known], f"hierarchy, {name}").cpu()
    draw = np.random.default_rng(0)
    ranks, cosines, likeness = [], [], []
    for text in queries:
        similarities = vectors @ vectors[place[text]]
        similarities[place[text]] = -torch.inf
        best = similarities[parents[text]].max()
        ranks.append(int((similarities >= best).sum()))
        near = [place[n] for n in hierarchy.within(text, _RELATED_STEPS) if n in place and n != text]
        for other in dict.fromkeys([*near, *draw.integers(0, len(names), _STRANGERS).tolist()]):
            if other != place[text]:
                cosines.append(float(similarities[other]))
                likeness.append(hierarchy.likeness(text, names[other]))
    correlation = float(spearmanr(cosines, likeness).statistic)
    return {"parent MRR": float(np.mean([1 / r for r in ranks])), "relatedness Spearman": correlation}, len(queries)


@torch.no_grad()
def term_vectors(encoder: Encoder, texts: Sequence[str], label: str) -> Tensor:
    """(texts, width) fp32, unit vectors: the mean hidden state of each text, in order. label: of the progress bar."""
    ids = encoded(encoder.tokenizer, texts, encoder.length)
    order = longest_first([len(i) for i in ids])
    vectors = []
    with progress(label, len(ids)) as bar:
        for group in _groups(ids, order):
            packed = packed_row([ids[i] for i in group], encoder.first_position, encoder.global_ids)
            vectors.append(embedded(encoder, packed.to(encoder.device)))
            bar.update(sum(map(len, vectors)))
    inverse = torch.from_numpy(np.argsort(order, kind="stable")).to(encoder.device)
    return torch.cat(vectors)[inverse]


def _groups(ids: Sequence[np.ndarray], order: np.ndarray) -> Iterator[list[int]]:
    group: list[int] = []
    tokens = 0
    for place in order.tolist():
        if group and tokens + len(ids[place]) > _ROW_TOKENS:
            yield group
            group, tokens = [], 0
        group.append(place)
        tokens += len(ids[place])
    if group:
        yield group
