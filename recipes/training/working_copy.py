"""A copy of the model for forward and backward passes: in bf16 on a GPU, its layers compiled.

The optimizer keeps fp32 weights, which are those that are evaluated and saved; the copy follows them after each step,
so that a resumed run has the same one (mixed precision with fp32 master weights, Micikevicius et al.,
arXiv 1710.03740). Against autocast it saves the casts of every product's inputs.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.languages.errors import InputError
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """encoder: the copy. weights: the trained fp32 parameters; copies: those of the copy, in the same order."""

    encoder: Encoder
    weights: tuple[nn.Parameter, ...]
    copies: tuple[nn.Parameter, ...]
    compiled: bool

    def prepare(self, dropout: float) -> None:
        """Train the same parameters as the model itself, with its dropout."""
        self.encoder.model.train()
        set_dropout(self.encoder.model, dropout)
        for weight, twin in zip(self.weights, self.copies, strict=True):
            twin.requires_grad_(weight.requires_grad)
        self.refresh()

    def collect_gradients(self) -> None:
        """Add the copy's gradients to those of the fp32 weights, after each forward and backward pass."""
        fresh: list[tuple[Tensor, Tensor]] = []
        summed: list[tuple[Tensor, Tensor]] = []
        for weight, twin in zip(self.weights, self.copies, strict=True):
            if twin.grad is None:
                continue
            pairs = summed
            if weight.grad is None:
                weight.grad, pairs = torch.empty_like(weight), fresh
            pairs.append((weight.grad, twin.grad))
            twin.grad = None
        # All at once: on a GPU a launch each would be a tenth of a short step's.
        if fresh:
            torch._foreach_copy_([to for to, _ in fresh], [of for _, of in fresh])
        if summed:
            torch._foreach_add_([to for to, _ in summed], [of for _, of in summed])

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights, after each step of the optimizer."""
        torch._foreach_copy_(list(self.copies), list(self.weights))


def working_copy(encoder: Encoder, dtype: torch.dtype, compiled: bool) -> WorkingCopy:
    model = copy.deepcopy(encoder.model)
    # Weights alone: `to` would round the frequencies of rotations too, by 0.2 %, several turns at position 8,000.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    twin = replace(encoder, model=model)
    if compiled:
        compile_layers(twin)
    return WorkingCopy(twin, tuple(encoder.model.parameters()), tuple(model.parameters()), compiled)


def checkpoint_layers(encoder: Encoder) -> None:
    """Keep each layer's input alone, and compute the layer again going backward (Chen et al., arXiv 1604.06174).

    A last layer that computes some tokens alone is left out: which ones they are is forgotten by then. InputError
    for a family whose class cannot.
    """
    if not encoder.model.supports_gradient_checkpointing:
        raise InputError(
            f"train.checkpoint_layers: transformers cannot compute the layers of the family "
            f"'{encoder.architecture.family}' again; lower train.micro_tokens instead"
        )
    encoder.model.gradient_checkpointing_enable()
    if encoder.architecture.narrows:
        last: Any = encoder.architecture.layers(encoder.model.base_model)[-1]
        last.gradient_checkpointing = False


def compile_layers(encoder: Encoder, backend: str = "inductor") -> None:
    """Compile each layer, in place: all layers of a kind share one compilation, which takes seconds.

    A last layer that computes some tokens alone stays as it is: how many they are changes from row to row.
    backend: of torch.compile; "aot_eager" traces and differentiates like the default, without a compiler of C++.
    """
    layers = encoder.architecture.layers(encoder.model.base_model)
    for layer in layers[:-1] if encoder.architecture.narrows else layers:
        layer.compile(backend=backend)
