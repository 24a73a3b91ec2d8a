"""Initialization of the embeddings of a new vocabulary."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from medlingua.adapters import focus
from medlingua.adapters.architecture import check_padding
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.tokenizer import added_words, surface
from medlingua.adapters.wechsel import Mixtures
from medlingua.adapters.weights import share_head_bias
from medlingua.languages.errors import InputError
from torch import nn
from transformers import PreTrainedTokenizerFast

Initialization = Literal["mean", "overlap", "focus", "wechsel"]


@dataclass(frozen=True, slots=True)
class EmbeddingCounts:
    """How many embeddings were copied, mixed from others, or drawn."""

    shared: int
    averaged: int
    fallback: int


@torch.no_grad()
def replace_vocabulary(
    encoder: Encoder,
    tokenizer: PreTrainedTokenizerFast,
    initialization: Initialization = "mean",
    vectors: np.ndarray | None = None,
    mixtures: Mixtures | None = None,
    false_friends: Collection[int] = (),
    parts: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Encoder, EmbeddingCounts]:
    """Give an encoder another tokenizer; embeddings (and the masked-LM bias) of shared pieces are copied.

    initialization: of the other embeddings.
    "mean": the mean of the old pieces that a new piece consists of: its `parts` (`Extension.parts`), or those that
    its text is cut into, which for a piece inside words may be others than in their context.
    "overlap": a draw around the mean of all embeddings, as every method does for a piece it knows nothing of.
    "focus": a mixture of shared pieces that are similar in `vectors` (V, D) of the new pieces
    (`focus.piece_vectors`). `false_friends`, ids of new pieces whose old piece means something else (TRAPS T19), are
    mixed too, and no other piece is mixed from them.
    "wechsel": a mixture of the old pieces in `mixtures` (`wechsel.mixtures`), for shared pieces too.

    Special tokens are matched by their role, pieces by their text and by whether they begin a word; words of
    `add_tokens` count as beginning one. The table is not padded: config.vocab_size is len(tokenizer). Changes the
    encoder's model in place. InputError where a piece with global attention has no place in the new vocabulary, and
    for a padding piece whose id the model's class cannot have.
    """
    old, model = encoder.tokenizer, encoder.model
    check_padding(encoder.architecture, tokenizer.pad_token_id, "the new tokenizer")
    old_vocabulary = old.get_vocab()  # once: transformers builds it again at each call
    added = {word.strip(): id for word, id in added_words(old).items()}
    known = {tokenizer.convert_tokens_to_ids(piece): list(ids) for piece, ids in (parts or {}).items()}
    sources = [
        Source(known[id]) if id in known else _source(old, old_vocabulary, added, tokenizer, id)
        for id in range(len(tokenizer))
    ]
    places = {source.ids[0]: id for id, source in enumerate(sources) if source.exact}
    if initialization == "overlap":
        sources = [source if source.exact else Source([]) for source in sources]
    elif initialization == "focus":
        sources = _focused(sources, vectors, false_friends)
    elif initialization == "wechsel":
        sources = _translated(sources, mixtures, tokenizer.all_special_ids)
    table = model.get_input_embeddings().weight
    _, decoder = encoder.architecture.head(model)
    tied = decoder.weight.data_ptr() == table.data_ptr()
    new_table = _new_embeddings(table, sources)
    output = None if tied else _new_embeddings(decoder.weight, sources)
    bias = None if decoder.bias is None else _new_embeddings(decoder.bias[:, None], sources)[:, 0]
    _resize(model, len(tokenizer))
    share_head_bias(model, encoder.architecture)
    _, decoder = encoder.architecture.head(model)
    model.get_input_embeddings().weight.copy_(new_table)
    if output is not None:
        decoder.weight.copy_(output)
    if bias is not None:
        decoder.bias.copy_(bias)
    for role in ("pad", "bos", "eos", "cls", "sep"):
        # Where a tokenizer has no bos and eos, cls and sep take their place.
        stand_in = {"bos": "cls", "eos": "sep"}.get(role, role)
        if getattr(model.config, f"{role}_token_id", None) is not None:
            setattr(model.config, f"{role}_token_id", getattr(tokenizer, f"{stand_in}_token_id"))
    if encoder.global_ids:
        missing = [old.convert_ids_to_tokens(id) for id in encoder.global_ids if id not in places]
        if missing:
            raise InputError(
                f"{', '.join(missing)}: the model gives them global attention, the new vocabulary lacks them"
            )
        model.config.global_token_ids = [places[id] for id in encoder.global_ids]
    counts = EmbeddingCounts(
        shared=sum(source.exact for source in sources),
        averaged=sum(bool(source.ids) and not source.exact for source in sources),
        fallback=sum(not source.ids for source in sources),
    )
    return Encoder(model, tokenizer, encoder.architecture, encoder.lineage), counts


def _resize(model: Any, size: int) -> None:
    """Give the model tables of `size` pieces; what the new embeddings are is open.

    A DeBERTa that is not `legacy` names the dense layer of its head as its output embeddings, which
    `resize_token_embeddings` would cut to the vocabulary; its head has a bias alone.
    """
    if getattr(model.config, "legacy", True):
        model.resize_token_embeddings(size, mean_resizing=False)
        return
    model.base_model.resize_token_embeddings(size, mean_resizing=False)
    model.config.vocab_size = size
    head = model.lm_predictions.lm_head
    head.bias = nn.Parameter(head.bias.new_zeros(size))


def new_piece_ids(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> torch.Tensor:
    """Ids (int64) of the pieces of `new` that `old` does not have, without special tokens."""
    old_vocabulary = {*old.get_vocab(), *new.all_special_tokens}
    return torch.tensor(
        sorted(id for piece, id in new.get_vocab().items() if piece not in old_vocabulary), dtype=torch.int64
    )


@torch.no_grad()
def set_bias_to_frequencies(encoder: Encoder, counts: torch.Tensor) -> None:
    """Start a fresh head's bias from the log-frequencies of the pieces, add-one: counts (vocabulary,)."""
    _, decoder = encoder.architecture.head(encoder.model)
    if decoder.bias is not None:
        frequencies = (counts + 1).double()
        decoder.bias.copy_((frequencies / frequencies.sum()).log().to(decoder.bias))


class Source(NamedTuple):
    """Old ids that a new embedding is made of. exact: the same piece. weights: of a mixture; None for the mean."""

    ids: list[int]
    exact: bool = False
    weights: torch.Tensor | None = None


def _focused(sources: list[Source], vectors: np.ndarray | None, false_friends: Collection[int]) -> list[Source]:
    if vectors is None:
        raise ValueError("initialization 'focus' needs vectors of the new pieces")
    is_shared = [source.exact and id not in false_friends for id, source in enumerate(sources)]
    shared, others = np.flatnonzero(is_shared), np.flatnonzero(np.logical_not(is_shared))
    mixed = list(sources)
    for id, (ids, weights) in zip(others, focus.mixtures(vectors, others, shared), strict=True):
        mixed[id] = Source([sources[i].ids[0] for i in ids], False, torch.from_numpy(weights))
    return mixed


def _translated(sources: list[Source], mixtures: Mixtures | None, special: Sequence[int]) -> list[Source]:
    if mixtures is None:
        raise ValueError("initialization 'wechsel' needs mixtures of old pieces")
    mixed = [source if id in special else Source([]) for id, source in enumerate(sources)]
    for id, (ids, weights) in mixtures.items():
        if id not in special:
            mixed[id] = Source(ids.tolist(), False, torch.from_numpy(weights))
    return mixed


def _source(old: Any, old_vocabulary: dict[str, int], added: dict[str, int], new: Any, id: int) -> Source:
    piece = new.convert_ids_to_tokens(id)
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        if piece == getattr(new, f"{role}_token") and getattr(old, f"{role}_token_id") is not None:
            return Source([getattr(old, f"{role}_token_id")], True)
    old_id = old_vocabulary.get(piece)
    if old_id is not None:
        return Source([old_id], True)
    text, inside = surface(new, piece)
    if not inside and text in added:
        return Source([added[text]], True)
    # A continuation is cut as the end of a word, so that its pieces are continuations too; a beginning
    # after a space, which byte-level pieces carry.
    encoding = old.backend_tokenizer.encode(f"a{text}" if inside else f" {text}", add_special_tokens=False)
    start = 1 if inside else 0
    ids = [
        i for i, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > start and i != old.unk_token_id
    ]
    return Source(ids)


def _new_embeddings(table: torch.Tensor, sources: list[Source]) -> torch.Tensor:
    """The new table. Embeddings without a source are drawn around the mean with the spread of the old ones, so that
    they differ (TRAPS T12), from a fixed seed."""
    mean, spread = table.mean(dim=0), table.std(dim=0)
    drawn = torch.randn(len(sources), table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
    embeddings = []
    for id, source in enumerate(sources):
        if not source.ids:
            embeddings.append(mean + spread * drawn[id])
        elif source.weights is None:
            embeddings.append(table[source.ids].mean(dim=0))
        else:
            embeddings.append(source.weights.to(table) @ table[source.ids])
    return torch.stack(embeddings)
