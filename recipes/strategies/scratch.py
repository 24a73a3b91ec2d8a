"""The strategy `scratch`: a stock architecture trained from nothing.

With a base, the base gives its tokenizer (kept, extended, replaced or pruned) and is the model to compare with;
without one, a new tokenizer is learnt on the corpus. Weights come from nowhere, unless adapt.carry takes the base's
piece table along, or all its weights, tiled to the new size.
"""

from collections.abc import Callable, Iterator

from medlingua.adapters.encoder import Encoder, with_lineage
from medlingua.adapters.fresh import random_encoder
from medlingua.adapters.shallow import shallower
from medlingua.adapters.tiling import copy_embeddings, tile_weights
from medlingua.adapters.tokenizer import check_fit, empty_tokenizer, learn_tokenizer
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack
from medlingua.recipes.console import say
from medlingua.recipes.settings import Adapt, Run
from medlingua.recipes.strategies import vocabulary
from medlingua.reports.rows import VocabularyRow
from transformers import PreTrainedTokenizerFast


def start(
    run: Run,
    parent: Encoder | None,
    pack: Pack,
    texts: Callable[[], Iterator[str]],
    documents: Callable[[], Iterator[str]],
) -> tuple[Encoder, VocabularyRow | None]:
    """A fresh model on the run's tokenizer. texts, documents: as in `vocabulary.change`."""
    tokenizer: PreTrainedTokenizerFast
    row = None
    carry = run.adapt.carry
    if carry == "nothing" and run.adapt.rows != Adapt().rows:
        raise InputError("adapt.rows says nothing to --strategy scratch unless adapt.carry takes rows along")
    if parent is None:
        if carry != "nothing":
            raise InputError(f"adapt.carry {carry}: give the --base that it is taken from")
        if run.adapt.vocabulary != "replace":
            raise InputError(
                "--strategy scratch without --base learns a new tokenizer: say so with --set "
                "adapt.vocabulary=replace (and adapt.tokenizer, adapt.new_pieces), or give a --base whose "
                "tokenizer is kept"
            )
        fewer, wanted = "adapt.new_pieces" in run.decided, run.adapt.new_pieces
        tokenizer = learn_tokenizer(texts, wanted, empty_tokenizer(run.adapt.tokenizer), fewer=fewer)
        if len(tokenizer) < wanted:
            say(f"vocabulary: the texts yield {len(tokenizer):,} pieces, fewer than the default {wanted:,}")
        check_fit(tokenizer, pack.code, "the new vocabulary")
    elif carry != "nothing":
        parent, row = vocabulary.change(run, parent, pack, texts, documents)
        tokenizer = parent.tokenizer
    elif run.adapt.vocabulary == "keep":
        tokenizer = parent.tokenizer
        vocabulary.check_base(run, tokenizer, pack)
    else:
        tokenizer, row, _ = vocabulary.changed_tokenizer(run, parent.tokenizer, pack, texts, documents)
    if run.adapt.layers is not None:
        if parent is None or carry != "nothing" or row is not None:
            raise InputError(
                "adapt.layers: the new model is the --base with fewer layers, its weights and its vocabulary: give a "
                "--base, and leave adapt.carry and adapt.vocabulary out"
            )
        return shallower(parent, run.adapt.layers), None
    window = run.adapt.window
    if not isinstance(window, int):
        raise InputError("adapt.window: --strategy scratch takes one width for all layers")
    tied = parent is None or carry != "weights" or parent.model.config.tie_word_embeddings
    encoder = random_encoder(
        run.adapt.architecture, run.adapt.size, run.adapt.length, window, tokenizer, run.train.seed, tied
    )
    if parent is not None and carry == "embeddings":
        copy_embeddings(parent, encoder)
    elif parent is not None and carry == "weights":
        tile_weights(parent, encoder, run.train.seed)
        encoder = with_lineage(encoder, parent.lineage)
    return encoder, row
