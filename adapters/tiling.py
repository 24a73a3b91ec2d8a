"""Initialization of a larger model from a smaller one of its family, which it imitates at first.

Width: unit j is a copy of unit j modulo the small width, so that heads stay whole. The copies of a unit share its
output to the next layer in unequal parts: where the widths are multiples, the large model computes what the small one
does, and copies do not learn the same (Net2Net, Chen et al., arXiv 1511.05641; bert2BERT, Chen et al.,
arXiv 2110.07143). Depth: layer j is a copy of layer floor(j * small / large) (Rae et al., arXiv 2112.11446, G.3.3).
"""

import re
from typing import Any

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from torch import Tensor, nn

_LAYER = re.compile(r"(?<=layer\.)\d+|(?<=layers\.)\d+")
_FUSED = {"Wqkv": 3, "Wi": 2}  # ModernBERT's linears of several outputs
# What makes two DeBERTas different models.
_SAME = (
    "relative_attention", "position_buckets", "pos_att_type", "share_att_key", "norm_rel_ebd",
    "position_biased_input", "conv_kernel_size", "legacy",
)  # fmt: skip
_LAST_NORMS = (
    "predictions.transform.LayerNorm",
    "lm_head.layer_norm",
    "generator_predictions.LayerNorm",
    "vocab_layer_norm",
    "head.norm",
)


@torch.no_grad()
def tile_weights(small: Encoder, large: Encoder, seed: int) -> None:
    """Fill the weights of `large`, in place, from `small`: the same family and vocabulary, both tied or both untied.

    Learned positions beyond the small model's start again from its first. InputError where a family, a head's
    width or a size does not fit.
    """
    _check(small, large)
    draws = torch.Generator().manual_seed(seed)
    depth = large.model.config.num_hidden_layers
    ratio = small.model.config.num_hidden_layers / depth
    sources = dict(small.model.named_modules())
    table = large.model.get_input_embeddings()
    tied = large.model.config.tie_word_embeddings
    for name, module in large.model.named_modules():
        source: Any = sources.get(_LAYER.sub(lambda match: str(int(int(match[0]) * ratio)), name))
        if not isinstance(getattr(source, "weight", None), Tensor):  # also ModernBERT's first layer, without a norm
            continue
        if module is table or (isinstance(module, nn.Linear) and module.weight is table.weight):
            table.weight.copy_(source.weight[:, _copies(source.weight.shape[1], table.weight.shape[1])])
            if getattr(module, "bias", None) is not None:
                module.bias.copy_(source.bias)
        elif isinstance(module, nn.Embedding):
            rows = _positions(small, len(module.weight)) if "position" in name else torch.arange(len(module.weight))
            module.weight.copy_(source.weight[rows][:, _copies(source.weight.shape[1], module.weight.shape[1])])
        elif isinstance(module, nn.Linear):
            _tile_linear(source, module, _FUSED.get(name.rsplit(".", 1)[-1], 1), draws)
        elif isinstance(getattr(module, "weight", None), Tensor):
            # The last norm feeds a tied table, which cannot share out what its copies give.
            copies = _copies(len(source.weight), len(module.weight))
            count = torch.bincount(copies)[copies] if tied and name.endswith(_LAST_NORMS) else 1
            module.weight.copy_(source.weight[copies] / count)
            if getattr(module, "bias", None) is not None:
                module.bias.copy_(source.bias[copies] / count)


@torch.no_grad()
def copy_embeddings(small: Encoder, large: Encoder) -> None:
    """Fill the piece table of `large` alone, any family; columns repeat where it is wider. InputError if narrower."""
    source, table = (encoder.model.get_input_embeddings().weight for encoder in (small, large))
    if table.shape[1] < source.shape[1]:
        raise InputError(
            f"adapt.carry: the base is {source.shape[1]} wide and adapt.size gives {table.shape[1]}: ask for a "
            "larger adapt.size"
        )
    table.copy_(source[:, _copies(source.shape[1], table.shape[1])])


def _tile_linear(source: Any, module: nn.Linear, fused: int, draws: torch.Generator) -> None:
    out = _copies(source.out_features, module.out_features, fused)
    into = _copies(source.in_features, module.in_features)
    shares = torch.rand(module.weight.shape, generator=draws) + 0.5
    sums = torch.zeros(module.out_features, source.in_features).index_add_(1, into, shares)
    module.weight.copy_(source.weight[out][:, into] * shares / sums[:, into])
    if module.bias is not None:
        module.bias.copy_(source.bias[out])


def _copies(small: int, large: int, blocks: int = 1) -> Tensor:
    """(large,) int64: which unit of the small layer each unit copies; blocks: equal parts that keep apart."""
    within = torch.arange(large // blocks) % (small // blocks)
    return torch.cat([within + block * (small // blocks) for block in range(blocks)])


def _positions(small: Encoder, rows: int) -> Tensor:
    """(rows,) int64: row of the small position table for each row of the large one."""
    first = small.first_position
    places = torch.arange(rows)
    return torch.where(places < first, places, first + (places - first) % small.length)


def _check(small: Encoder, large: Encoder) -> None:
    a, b = small.model.config, large.model.config
    if small.architecture.family != large.architecture.family:
        raise InputError(
            f"adapt.carry 'weights': the base is a {small.architecture.family}, adapt.architecture a "
            f"{large.architecture.family}: weights are tiled within a family"
        )
    for field in _SAME:
        if (theirs := getattr(a, field, None)) != (ours := getattr(b, field, None)):
            raise InputError(f"adapt.carry 'weights': the base has {field} = {theirs}, a new model {ours}")
    heads = [config.hidden_size // config.num_attention_heads for config in (a, b)]
    if heads[0] != heads[1]:
        raise InputError(f"adapt.carry 'weights': the base's heads are {heads[0]} wide, ours {heads[1]}")
    for field, words in (
        ("hidden_size", "wide"),
        ("num_hidden_layers", "layers deep"),
        ("hidden_dim" if small.architecture.family == "distilbert" else "intermediate_size", "wide inside"),
    ):
        if getattr(a, field) > getattr(b, field):
            raise InputError(
                f"adapt.carry 'weights': the base is {getattr(a, field)} {words}, adapt.size gives "
                f"{getattr(b, field)}: ask for a larger adapt.size"
            )
