"""To rotary positions: a BERT-like model's weights in transformers' JinaEmbeddingsV3, its position table left out.

The blocks are the same (post-norm, biases, two-matrix MLP, RoBERTa-style head), so every other tensor maps one to
one (TRAPS section 0, C17). What the table said on average stays: its mean row is folded into the token types'.
A model changed this way must heal by training; with all positions zero it is exactly the source without positions.
"""

import copy
import re

from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.attention import NAME
from medlingua.adapters.bert_like import check_source, config_like, filled, named_weights
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3ForMaskedLM

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
    tokens, more for longer. The source is not changed. InputError for what has no exact image.
    """
    check_source(source, "a rotary model")
    if length < source.length:
        raise InputError(f"adapt.length {length} is shorter than the source's {source.length} tokens")
    if not theta > 0:
        raise InputError(f"adapt.theta {theta}: the base of a rotation is above zero")
    tokenizer = copy.deepcopy(source.tokenizer)
    tokenizer.model_max_length = length
    config = config_like(
        JinaEmbeddingsV3Config, source.model.config, max_position_embeddings=length,
        rope_parameters={"rope_theta": theta, "rope_type": "default"},
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    weights = named_weights(source)
    positions = weights.pop("embeddings.position_embeddings.weight")[source.first_position :]
    types = "embeddings.token_type_embeddings.weight"
    weights[types] = weights[types] + positions.mean(dim=0)
    model = filled(JinaEmbeddingsV3ForMaskedLM, config, {_renamed(n): w for n, w in weights.items()}, NAME)
    return Encoder(model, tokenizer, ARCHITECTURES["jina_embeddings_v3"], source.lineage)


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
