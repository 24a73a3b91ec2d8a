"""Words, sentences and pieces of a text as character ranges: the text itself is never changed."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from .errors import InputError, reason

_PIECE = 200_000  # characters that one spaCy document holds at most
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")
# A full stop after a single letter is an initial or an abbreviation (z. B., J. Dupont), in any language.
_SENTENCE = re.compile(r"(?<!\b\w)[.!?…]{1,3}[\"»”’)\]]{0,3}\s+(?=[^\W\d_]|[\d¿¡\"«„“(•–-])")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")
_INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]"
)  # soft hyphens, zero-width spaces and joiners, marks


def nfc(text: str) -> str:
    """Canonical composition: é is one character. Never NFKC, which turns 10⁹/L into 109/L and 1ª into 1a."""
    return unicodedata.normalize("NFC", text)


def compared_words(text: str) -> list[str]:
    """The words by which texts are compared: composed, case folded, without punctuation and invisible signs."""
    return _WORD.findall(nfc(_INVISIBLE.sub("", text)).casefold())


def words(text: str, code: str) -> list[tuple[int, int]]:
    """The words and signs of a text by the blank spaCy pipeline `code`, white space left out.

    French elisions stand alone (l' d' qu'), German compounds stay whole. Ranges are (start, end) in
    characters of `text`; InputError if spaCy does not know the code.
    """
    return [
        (start + token.idx, start + token.idx + len(token.text))
        for start, end in cut(text, _PIECE, code)
        for token in _pipeline(code)(text[start:end])
        if not token.is_space
    ]


def sentences(text: str, code: str) -> list[tuple[int, int]]:
    """Sentences that cover the text without a gap: white space belongs to the sentence before it.

    A sentence ends where spaCy's sentencizer says, and at every blank line (headings and list items of
    clinical notes have no full stop).
    """
    starts = []
    for begin, finish in cut(text, _PIECE, code):
        for start, end in _paragraphs(text, begin, finish):
            for sentence in _pipeline(code)(text[start:end]).sents:
                first = next((token.idx for token in sentence if not token.is_space), None)
                if first is not None:
                    starts.append(start + first)
    if text:
        starts[:1] = [0]  # white space at the very beginning belongs to the first sentence
    return list(pairwise([*starts, len(text)]))


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in _PARAGRAPH.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end


@cache
def _pipeline(code: str) -> Any:
    import spacy

    try:
        pipeline = spacy.blank(code)
    except ImportError as error:
        raise InputError(
            f"spaCy cannot make a blank pipeline '{code}' ({reason(error)}); set 'spacy' in the pack to a language "
            "that it has, or to 'xx' (any language)"
        ) from error
    pipeline.add_pipe("sentencizer")
    pipeline.max_length = 10 * _PIECE
    return pipeline


def cut(text: str, limit_chars: int, code: str) -> list[tuple[int, int]]:
    """Ranges of at most `limit_chars` characters that cover the text exactly, in order.

    Each ends at the last paragraph end in its second half, else at the last sentence end there, else at
    white space, else between two characters (never before a combining accent, unless there is no other
    place). Linear in the text and without spaCy, so that a document of 50 MB is cut in about a second.
    """
    if limit_chars < 1:
        raise InputError(f"cut: a limit of {limit_chars} characters; give 1 or more")
    pieces = []
    start = 0
    while len(text) - start > limit_chars:
        end = _best_end(text, start + (limit_chars + 1) // 2, start + limit_chars, code)
        pieces.append((start, end))
        start = end
    if start < len(text):
        pieces.append((start, len(text)))
    return pieces


def _best_end(text: str, low: int, high: int, code: str) -> int:
    """The best place to cut in (low, high], or in the whole piece's last half at least."""
    for pattern in (_PARAGRAPH, _SENTENCE, _SPACE):
        # Matches may look one character beyond `high`, but must end inside.
        ends = [m.end() for m in pattern.finditer(text, low, high + 1) if _ends(m, high, code)]
        if ends:
            return ends[-1]
    end = high
    while end > low and unicodedata.combining(text[end]):
        end -= 1
    return end if end > low or not unicodedata.combining(text[end]) else high


def _ends(match: re.Match[str], high: int, code: str) -> bool:
    if match.end() > high:
        return False
    if match.re is not _SENTENCE or code != "de":
        return True
    # German writes ordinals with a full stop: am 3. Mai, der 2. Halswirbel.
    return not match.string[match.start() - 1 : match.start()].isdigit()
