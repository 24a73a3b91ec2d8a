"""What a terminology says about one thing."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Concept:
    """code: as the terminology writes it. name: the preferred term. synonyms: other terms, none twice. parents: codes
    of the kinds that it is of, or of what its code lies below. definition: "" for none."""

    code: str
    name: str
    synonyms: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    definition: str = ""


def concept(code: str, terms: Iterable[str], parents: Iterable[str] = (), definition: str = "") -> Concept | None:
    """A concept from its terms, the preferred one first; white space made plain. None where it has no term."""
    plain = dict.fromkeys(text for term in terms if (text := " ".join(term.split())))
    if not plain:
        return None
    name, *synonyms = plain
    return Concept(code, name, tuple(synonyms), tuple(dict.fromkeys(parents)), " ".join(definition.split()))


def joined(first: Concept, other: Concept) -> Concept:
    """Two entries of one code as one: the terms and parents of both, the first one's name and definition."""
    terms = dict.fromkeys((*first.synonyms, other.name, *other.synonyms))
    return Concept(
        first.code,
        first.name,
        tuple(term for term in terms if term != first.name),
        tuple(dict.fromkeys((*first.parents, *other.parents))),
        first.definition or other.definition,
    )
