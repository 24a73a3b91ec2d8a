"""Labelled text: spans of characters with labels, label sets, single labels."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .documents import Document
from .errors import InputError

# What a reader changes in annotations or leaves out, as lines with `{n}` for their number.
TRIMMED = "annotations that lose the white space at their ends: {n}"
NO_WIDTH = "annotations left out, which have no visible character: {n}"
UNLABELLED = "annotations left out, which have no label: {n}"
NO_CODE = "mentions left out, which have no code: {n}"
JOINED = "annotations read as whole, whose fragments white space alone divides: {n}"
MISMATCHED = "annotations kept at their offsets, which give other words than they say: {n}"
MOVED = "annotations moved to the nearest place with their words, as their offsets give others: {n}"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open character ranges of one mention, in order, and its label; nested spans are separate."""

    fragments: tuple[tuple[int, int], ...]
    label: str

    @classmethod
    def of(cls, start: int, end: int, label: str) -> "Span":
        return cls(((start, end),), label)

    @property
    def start(self) -> int:
        return self.fragments[0][0]

    @property
    def end(self) -> int:
        return self.fragments[-1][1]

    @property
    def discontinuous(self) -> bool:
        return len(self.fragments) > 1

    def surface(self, text: str) -> str:
        """The words of the span in `text`, fragments joined by a space."""
        return " ".join(text[start:end] for start, end in self.fragments)


Gold = tuple[Span, ...] | frozenset[str] | str | float


@dataclass(frozen=True, slots=True)
class Example:
    """A document with its gold: spans (ner), a span for each word (tagging), a set of labels (multilabel), one label
    (classification, pairs), the names of the right options (choice), or a value (similarity).

    question: what is asked of the document, or the other text of a pair. options: (name, text) of a choice.
    """

    id: str
    document: Document
    gold: Gold
    question: str = ""
    options: tuple[tuple[str, str], ...] = ()


def checked(span: Span, text: str, expected: str | None, where: str) -> Span:
    """The span, if its offsets lie in the text and give the annotated string; or an InputError with both as its text.

    White space may differ: some tools write a line's end as a space. expected None: the format does not say what the
    words are, and the offsets alone are checked.
    """
    inside = all(0 <= start <= end <= len(text) for start, end in span.fragments)
    surface = span.surface(text) if inside else ""
    if not inside or (expected is not None and surface.split() != expected.split()):
        offsets = ";".join(f"{start} {end}" for start, end in span.fragments)
        what = "lie outside the text" if expected is None else "give other words than the annotation says"
        raise InputError(
            f"{where}: offsets {offsets} {what} "
            f"(the text has {len(text)} characters); the text was changed after annotation (newlines, "
            f"byte order mark, Unicode form) or the offsets count something else: take the original text",
            text=f"{surface!r}, and the annotation says {expected!r}" if expected is not None else "",
        )
    return span


def placed(span: Span, text: str, expected: str, where: str, notes: Counter[str] | None, misplaced: str) -> Span:
    """The span, checked. misplaced: what becomes of one whose offsets give other words than the annotation says.

    "refuse": an InputError. "move": it goes to the nearest place of its words, an InputError if they are nowhere.
    "keep": it stays, if its offsets lie in the text. `notes` counts both.
    """
    if misplaced not in ("keep", "move", "refuse"):
        raise InputError(f"{where}: misplaced is '{misplaced}'; known: keep, move, refuse")
    try:
        return checked(span, text, expected, where)
    except InputError:
        moved = _moved(span, text, expected) if misplaced == "move" else None
        if misplaced == "refuse" or (misplaced == "move" and moved is None):
            raise
    if notes is not None:
        notes[MISMATCHED if moved is None else MOVED] += 1
    return moved or checked(span, text, None, where)


def _moved(span: Span, text: str, expected: str) -> Span | None:
    """The span at the nearest place where it has the expected words."""
    if span.discontinuous:
        shifts = sorted(range(-span.start, len(text) - span.end + 1), key=abs)
        for shift in shifts:
            there = Span(tuple((start + shift, end + shift) for start, end in span.fragments), span.label)
            if there.surface(text) == expected:
                return there
        return None
    words = expected.strip()
    starts = [match.start() for match in re.finditer(f"(?={re.escape(words)})", text)] if words else []
    if not starts:
        return None
    start = min(starts, key=lambda place: abs(place - span.start))
    return Span.of(start, start + len(words), span.label)


def tidy(spans: Iterable[Span], text: str, notes: Counter[str] | None = None) -> tuple[Span, ...]:
    """Spans in order, each once, as a tagger of words could find them; `notes` counts what is changed.

    Fragments are put in order, and joined where they overlap or only white space divides them (brat divides an entity
    at a line's end). White space at the ends is cut off, and what has no visible character is left out. Offsets lie
    in the text.
    """
    notes = Counter() if notes is None else notes
    whole = set()
    for span in spans:
        pieces = [_trimmed(start, end, text) for start, end in sorted(span.fragments)]
        pieces = [(start, end) for start, end in pieces if start < end]
        if not pieces:
            notes[NO_WIDTH] += 1
            continue
        if pieces[0][0] != min(span.fragments)[0] or pieces[-1][1] != max(end for _, end in span.fragments):
            notes[TRIMMED] += 1
        joined = [pieces[0]]
        for start, end in pieces[1:]:
            if not text[joined[-1][1] : start].strip():
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        if len(joined) < len(span.fragments):
            notes[JOINED] += 1
        whole.add(Span(tuple(joined), span.label))
    return tuple(sorted(whole))


def _trimmed(start: int, end: int, text: str) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
