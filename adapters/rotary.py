"""To rotary positions: the weights of a BERT-like model, without its position table, in JinaEmbeddingsV3.

The layers are the same (post-norm, biases, two-matrix MLP, RoBERTa-style head), so that every other tensor maps one
to one (TRAPS section 0, C17). The mean of the position table is added to the token type embeddings. The
converted model has to be trained; with all positions zero it is exactly the source without positions.
"""

import copy
import re
from typing import Any, Literal

import torch
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.attention import NAME
from medlingua.adapters.bert_like import build_model, check_source, config_from, roberta_weights
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.positions import rotations, thetas
from medlingua.adapters.weights import share_head_bias
from medlingua.languages.errors import ArgumentError, InputError
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3ForMaskedLM

Scaling = Literal["none", "linear", "ntk", "yarn"]

_NAMES = (
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.self\.(query|key|value)\.", lambda m: f".self_attn.{m[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".self_attn.o_proj."),
    (r"\.attention\.output\.LayerNorm\.", ".post_attention_layernorm."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"(layers\.\d+)\.output\.LayerNorm\.", r"\1.post_mlp_layernorm."),
)


def to_rotary(source: Encoder, length: int, theta: float) -> Encoder:
    """A rotary encoder for `length` tokens, specials included, with the source's weights but its position table.

    source: BERT, RoBERTa, CamemBERT, XLM-R or ELECTRA. theta: base of the rotation; 10,000 to a few thousand
    tokens, more for longer. The source is not changed. InputError for sources that have no exact counterpart.
    """
    check_source(source, "a rotary model")
    if length < source.length:
        raise ArgumentError(f"length {length} is shorter than the source's {source.length} tokens", "length")
    _check_theta(theta)
    tokenizer = copy.deepcopy(source.tokenizer)
    tokenizer.model_max_length = length
    config = config_from(
        JinaEmbeddingsV3Config, source.model.config, max_position_embeddings=length,
        rope_parameters={"rope_theta": theta, "rope_type": "default"},
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    weights = roberta_weights(source)
    positions = weights.pop("embeddings.position_embeddings.weight")[source.first_position :]
    types = "embeddings.token_type_embeddings.weight"
    weights[types] = weights[types] + positions.mean(dim=0)
    model = build_model(JinaEmbeddingsV3ForMaskedLM, config, {_renamed(n): w for n, w in weights.items()}, NAME)
    return Encoder(model, tokenizer, ARCHITECTURES["jina_embeddings_v3"], source.lineage)


def rescale(source: Encoder, length: int, theta: float | None, scaling: Scaling) -> Encoder:
    """A rotary encoder with a longer (or shorter) reach: the same weights, other rotations in its global layers.

    theta: the new base, or None for the source's own, read from the built model and never from a default (C18).
    scaling: "none" takes theta as it is; "linear" divides positions by length / source length (arXiv 2306.15595);
    "ntk" raises theta by that factor ** (d / (d - 2)); "yarn" is arXiv 2309.00071, as transformers computes it.
    Local layers keep theirs: no distance in them exceeds the window (C20). InputError for a source without
    rotations, for one that is scaled already or not finite, and for a theta of zero or below.
    """
    if source.architecture.positions != "rotary":
        raise InputError(f"{source.lineage.base}: a {source.architecture.family} model has no rotation to rescale")
    _check_theta(theta)
    own = global_theta(source)
    config = copy.deepcopy(source.model.config)
    parameters = config.rope_parameters
    by_layer = "full_attention" in parameters
    kind_of_rope = (parameters["full_attention"] if by_layer else parameters)["rope_type"]
    if kind_of_rope != "default":  # its frequencies are no longer powers of one theta
        raise InputError(
            f"{source.lineage.base}: its positions are scaled already ({kind_of_rope}); start from the model before"
        )
    factor = length / source.length
    width = 2 * max(len(inv_freq) for _, inv_freq in rotations(source.model))
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta or own}
    if scaling == "ntk":
        rope["rope_theta"] *= factor ** (width / (width - 2))
    elif scaling == "linear":
        rope |= {"rope_type": "linear", "factor": factor}
    elif scaling == "yarn":
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": source.length}
    config.rope_parameters = {**parameters, "full_attention": rope} if by_layer else rope
    config.max_position_embeddings = length
    kind = type(source.model)
    model = kind._from_config(config, attn_implementation=NAME, dtype=torch.float32)
    model.load_state_dict(source.model.state_dict(), strict=True)
    share_head_bias(model, source.architecture)
    set_dropout(model, 0.0)
    tokenizer = copy.deepcopy(source.tokenizer)
    tokenizer.model_max_length = length
    return Encoder(model.eval(), tokenizer, source.architecture, source.lineage)


@torch.no_grad()
def set_theta(encoder: Encoder, theta: float) -> None:
    """Give the layers that see whole documents another base of their rotation, in place, and in the config.

    Training does it between stages of growing context. InputError for a model without rotations, or with scaled ones.
    """
    if encoder.architecture.positions != "rotary":
        raise InputError(f"theta: a {encoder.architecture.family} model has no rotation")
    config = encoder.model.config
    parameters = config.rope_parameters
    by_layer = "full_attention" in parameters
    rope = parameters["full_attention"] if by_layer else parameters
    if rope["rope_type"] != "default":
        raise InputError(
            f"theta: the positions of this model are scaled ({rope['rope_type']}), not rotations of one theta"
        )
    rope = {**rope, "rope_theta": theta}
    config.rope_parameters = {**parameters, "full_attention": rope} if by_layer else rope
    for name, buffer in encoder.model.named_buffers():
        if name.endswith("inv_freq") and "sliding" not in name:
            places = torch.arange(len(buffer), dtype=torch.float32, device=buffer.device) / len(buffer)
            buffer.copy_(1.0 / theta**places)


def global_theta(encoder: Encoder) -> float:
    """Base of the rotation of the layers that see whole documents; InputError where one is not finite (C19)."""
    try:
        bases = thetas(encoder.model)
    except ValueError as error:
        raise InputError(f"{encoder.lineage.base}: {error}") from error
    return max((t for name, t in bases.items() if "sliding" not in name), default=max(bases.values()))


def _check_theta(theta: float | None) -> None:
    if theta is not None and not theta > 0:
        raise ArgumentError(f"theta {theta}: the base of a rotation is above zero", "theta")


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
