"""The strategy `scratch`: a stock architecture trained from nothing.

With a base, the base gives its tokenizer (kept, extended, replaced or pruned) and is the model to compare with;
without one, a new tokenizer is learnt on the corpus. No weight comes from anywhere.
"""

from collections.abc import Callable, Iterator

from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import fresh
from medlingua.adapters.tokenizer import bare, check_fit, replacement
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack
from medlingua.recipes import vocabulary
from medlingua.recipes.settings import Run
from medlingua.reports.rows import VocabularyRow
from transformers import PreTrainedTokenizerFast


def start(
    run: Run, parent: Encoder | None, pack: Pack, texts: Callable[[], Iterator[str]]
) -> tuple[Encoder, VocabularyRow | None]:
    """A fresh model on the run's tokenizer. texts: the training texts, from the start at each call."""
    tokenizer: PreTrainedTokenizerFast
    row = None
    if parent is None:
        if run.adapt.vocabulary != "replace":
            raise InputError(
                "--strategy scratch without --base learns a new tokenizer: say so with --set "
                "adapt.vocabulary=replace (and adapt.tokenizer, adapt.new_pieces), or give a --base whose "
                "tokenizer is kept"
            )
        tokenizer = replacement(texts, run.adapt.new_pieces, bare(run.adapt.tokenizer))
        check_fit(tokenizer, pack.code, "the new vocabulary")
    elif run.adapt.vocabulary == "keep":
        tokenizer = parent.tokenizer
        check_fit(tokenizer, pack.code, run.base)
    else:
        tokenizer, row = vocabulary.changed_tokenizer(run, parent.tokenizer, pack, texts)
    window = run.adapt.window
    if not isinstance(window, int):
        raise InputError("adapt.window: --strategy scratch takes one width for all layers")
    encoder = fresh(run.adapt.architecture, run.adapt.size, run.adapt.length, window, tokenizer, run.train.seed)
    return encoder, row
