"""Positions: longer learned tables, and the rotations that a built model computes."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def tile_positions(table: Tensor, first: int, length: int, new_first: int) -> Tensor:
    """A learned table for `length` tokens, its usable rows repeated end to end: (new_first + length, width).

    table: (rows, width), usable from row `first` on (0 for BERT, pad + 1 for the RoBERTa family: TRAPS C1).
    Repeating keeps the learned differences between neighbouring positions (Beltagy et al., arXiv 2004.05150); a
    shorter table has the first rows. Reserved rows, which no token of a text uses, are zero.
    """
    usable = table[first:]
    repeats = -(-length // len(usable))
    return torch.cat([table.new_zeros(new_first, table.shape[1]), usable.repeat(repeats, 1)[:length]])


def thetas(model: nn.Module) -> dict[str, float]:
    """Base of each rotation that a built model computes with, by buffer name; {} without rotations.

    Read from inv_freq itself: class defaults and override paths differ, and some settings are ignored (C18).
    ValueError for a rotation that is not finite and positive, as -1 for "same as global" makes it (C19).
    """
    bases = {}
    for name, inv_freq in rotations(model):
        if not bool((torch.isfinite(inv_freq) & (inv_freq > 0)).all()):
            raise ValueError(f"{name} is not finite and positive: the checkpoint's theta is wrong")
        # inv_freq[1] = theta ** (-2 / d), d twice the number of frequencies.
        bases[name] = float(inv_freq[1].double() ** -len(inv_freq)) if len(inv_freq) > 1 else 1.0
    return bases


def rotations(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The inverse frequencies of a model, (d / 2,) each, without the copies kept for dynamic scaling."""
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq") and "original" not in name.rsplit(".", 1)[-1]:
            yield name, buffer
