"""The strategy `continue`: an English encoder, trained on with text of the language.

The parent's vocabulary is kept by default, as the published winners did. An uncased or accent-stripping
tokenizer is refused for French, Spanish and German unless it is replaced: a new vocabulary of the same kind
is learnt on the corpus, rows that both share start from the old ones, the others from the mean of the old
pieces of their surface.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.tokenizer import check_fit, kind_of, replacement
from medlingua.languages.words import words
from medlingua.recipes.settings import Run
from medlingua.reports.rows import VocabularyRow

_COUNTED_CHARS = 500_000  # of the corpus, for pieces a word


class Start(NamedTuple):
    """What training starts from. vocabulary: what changed, None where it was kept."""

    encoder: Encoder
    vocabulary: VocabularyRow | None


def start(run: Run, base: Encoder, code: str, spacy: str, texts: Callable[[], Iterator[str]]) -> Start:
    """The base with the vocabulary that the run asks for. texts: the training texts, from the start each call."""
    if run.adapt.vocabulary == "keep":
        check_fit(base.tokenizer, code, run.base)
        return Start(base, None)
    old = base.tokenizer
    new = replacement(texts, run.adapt.new_pieces, old)
    new.model_max_length = base.length
    check_fit(new, code, "the new vocabulary")
    old_size, old_rate, new_rate = len(old), *(_pieces_per_word(t, texts(), spacy) for t in (old, new))
    encoder, rows = replace_vocabulary(base, new)
    return Start(
        encoder,
        VocabularyRow(
            action="replace",
            kind=kind_of(new),
            old_size=old_size,
            new_size=len(new),
            shared=rows.shared,
            averaged=rows.averaged,
            fallback=rows.fallback,
            pieces_per_word_old=old_rate,
            pieces_per_word_new=new_rate,
        ),
    )


def _pieces_per_word(tokenizer: object, texts: Iterator[str], spacy: str) -> float:
    pieces = counted = chars = 0
    for text in texts:
        pieces += len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)  # type: ignore[attr-defined]
        counted += len(words(text, spacy))
        chars += len(text)
        if chars > _COUNTED_CHARS:
            break
    return pieces / max(1, counted)
