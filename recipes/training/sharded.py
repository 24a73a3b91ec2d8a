"""FSDP2: weights, gradients and the optimizer's state split over the processes of a run.

Every process keeps its share of each tensor and gathers a layer's weights while it computes it (torch's fully_shard;
Zhao et al., arXiv 2304.11277). The model that is evaluated and saved stays whole on the main process; what trains is
a copy of it. Checkpoints are those of a run that is not split, so either kind of run resumes from the other's.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed
from medlingua.languages.errors import InputError
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Split(nn.Module):
    """All that trains, as the one module whose forward any objective goes through: weights outside of the layers,
    which objectives read by themselves, are gathered around it."""

    def __init__(self, trained: nn.Module) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, objective: nn.Module, packed: Packed) -> Tensor:
        return objective(packed)  # type: ignore[no-any-return]


class SplitObjective(nn.Module):
    """An objective of a split model."""

    def __init__(self, split: Split, objective: nn.Module) -> None:
        super().__init__()
        self._both = (split, objective)  # a tuple: neither is a part of this module

    def forward(self, packed: Packed) -> Tensor:
        split, objective = self._both
        return split(objective, packed)  # type: ignore[no-any-return]


def copied(encoder: Encoder) -> Encoder:
    """The copy that is to be split. InputError for a family whose layers run as often as the documents need: the
    processes gather a layer together, and would wait for each other."""
    if encoder.architecture.padded:
        raise InputError(
            f"train.shard: a {encoder.architecture.family} model cannot be split over processes, because its "
            "documents are computed in padded batches; train it without train.shard"
        )
    return replace(encoder, model=copy.deepcopy(encoder.model))


def split(trained: nn.Module, body: nn.Module) -> Split:
    """Split what trains, in place, over all processes. body: of the encoder in it, whose layers are gathered one by
    one; the last one with all the rest, since families differ in how it is called."""
    layers = max((m for m in body.modules() if isinstance(m, nn.ModuleList)), key=len)
    device = next(trained.parameters()).device
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for layer in layers[:-1]:
        fully_shard(layer, mesh=mesh)
    split_module = Split(trained)
    fully_shard(split_module, mesh=mesh)
    for module in split_module.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the sum: a step's loss is divided by all its targets already
            module.set_force_sum_reduction_for_comms(True)
    return split_module


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor, gathered where it is split: then all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's share of a whole tensor, split as the parameter is; itself where that is whole."""
    if not isinstance(parameter, DTensor):
        return tensor
    # Every process has the whole one: nothing is sent.
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def full_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and whole weights, one at a time; all processes must iterate over all of them."""
    for name, parameter in model.named_parameters():
        yield name, full_tensor(parameter.detach())


@torch.no_grad()
def gather(trained: Encoder, encoder: Encoder, is_main: bool) -> None:
    """Copy the weights of the split model into the whole one, of the main process."""
    weights = dict(encoder.model.named_parameters())
    for name, weight in full_weights(trained.model):
        if is_main:
            weights[name].copy_(weight)
