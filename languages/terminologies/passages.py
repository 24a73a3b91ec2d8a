"""Text made from a terminology: one passage a concept, the same for the same terminology."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..pack import Sentences
from .concept import Concept

_MOST = 12  # synonyms or children in a sentence


def passages(concepts: Sequence[Concept], sentences: Sentences, terminology: str) -> Iterator[tuple[str, str]]:
    """Code and passage of each concept: its code, synonyms, parents, children and definition, a sentence each.

    As "ICD version code for X: description" of Clinical ModernBERT (arXiv 2504.03964), with what else the release
    says. Parents without a term in the language are left out.
    """
    names = {c.code: c.name for c in concepts}
    children: Mapping[str, list[str]] = defaultdict(list)
    for c in concepts:
        for parent in c.parents:
            children[parent].append(c.name)
    for c in concepts:
        parts = [sentences.code.format(name=c.name, code=c.code, terminology=terminology)]
        lists: dict[str, Sequence[str]] = {
            "synonyms": c.synonyms,
            "parents": [names[parent] for parent in c.parents if parent in names],
            "children": children.get(c.code, ()),
        }
        for kind, terms in lists.items():
            if terms:
                parts.append(getattr(sentences, kind).format(name=c.name, **{kind: ", ".join(terms[:_MOST])}))
        if c.definition:
            parts.append(sentences.definition.format(name=c.name, definition=c.definition))
        yield c.code, " ".join(parts)


def with_parents(concepts: Sequence[Concept], hierarchy: Sequence[Concept]) -> list[Concept]:
    """The concepts with the parents that another release of the terminology gives their codes."""
    parents = {c.code: c.parents for c in hierarchy}
    return [replace(c, parents=c.parents or parents.get(c.code, ())) for c in concepts]
