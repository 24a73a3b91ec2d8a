"""The vocabulary that a run asks for: kept, extended, replaced, pruned or repaired, with its rows started."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.extension import Extension, extend
from medlingua.adapters.focus import piece_vectors
from medlingua.adapters.pruning import prune
from medlingua.adapters.repair import repair
from medlingua.adapters.tokenizer import added_words, check_fit, kind_of, learn_tokenizer, loss_message, surface
from medlingua.adapters.wechsel import Mixtures
from medlingua.adapters.wechsel import mixtures as wechsel_mixtures
from medlingua.languages.cases import generate_cases
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.terms import read_dictionary, read_terms
from medlingua.languages.vocabulary import changes, shares_changed
from medlingua.languages.words import words
from medlingua.recipes.console import progress, say
from medlingua.recipes.settings import Data, Run
from medlingua.recipes.text.sources import SYNTHETIC, read, select
from medlingua.reports.rows import VocabularyRow
from transformers import PreTrainedTokenizerFast

_COUNTED_CHARS = 500_000  # of the corpus, for pieces a word
_OTHER_CASES = 200  # synthetic English cases, for what changes in text of another language


def change(
    run: Run, base: Encoder, pack: Pack, texts: Callable[[], Iterator[str]], documents: Callable[[], Iterator[str]]
) -> tuple[Encoder, VocabularyRow | None]:
    """The base with the vocabulary that the run asks for, and what changed; None where it was kept.

    texts: the training text in stretches that a tokenizer takes at once; documents: whole, for what is counted by
    document. Both from the start at each call.
    """
    if run.adapt.vocabulary == "keep":
        check_base(run, base.tokenizer, pack)
        return base, None
    old = base.tokenizer
    new, row, parts = changed_tokenizer(run, old, pack, texts, documents)
    new.model_max_length = base.length
    start = run.adapt.rows or ("focus" if run.adapt.vocabulary == "replace" else "mean")
    vectors = piece_vectors(new, _with_progress(texts(), "likeness of pieces")) if start == "focus" else None
    mixtures = _wechsel_mixtures(run, old, new, pack, texts()) if start == "wechsel" else None
    friends = _false_friends(old, new, pack) if run.adapt.vocabulary == "replace" else {}
    encoder, rows = replace_vocabulary(base, new, start, vectors, mixtures, friends, parts)
    counts = {
        "shared": rows.shared,
        "averaged": rows.averaged,
        "fallback": rows.fallback,
        "false_friends": tuple(word for word in pack.false_friends if word in friends.values()),
        "rows": start,
    }
    return encoder, row.model_copy(update=counts)


def check_base(run: Run, tokenizer: PreTrainedTokenizerFast, pack: Pack) -> None:
    """InputError for a tokenizer that merges words of the language; with --allow uncased a line instead."""
    if "uncased" not in run.allow:
        check_fit(tokenizer, pack.code, run.base)
    elif lost := loss_message(tokenizer, pack.code):
        say(f"{run.base}: its tokenizer loses {lost}, as --allow uncased permits; the trained model loses them too")


def changed_tokenizer(
    run: Run,
    old: PreTrainedTokenizerFast,
    pack: Pack,
    texts: Callable[[], Iterator[str]],
    documents: Callable[[], Iterator[str]],
) -> tuple[PreTrainedTokenizerFast, VocabularyRow, dict[str, tuple[int, ...]]]:
    """The tokenizer alone, extended, pruned, replaced or repaired; its row, which counts no embeddings yet; and the
    old pieces of each that was added."""
    adapt = run.adapt
    fewer = "adapt.new_pieces" in run.decided
    action: Literal["extend", "prune", "replace", "repair"]
    extension: Extension | None = None
    if adapt.vocabulary == "replace":
        action, new = "replace", learn_tokenizer(texts, adapt.new_pieces, old, fewer=fewer)
        if len(new) < adapt.new_pieces:
            say(f"vocabulary: the texts yield {len(new):,} pieces, fewer than the default {adapt.new_pieces:,}")
        check_fit(new, pack.code, "the new vocabulary")
    else:
        check_base(run, old, pack)  # no new piece gives back what the normaliser takes away
        if adapt.vocabulary == "prune":
            action, new = "prune", prune(old, _with_progress(texts(), "pieces that the texts use"))
            say(f"vocabulary: {len(old):,} pieces pruned to {len(new):,}")
        elif adapt.vocabulary == "repair":
            action, (new, left) = "repair", repair(old)
            say(f"vocabulary: {len(added_words(old)) - len(left):,} words of add_tokens made pieces")
            if left:
                say(f"no single piece can stand for {len(left):,} of them, left out: {', '.join(left[:20])}")
        else:
            extension = extend(
                old,
                _with_progress(documents(), "words for new pieces"),
                adapt.new_pieces,
                min_documents=adapt.piece_documents,
                priority=adapt.priority,
                capitals_are_names=not pack.capital_nouns,
                fewer=fewer,
            )
            action, new = "extend", extension.tokenizer
            refused = ", ".join(f"{count:,} {why}" for why, count in extension.refused.items()) or "none"
            added = len(extension.pieces)
            default = f", fewer than the default {adapt.new_pieces:,}" if added < adapt.new_pieces else ""
            say(f"vocabulary: {added:,} pieces added{default}; candidates refused: {refused}")
    old_rate, new_rate = (_pieces_per_word(t, texts(), pack.spacy) for t in (old, new))
    row = VocabularyRow(
        action=action,
        kind=kind_of(new),
        old_size=len(old),
        new_size=len(new),
        shared=0,
        averaged=0,
        fallback=0,
        pieces_per_word_old=old_rate,
        pieces_per_word_new=new_rate,
        other_words_changed=None if action == "replace" else _share_changed(old, new),
        steps=extension.steps if extension else None,
        examples=_examples(extension) if extension else (),
    )
    return new, row, extension.parts if extension else {}


def _wechsel_mixtures(
    run: Run, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast, pack: Pack, texts: Iterator[str]
) -> Mixtures:
    """New pieces as mixtures of old ones, through a dictionary and English text from where the run's text comes."""
    root = None if run.data.root is None else Path(run.data.root)
    if run.adapt.dictionary is not None:
        terms = read_dictionary(Path(run.adapt.dictionary), pack.code)
    elif root is not None:
        terms = [(term.text, term.english) for term in read_terms(pack, root)]
    else:
        raise InputError(
            "adapt.rows 'wechsel' needs a dictionary: --data ROOT with the pack's term lists, or adapt.dictionary, a "
            "table with columns en, lang and translation"
        )
    english = load_pack("en")
    # The run's own text is not English: the pack's is read, or synthetic cases where the run reads those.
    if root is None and SYNTHETIC not in run.data.paths:
        raise InputError("adapt.rows 'wechsel' reads English text too: give --data ROOT with the English corpora")
    paths = (SYNTHETIC,) if SYNTHETIC in run.data.paths else ()
    source = run.model_copy(update={"lang": "en", "data": Data(root=run.data.root, paths=paths)})
    selection = select(source, english)
    say(f"dictionary: {len(terms):,} terms; English text: {', '.join(s.name for s in selection.sources)}")
    english_texts = (document.text for part in selection.sources for document in read(part, english, source))
    pairs = sorted({(e.lower(), t.lower()) for t, e in terms if len(e.split()) == len(t.split()) == 1})
    return wechsel_mixtures(old, new, _with_progress(english_texts, "English text"), texts, pairs)


def _with_progress(texts: Iterator[str], what: str) -> Iterator[str]:
    with progress(what, None) as bar:
        for number, text in enumerate(texts, 1):
            yield text
            bar.update(number, f"{number:,} documents")


def _false_friends(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast, pack: Pack) -> dict[int, str]:
    """Whole words of the pack's list whose piece both tokenizers have, by their new ids (T19)."""
    known, listed, friends = old.get_vocab(), {*pack.false_friends}, {}
    for piece, id in new.get_vocab().items():
        text, inside = surface(new, piece)
        if piece in known and not inside and text.lower() in listed:
            friends[id] = text.lower()
    return friends


def _pieces_per_word(tokenizer: PreTrainedTokenizerFast, texts: Iterator[str], spacy: str) -> float:
    pieces = counted = chars = 0
    for text in texts:
        pieces += len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
        counted += len(words(text, spacy))
        chars += len(text)
        if chars > _COUNTED_CHARS:
            break
    return pieces / max(1, counted)


def _share_changed(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> float:
    """Share of the words of synthetic English cases that are cut otherwise: what the model knew before."""
    english = load_pack("en")
    texts = [case.document.text for case in generate_cases(english, _OTHER_CASES, seed=0)]
    return shares_changed(changes(old.backend_tokenizer, new.backend_tokenizer, texts, english.spacy))[0]


def _examples(extension: Extension, count: int = 40) -> tuple[str, ...]:
    """New pieces as a person reads them, from all over the order in which they were learnt."""
    new = extension.tokenizer
    texts = [new.decode([new.convert_tokens_to_ids(piece)]).strip() for piece in extension.pieces]
    return tuple(texts[:: max(1, len(texts) // count)][:count])
