"""Packed: documents in one row, and the forward pass that keeps them apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.architecture import Architecture
from medlingua.adapters.encoder import Encoder
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class Packed:
    """Documents laid end to end, T tokens in all, M of them to predict.

    ids: (T,) int64, special tokens included. positions: (T,) int64, restarting at the family's first
    position in every document. cu_seqlens: (documents + 1,) int32 borders. labels: (M,) int64 true ids at
    label_positions: (M,) int64, indices into the row; both empty where nothing is predicted.
    """

    ids: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    labels: Tensor
    label_positions: Tensor

    def to(self, device: torch.device) -> "Packed":
        return Packed(
            *(
                getattr(self, name).to(device, non_blocking=True)
                for name in ("ids", "positions", "cu_seqlens", "labels", "label_positions")
            )
        )


def pack(documents: Sequence[np.ndarray], first_position: int) -> Packed:
    """Token id arrays (special tokens included) -> one row, nothing to predict."""
    lengths = np.array([len(ids) for ids in documents])
    if not lengths.all():
        raise ValueError(f"document {int(np.argmin(lengths))} of the batch has no token")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + first_position
    nothing = torch.empty(0, dtype=torch.int64)
    return Packed(
        torch.from_numpy(np.concatenate(documents).astype(np.int64)),
        torch.from_numpy(positions),
        torch.from_numpy(starts.astype(np.int32)),
        nothing,
        nothing,
    )


def hidden_states(encoder: Encoder, packed: Packed, rows: Tensor | None = None) -> Tensor:
    """Last hidden states of a packed row, (T, width): each document as if it were alone.

    rows: (M,) int64 indices into the row, ascending; then only theirs are returned, (M, width), and where the family
    allows it the last layer computes no other query, nor anything after. Families whose attention transformers
    does not dispatch (Longformer) are padded inside and unpadded.
    """
    body, architecture = encoder.model.base_model, encoder.architecture
    if not architecture.packs:
        lengths = packed.cu_seqlens.diff().tolist()
        ids, positions = (pad_sequence(list(torch.split(x, lengths)), True) for x in (packed.ids, packed.positions))
        real = pad_sequence([torch.ones(n, dtype=torch.int64, device=ids.device) for n in lengths], True)
        ids = ids.masked_fill(real == 0, encoder.model.config.pad_token_id)
        # Padded places still look up a row: give them the padding's own, never one past the table.
        positions = positions.masked_fill(real == 0, encoder.model.config.pad_token_id)
        states = body(input_ids=ids, position_ids=positions, attention_mask=real).last_hidden_state
        states = states[real.bool()]
        return states if rows is None else states[rows]  # type: ignore[no-any-return]
    kinds = {"token_type_ids": torch.zeros_like(packed.ids)[None]} if architecture.token_types else {}
    with _only(rows, body, architecture) as narrowed:
        states = body(
            input_ids=packed.ids[None],
            position_ids=packed.positions[None],
            cu_seq_lens_q=packed.cu_seqlens,
            **kinds,
        ).last_hidden_state[0]
    return states if rows is None or narrowed else states[rows]  # type: ignore[no-any-return]


@contextmanager
def _only(rows: Tensor | None, body: nn.Module, architecture: Architecture) -> Iterator[bool]:
    """While open, the last layer asks for these rows alone; False where it cannot."""
    if rows is None or architecture.last_layer is None:
        yield False
        return

    def ask(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "query_rows": rows}

    def narrow(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.index_select(1, rows) for x in inputs)

    attention, after = architecture.last_layer(body)
    handles = (
        attention.register_forward_pre_hook(ask, with_kwargs=True),
        after.register_forward_pre_hook(narrow),
    )
    try:
        yield True
    finally:
        for handle in handles:
            handle.remove()
