"""Packed documents through the stock layers of families whose attention is their own: as padded batches.

DeBERTa and MPNet add their relative positions to the attention scores themselves. Their layers get the documents of a
row in batches of similar length, with a padding mask, and the states come back in the order of the row. What padding
costs is bounded: a batch has at most a quarter more places than tokens, and a limited number of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_PADDED = 1.25  # places of a batch over its tokens
_MOST_PLACES = 8_192  # of a batch of several documents
_MOST_SCORES = (
    2**21
)  # of a head, likewise: eight documents of 512 tokens; several such matrices are in memory at once


def padded_states(
    body: Any, ids: Tensor, positions: Tensor, cu_seqlens: Tensor, all_layers: bool = False
) -> tuple[Tensor, ...]:
    """Hidden states (T, width) of packed documents: of the last layer, or after each layer, in order.

    ids, positions: (T,) int64. cu_seqlens: (documents + 1,) int32, read by the CPU, for which a GPU's queue has to be
    waited for.
    """
    borders = np.array(cu_seqlens.tolist())
    starts, lengths = borders[:-1], np.diff(borders)
    parts: list[tuple[Tensor, ...]] = []
    source = np.empty(borders[-1], dtype=np.int64)  # of each token, its place among those of all batches
    places = 0
    for group in group_by_length(lengths.tolist()):
        start, size = starts[group][:, None], lengths[group][:, None]
        place = np.arange(size.max())
        real = place < size
        where = start + np.minimum(place, size - 1)  # padding repeats a document's last token, and is masked
        source[where[real]] = places + np.flatnonzero(real)
        places += real.size
        index = torch.from_numpy(where).to(ids.device)
        mask = torch.from_numpy(real).to(ids.device).long()
        output = body(
            input_ids=ids[index], position_ids=positions[index], attention_mask=mask, output_hidden_states=all_layers
        )
        states = output.hidden_states[1:] if all_layers else (output.last_hidden_state,)
        parts.append(tuple(layer.flatten(0, 1) for layer in states))
    back = torch.from_numpy(source).to(ids.device)
    return tuple(torch.cat(layer)[back] for layer in zip(*parts, strict=True))


def group_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of documents in batches, each the longest first, that stay within the bounds on padding and places."""
    groups: list[list[int]] = []
    tokens = 0
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        tokens += lengths[number]
        if groups:
            longest = lengths[groups[-1][0]]
            places = (len(groups[-1]) + 1) * longest
            if places <= min(MOST_PADDED * tokens, _MOST_PLACES, _MOST_SCORES / longest):
                groups[-1].append(number)
                continue
        groups.append([number])
        tokens = lengths[number]
    return groups
