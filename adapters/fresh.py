"""A stock architecture by name and size, with random weights as the code of its family draws them."""

from typing import Any, Literal

import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.attention import NAME, register
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.weights import share_head_bias
from medlingua.languages.errors import ArgumentError
from medlingua.languages.lineage import Lineage
from transformers import PreTrainedTokenizerFast

Family = Literal["modernbert", "longformer", "bert", "roberta", "electra", "deberta-v2", "distilbert"]
Size = Literal["tiny", "mini", "small", "medium", "base", "large"]

# Layers and width, heads of 64: the sizes of Turc et al., arXiv 1908.08962, and BERT-large, arXiv 1810.04805, which
# RoBERTa, ELECTRA, Longformer and DeBERTa-v3 (arXiv 2111.09543) have too.
_SIZES: dict[Size, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
_LAYERS = {
    ("modernbert", "base"): 22,  # Warner et al., arXiv 2412.13663
    ("modernbert", "large"): 28,
    ("distilbert", "base"): 6,  # Sanh et al., arXiv 1910.01108: half of BERT's
    ("distilbert", "large"): 12,  # the same half; none is published
}
_MODERNBERT_LARGE_INSIDE = 2_624
# Of microsoft/deberta-v3-base and -large, whose own head is for detection: the head is transformers' default.
_DEBERTA_V3: dict[str, Any] = {
    "relative_attention": True, "position_buckets": 256, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
_HEAD = 64
_EVERY = 3  # ModernBERT's layers that see everything


def random_encoder(
    family: Family,
    size: Size,
    length: int,
    window: int,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    tied: bool = True,
) -> Encoder:
    """An encoder with a masked-LM head and random weights, the same for the same seed.

    length: tokens of a document, special tokens included. window: total width of the windows of Longformer and of
    ModernBERT's local layers; even. The vocabulary is that of the tokenizer. tied: one table for input and output.
    InputError for a window that does not fit.
    """
    layers, width = _SIZES[size]
    layers = _LAYERS.get((family, size), layers)
    if family in ("modernbert", "longformer") and (window < 2 or window % 2):
        raise ArgumentError(f"window {window}: give an even number of 2 or more", "window")
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // _HEAD,
        "intermediate_size": 4 * width,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "tie_word_embeddings": tied,
    }
    if family == "modernbert":
        common |= {
            "intermediate_size": _MODERNBERT_LARGE_INSIDE if size == "large" else width * 3 // 2,  # of a gated unit
            "max_position_embeddings": length,
            "local_attention": window,
            "layer_types": ["sliding_attention" if i % _EVERY else "full_attention" for i in range(layers)],
            "cls_token_id": tokenizer.cls_token_id,
            "sep_token_id": tokenizer.sep_token_id,
        }
    elif family in ("roberta", "longformer"):  # their tables reserve rows for the padding
        common |= {"max_position_embeddings": length + int(tokenizer.pad_token_id) + 1, "type_vocab_size": 1}
    else:
        common |= {"max_position_embeddings": length}
    if family == "longformer":
        common |= {"attention_window": [window] * layers, "sep_token_id": tokenizer.sep_token_id}
    if family == "deberta-v2":
        common |= _DEBERTA_V3
    if family == "distilbert":
        common["hidden_dim"] = common.pop("intermediate_size")
    if family == "electra":
        common |= {"embedding_size": width}
    architecture = ARCHITECTURES[family]
    config = transformers.AutoConfig.for_model(family, **common)
    register()
    config._attn_implementation = NAME if architecture.interface else "eager"
    torch.manual_seed(seed)
    model = getattr(transformers, architecture.model_class)(config)
    share_head_bias(model, architecture)
    set_dropout(model, 0.0)
    if family == "longformer":
        accelerate_longformer(model)
    tokenizer.model_max_length = length
    return Encoder(model, tokenizer, architecture, Lineage(base="random weights", base_licence="not needed"))
