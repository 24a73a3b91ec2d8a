"""To Longformer: the same weights, a longer position table, local windows, and copied global projections.

Method: Beltagy et al., arXiv 2004.05150 (section 5), and the silent bugs of its many re-implementations, TRAPS
C1 to C14. The result is a stock LongformerForMaskedLM.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.bert_like import FAMILIES, build_model, check_source, config_from, roberta_weights
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.positions import tile_positions
from medlingua.languages.errors import ArgumentError, nearest
from transformers import LongformerConfig, LongformerForMaskedLM, PreTrainedTokenizerFast
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention


def to_longformer(source: Encoder, length: int, window: int | tuple[int, ...]) -> Encoder:
    """A Longformer of `length` usable tokens, specials included, with the source's weights.

    source: BERT, RoBERTa, CamemBERT, XLM-R or ELECTRA; or a Longformer, which is resized, up or down. window: total
    width, half on each side, even; one for all layers or one a layer. Inside half a window plus one token the
    logits are the source's; at any length with every token global. The source is not changed.
    InputError for sources without an exact counterpart, and for lengths and windows that do not fit.
    """
    check_source(source, "Longformer", (*FAMILIES, "longformer"))
    config = source.model.config
    windows = _checked_windows(window, config.num_hidden_layers, length)
    is_resize = source.architecture.family == "longformer"
    if length < source.length and not is_resize:
        raise ArgumentError(f"length {length} is shorter than the source's {source.length} tokens", "length")
    first = int(config.pad_token_id) + 1
    tokenizer = copy.deepcopy(source.tokenizer)
    tokenizer.model_max_length = length  # nothing else sets it (C3)
    target = config_from(
        LongformerConfig, config, attention_window=list(windows), max_position_embeddings=first + length,
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id, sep_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    if source.global_ids:
        target.global_token_ids = list(source.global_ids)
    weights = roberta_weights(source)
    table = "embeddings.position_embeddings.weight"
    weights[table] = tile_positions(weights[table], source.first_position, length, first)
    if not is_resize:
        for name in [n for n in weights if ".attention.self." in n]:
            weights[_global(name)] = weights[name]
    model = build_model(LongformerForMaskedLM, target, weights, "eager")
    accelerate_longformer(model)
    return Encoder(model, tokenizer, ARCHITECTURES["longformer"], source.lineage)


@torch.no_grad()
def copy_untrained_global_projections(encoder: Encoder) -> None:
    """Copy the local projections into the global ones that masked-LM did not train, by value (TRAPS C6, C7).

    Without global tokens that is all of them. Where only special tokens are global, which are never predicted, it
    is those of the last layer: no loss depends on its outputs at global tokens.
    """
    tokenizer = encoder.tokenizer
    unpredicted = {*tokenizer.all_special_ids} - {tokenizer.mask_token_id}
    layers = [m for m in encoder.model.modules() if isinstance(m, LongformerSelfAttention)]
    if not unpredicted.issuperset(encoder.global_ids):
        return
    for layer in layers[-1:] if encoder.global_ids else layers:
        for name in ("query", "key", "value"):
            getattr(layer, f"{name}_global").load_state_dict(getattr(layer, name).state_dict())


def global_ids(
    tokenizer: PreTrainedTokenizerFast, chosen: Literal["none", "first"] | Sequence[str]
) -> tuple[int, ...]:
    """Ids of the pieces with global attention; "first" is the token at the beginning of every chunk.

    InputError for what is no piece of the vocabulary.
    """
    if chosen == "none":
        return ()
    if chosen == "first":
        return (tokenizer.cls_token_id,)
    known = tokenizer.get_vocab()
    for piece in chosen:
        if piece not in known:
            raise ArgumentError(
                f"global_tokens: '{piece}' is no piece of the vocabulary ({nearest(piece, known)}); "
                "none, first, or a list of pieces",
                "global_tokens",
            )
    return tuple(known[piece] for piece in chosen)


def _global(name: str) -> str:
    module, kind = name.rsplit(".", 1)
    return f"{module}_global.{kind}"


def _checked_windows(window: int | tuple[int, ...], layers: int, length: int) -> tuple[int, ...]:
    windows = (window,) * layers if isinstance(window, int) else tuple(window)
    if len(windows) != layers:
        raise ArgumentError(f"window names {len(windows)} windows; the model has {layers} layers", "window")
    for one in windows:
        if one < 2 or one % 2:
            raise ArgumentError(f"window {one}: give an even number of 2 or more, half of it for each side", "window")
        if one > length:
            raise ArgumentError(f"window {one} is larger than length {length}", "window", "length")
    return windows
