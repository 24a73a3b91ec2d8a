"""Codes and their terms, against which mentions are normalized."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .annotations import Example, Span
from .delimited import read_rows
from .errors import InputError
from .files import missing_column

Terms = dict[str, Counter[str]]  # by term its codes, with the number of entries and mentions that have both


def read_terminology(file: Path) -> Iterator[tuple[str, str]]:
    """Code and term of each row of a table with the columns `code` and `term`, as the gazetteers of DisTEMIST,
    SympTEMIST and MedProcNER are; rows without a code or a term are left out. InputError for another table."""
    for number, row in read_rows(file, delimiter="\t" if ".tsv" in file.name else None):
        for column in ("code", "term"):
            if column not in row:
                raise missing_column(column, row, f"terminology {file}, line {number}")
        code, term = row["code"].strip(), plain_term(row["term"])
        if code and term:
            yield code, term


def terms_of(terminology: Iterable[tuple[str, str]], examples: Iterable[Example]) -> Terms:
    """The terms of a terminology, and the mentions of examples, whose labels are codes."""
    terms: Terms = {}
    for code, term in terminology:
        terms.setdefault(term, Counter())[code] += 1
    for example in examples:
        for span, mention in mentions_of(example):
            terms.setdefault(mention, Counter())[span.label] += 1
    return terms


def mentions_of(example: Example) -> Iterator[tuple[Span, str]]:
    """Each span with its words."""
    if not isinstance(example.gold, tuple):
        raise InputError("mentions with codes are spans; correct the task's 'kind' or 'reader'")
    for span in example.gold:
        yield span, plain_term(span.surface(example.document.text))


def plain_term(text: str) -> str:
    """With one space wherever there is white space."""
    return " ".join(text.split())
