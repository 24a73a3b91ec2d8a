"""LoRA by peft: small matrices beside the linear layers are trained in place of the weights, and folded into them.

Hu et al., arXiv 2106.09685. A model with them stays of its class; what is saved after `merge_lora` is a stock
checkpoint. All linear layers of the encoder get them, as attention alone is not enough (Biderman et al.,
arXiv 2405.09673); embeddings and heads have none.
"""

from importlib.util import find_spec
from typing import Any

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from torch import nn

MARK = ".lora_"  # in the names of their weights, and in no others


def check_lora(setting: str) -> None:
    """InputError where peft is not installed."""
    if find_spec("peft") is None:
        raise InputError(f"{setting} is peft's: pip install peft")


def add_lora(encoder: Encoder, rank: int, seed: int) -> None:
    """Give the layers' linear modules matrices of this rank, in place, scaled by 2. At first they change nothing.

    Everything but them stops requiring gradients. ValueError where the model has them already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if has_lora(encoder.model):
        raise ValueError("the model has LoRA matrices already")
    linears = _linears(encoder)
    narrowest = min(min(linear.in_features, linear.out_features) for _, linear in linears)
    if rank > narrowest:
        raise InputError(f"LoRA of rank {rank:,}: the layers' matrices have rank {narrowest:,} at most; give less")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=[name for name, _ in linears])
    torch.manual_seed(seed)
    inject_adapter_in_model(config, encoder.model)


def has_lora(model: nn.Module) -> bool:
    return any(MARK in name for name, _ in model.named_parameters())


def lora_parameters(encoder: Encoder, rank: int) -> int:
    """How many parameters `add_lora` adds."""
    return sum(rank * (linear.in_features + linear.out_features) for _, linear in _linears(encoder))


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Fold the matrices into the weights, in place, and put the plain linear modules back."""
    from peft.tuners.lora import LoraLayer

    wrapped: list[tuple[str, Any]] = [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]
    for name, module in wrapped:
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())


def _linears(encoder: Encoder) -> list[tuple[str, nn.Linear]]:
    """The linear modules of the layers, by name. Longformer reads the weights of its global projections itself."""
    layers = [id(layer) for layer in encoder.architecture.layers(encoder.model.base_model)]
    prefixes = [name for name, module in encoder.model.named_modules() if id(module) in layers]
    return [
        (name, module)
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear)
        and not name.endswith("_global")
        and any(name.startswith(f"{prefix}.") for prefix in prefixes)
    ]
