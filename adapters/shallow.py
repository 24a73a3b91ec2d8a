"""A model of fewer layers, taken from a deeper one: the student that a distillation starts from."""

import copy
import re

import torch
from medlingua.adapters.attention import NAME
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.weights import share_head_bias
from medlingua.languages.errors import ArgumentError

_LAYER = re.compile(r"(?<=\.layer\.)\d+|(?<=\.layers\.)\d+")
_BY_LAYER = ("layer_types", "attention_window")  # lists of a config with an entry a layer


def evenly_spaced(deep: int, layers: int) -> list[int]:
    """Which of `deep` layers a model of `layers` keeps: the first, the last, and evenly spaced ones between.

    The first stays the first: in ModernBERT it alone has no norm.
    """
    if layers == 1:
        return [0]
    return [round(number * (deep - 1) / (layers - 1)) for number in range(layers)]


@torch.no_grad()
def shallower(source: Encoder, layers: int) -> Encoder:
    """The same model with some of its layers alone, evenly spaced; embeddings and head are whole.

    As DistilBERT begins (Sanh et al., arXiv 1910.01108). The source is not changed. ArgumentError for more layers
    than there are, or none.
    """
    deep = int(source.model.config.num_hidden_layers)
    if not 0 < layers < deep:
        raise ArgumentError(f"layers {layers}: the base has {deep}; give fewer, and one at least", "layers")
    chosen = evenly_spaced(deep, layers)
    config = copy.deepcopy(source.model.config)
    for key in _BY_LAYER:
        if isinstance(value := getattr(config, key, None), list):
            setattr(config, key, [value[number] for number in chosen])
    config.num_hidden_layers = layers
    interface = NAME if source.architecture.interface else "eager"
    model = type(source.model)._from_config(config, attn_implementation=interface, dtype=torch.float32)
    weights = source.model.state_dict()

    def of_source(name: str) -> str:
        return _LAYER.sub(lambda match: str(chosen[int(match[0])]), name)

    model.load_state_dict({name: weights[of_source(name)] for name in model.state_dict()})
    share_head_bias(model, source.architecture)
    set_dropout(model, 0.0)
    if source.architecture.family == "longformer":
        accelerate_longformer(model)
    return Encoder(model.eval(), copy.deepcopy(source.tokenizer), source.architecture, source.lineage)
