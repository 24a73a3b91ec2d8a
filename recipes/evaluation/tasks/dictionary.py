"""NER without a model: the mentions of train, found again word by word. What any model has to beat."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medlingua.languages.annotations import Example, Span
from medlingua.languages.words import words

Surface = tuple[str, ...]

_LONGEST = 12  # words of a mention


@dataclass(frozen=True, slots=True)
class Dictionary:
    """labels: by the words of a mention, small letters. longest: words of the longest."""

    labels: dict[Surface, str]
    longest: int


def learn(examples: Sequence[Example], spacy: str) -> Dictionary:
    """Mentions by their most frequent label, if that is what at least half of their occurrences in the text are.

    Discontinuous mentions, and those that begin or end inside a word, are left out.
    """
    annotated: dict[Surface, Counter[str]] = defaultdict(Counter)
    texts = []
    for example in examples:
        places, small = _read(example.document.text, spacy)
        texts.append(small)
        starts, ends = {a: i for i, (a, _) in enumerate(places)}, {b: i + 1 for i, (_, b) in enumerate(places)}
        assert isinstance(example.gold, tuple)
        for span in example.gold:
            first, last = starts.get(span.start), ends.get(span.end)
            if first is not None and last is not None and last - first <= _LONGEST and not span.discontinuous:
                annotated[tuple(small[first:last])][span.label] += 1
    longest = max(map(len, annotated), default=0)
    seen = Counter(part for small in texts for _, part in _parts(small, longest) if part in annotated)
    best = {part: min(labels.items(), key=lambda item: (-item[1], item[0])) for part, labels in annotated.items()}
    return Dictionary({part: label for part, (label, n) in best.items() if 2 * n >= seen[part]}, longest)


def find(dictionary: Dictionary, text: str, spacy: str) -> tuple[Span, ...]:
    """Mentions from left to right, the longest first, none inside another."""
    places, small = _read(text, spacy)
    spans, free = [], 0
    for (first, last), part in _parts(small, dictionary.longest):
        if first >= free and part in dictionary.labels:
            spans.append(Span.of(places[first][0], places[last - 1][1], dictionary.labels[part]))
            free = last
    return tuple(spans)


def of(mentions: Iterable[str], spacy: str, label: str = "") -> Dictionary:
    """A dictionary of one label. Mentions longer than twelve words are left out."""
    labels = {part: label for mention in mentions if 0 < len(part := surface(mention, spacy)) <= _LONGEST}
    return Dictionary(labels, max(map(len, labels), default=0))


def surface(text: str, spacy: str) -> Surface:
    """A text as an entry of a dictionary."""
    return tuple(_read(text, spacy)[1])


def _read(text: str, spacy: str) -> tuple[list[tuple[int, int]], list[str]]:
    places = words(text, spacy)
    return places, [text[a:b].lower() for a, b in places]


def _parts(small: Sequence[str], longest: int) -> Iterator[tuple[tuple[int, int], Surface]]:
    """Every run of words of at most `longest`, by its first word, the longest first."""
    for first in range(len(small)):
        for last in range(min(len(small), first + longest), first, -1):
            yield (first, last), tuple(small[first:last])
