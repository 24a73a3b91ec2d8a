"""Normalization: the code of each mention, by the nearest term of a terminology.

Protocol normalization/1: mentions and terms are embedded by themselves, as unit vectors of mean hidden states (as
SapBERT's, Liu et al. 2021, but the mean of all tokens in place of the first one); codes are ranked by their nearest
term, by cosine. Terms are those of the task's terminology, where it names one, and the mentions of train with their
codes. Nothing is trained. Codes of one term are ranked by how often the term has them; a code without a term is
missed.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Span
from medlingua.languages.task import Task
from medlingua.languages.terminology import Terms, mentions_of, terms_of
from medlingua.recipes.evaluation.terms import term_vectors
from medlingua.reports.bootstrap import Tally

_RANKED = 5  # codes of a mention
_CANDIDATES = 256  # nearest terms that are sorted first
_CELLS = 2**25  # of a table of cosines

Ranking = tuple[str, ...]  # the first codes of a mention, the best first


class Normalization:
    """A task of mentions and codes. Rankings are lists, one a document, with an entry for each of its mentions."""

    protocol = "normalization/1"
    main_metric = "accuracy@1"
    tally: Tally = "micro-F1"  # of a document: correct, mentions, mentions; which is accuracy

    def __init__(self, task: Task) -> None:
        self.task = task

    @cached_property
    def terms(self) -> Terms:
        return terms_of(self.task.terminology, self.task.train)

    @cached_property
    def codes(self) -> frozenset[str]:
        """Those that have a term."""
        return frozenset(code for codes in self.terms.values() for code in codes)

    def mentions(self, part: str) -> list[list[tuple[Span, str]]]:
        return [list(mentions_of(example)) for example in getattr(self.task, part)]

    def by_embedding(self, part: str, encoder: Encoder, name: str) -> list[list[Ranking]]:
        names = sorted(self.terms)
        known = term_vectors(encoder, names, f"{self.task.spec.name}, terms, {name}").cpu().numpy()
        mentions = self.mentions(part)
        texts = sorted({text for of in mentions for _, text in of})
        vectors = term_vectors(encoder, texts, f"{self.task.spec.name}, mentions, {name}").cpu().numpy()
        codes = [_by_count(self.terms[term]) for term in names]
        ranked = dict(zip(texts, nearest_codes(vectors, known, codes), strict=True))
        return [[ranked[text] for _, text in of] for of in mentions]

    def by_string(self, part: str) -> list[list[Ranking]]:
        """Codes of the terms that are spelt like the mention, but for case and accents."""
        folded: dict[str, Counter[str]] = {}
        for term, codes in self.terms.items():
            folded.setdefault(without_accents(term), Counter()).update(codes)
        ranked = {term: tuple(_by_count(codes)[:_RANKED]) for term, codes in folded.items()}
        return [[ranked.get(without_accents(text), ()) for _, text in of] for of in self.mentions(part)]

    def score(self, part: str, rankings: Sequence[Sequence[Ranking]]) -> dict[str, float]:
        """ "new mentions" are those that no term is spelt like, but for case and accents."""
        spelt = {without_accents(term) for term in self.terms}
        flat = [
            (span.label, text, ranking)
            for of, ranked in zip(self.mentions(part), rankings, strict=True)
            for (span, text), ranking in zip(of, ranked, strict=True)
        ]
        hits = [(r[:1] == (code,), code in r, without_accents(text) not in spelt) for code, text, r in flat]
        first, among, new = np.array(hits).reshape(-1, 3).T
        scores = {"accuracy@1": float(first.mean()), "accuracy@5": float(among.mean())}
        if new.any():
            scores["accuracy@1 of new mentions"] = float(first[new].mean())
        for length in self.task.spec.levels:
            same = [code[:length] == "".join(ranking[:1])[:length] for code, _, ranking in flat]
            scores[f"accuracy@1, {length}-character codes"] = float(np.mean(same))
        return scores

    def chance(self, part: str) -> dict[str, float]:
        """What the codes in a random order are expected to score."""
        reachable, count = self.upper_bound(part), max(1, len(self.codes))
        return {f"accuracy@{n}": reachable * min(n, count) / count for n in (1, _RANKED)}

    def upper_bound(self, part: str) -> float:
        """The share of mentions whose code has a term."""
        known = [span.label in self.codes for of in self.mentions(part) for span, _ in of]
        return float(np.mean(known))

    def tallies(self, part: str, rankings: Sequence[Sequence[Ranking]]) -> np.ndarray:
        """(documents, 3): mentions whose first code is correct, and twice all mentions."""
        rows = []
        for of, ranked in zip(self.mentions(part), rankings, strict=True):
            correct = sum(ranking[:1] == (span.label,) for (span, _), ranking in zip(of, ranked, strict=True))
            rows.append((correct, len(of), len(of)))
        return np.array(rows)

    def plain(self, part: str, rankings: Sequence[Sequence[Ranking]]) -> list[list[dict[str, object]]]:
        """For the file of predictions: each mention with its first codes."""
        return [
            [{"fragments": span.fragments, "codes": list(r)} for (span, _), r in zip(of, ranked, strict=True)]
            for of, ranked in zip(self.mentions(part), rankings, strict=True)
        ]


def nearest_codes(vectors: np.ndarray, known: np.ndarray, codes: Sequence[Sequence[str]]) -> Iterator[Ranking]:
    """The first five codes of each vector, by the cosine of their nearest term; terms that are as near are in the
    order given. vectors: (n, width), known: (terms, width), of unit length; codes: of each term."""
    step = max(1, _CELLS // max(1, len(known)))
    for start in range(0, len(vectors), step):
        for cosines in vectors[start : start + step] @ known.T:
            ranking = _first_codes(codes[i] for i in _nearest(cosines, _CANDIDATES))
            if len(ranking) < _RANKED and len(cosines) > _CANDIDATES:  # hundreds of synonyms of a few codes
                ranking = _first_codes(codes[i] for i in _nearest(cosines, len(cosines)))
            yield ranking


def _nearest(cosines: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the `count` highest, the highest first, the first of equals first."""
    if count < len(cosines):
        border = np.partition(cosines, -count)[-count]
        candidates = np.flatnonzero(cosines >= border)
    else:
        candidates = np.arange(len(cosines))
    order: np.ndarray = candidates[np.argsort(-cosines[candidates], kind="stable")]
    return order


def _first_codes(groups: Iterable[Sequence[str]]) -> Ranking:
    ranked_codes: dict[str, None] = {}
    for codes in groups:
        ranked_codes |= dict.fromkeys(codes)
        if len(ranked_codes) >= _RANKED:
            break
    return tuple(ranked_codes)[:_RANKED]


def _by_count(codes: Counter[str]) -> list[str]:
    return sorted(codes, key=lambda code: (-codes[code], code))


def without_accents(text: str) -> str:
    """In lower case, without marks."""
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
