"""Documents packed into one row of tokens, and a forward pass in which they do not see each other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from medlingua.adapters.architecture import Architecture
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer_attention import PackedMask, packed_states
from medlingua.adapters.padded import padded_states
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Packed:
    """Documents one after another, T tokens in all, M of which have labels.

    ids: (T,) int64, special tokens included. positions: (T,) int64, restarting at the family's first
    position in every document. cu_seqlens: (documents + 1,) int32 borders. max_seqlen: no document is longer; a power
    of two, so that compiled code meets few values. labels: (M,) int64 true ids at
    label_positions: (M,) int64, indices of tokens; both empty without labels. global_tokens:
    (n,) int64 ascending indices of tokens with global attention, Longformer's alone.
    """

    ids: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    labels: Tensor
    label_positions: Tensor
    global_tokens: Tensor
    max_seqlen: int

    def with_labels(self, labels: np.ndarray, positions: np.ndarray) -> "Packed":
        """The same documents with labels: (M,) true ids, and the (M,) indices of the tokens that they belong to."""
        where = torch.from_numpy(positions.astype(np.int64))
        return replace(self, labels=torch.from_numpy(labels.astype(np.int64)), label_positions=where)

    @property
    def documents(self) -> int:
        return len(self.cu_seqlens) - 1

    def split(self) -> tuple["Packed", "Packed"]:
        """The first half of the documents, and the second."""
        middle = self.documents // 2
        border = int(self.cu_seqlens[middle])
        labels, places = (int((x < border).sum()) for x in (self.label_positions, self.global_tokens))
        first, second = slice(0, border), slice(border, len(self.ids))
        return (
            replace(
                self, ids=self.ids[first], positions=self.positions[first], cu_seqlens=self.cu_seqlens[: middle + 1],
                labels=self.labels[:labels], label_positions=self.label_positions[:labels],
                global_tokens=self.global_tokens[:places],
            ),
            replace(
                self, ids=self.ids[second], positions=self.positions[second],
                cu_seqlens=self.cu_seqlens[middle:] - border, labels=self.labels[labels:],
                label_positions=self.label_positions[labels:] - border,
                global_tokens=self.global_tokens[places:] - border,
            ),
        )  # fmt: skip

    def to(self, device: torch.device) -> "Packed":
        return self._each(lambda tensor: on_device(tensor, device))

    def pinned(self) -> "Packed":
        """In memory from which a GPU copies while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Packed":
        return Packed(
            change(self.ids), change(self.positions), change(self.cu_seqlens), change(self.labels),
            change(self.label_positions), change(self.global_tokens), self.max_seqlen,
        )  # fmt: skip


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device, without waiting for it: a GPU copies it in its turn, from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # itself where it is pinned already
    return tensor.to(device, non_blocking=True)


def pack(documents: Sequence[np.ndarray], first_position: int, global_ids: Sequence[int] = ()) -> Packed:
    """Token id arrays (special tokens included) -> a packed batch without labels.

    global_ids: pieces that get global attention wherever they occur.
    """
    lengths = np.array([len(ids) for ids in documents])
    if not lengths.all():
        raise ValueError(f"document {int(np.argmin(lengths))} of the batch has no token")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + first_position
    nothing = torch.empty(0, dtype=torch.int64)
    ids = np.concatenate(documents).astype(np.int64)
    return Packed(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(starts.astype(np.int32)),
        nothing,
        nothing,
        torch.from_numpy(np.flatnonzero(np.isin(ids, global_ids))) if len(global_ids) else nothing,
        1 << (int(lengths.max()) - 1).bit_length(),
    )


def hidden_states(
    encoder: Encoder, packed: Packed, selected: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """Last hidden states of a packed row, (T, width): each document as if it were alone.

    selected: (M,) int64 indices of tokens, ascending; then only their states are returned, (M, width). Where the
    family allows it, the last layer computes no other query and nothing that follows from one. causal: no token sees
    a later one, as in a decoder; all layers compute all tokens then, and global tokens are refused.
    """
    if causal and selected is not None:
        return hidden_states(encoder, packed, causal=True)[selected]
    body, architecture = encoder.model.base_model, encoder.architecture
    if architecture.family == "longformer":
        row = PackedMask(packed.cu_seqlens, packed.max_seqlen, packed.global_tokens, causal=causal)
        return packed_states(body, packed.ids, packed.positions, row, selected)
    if len(packed.global_tokens):
        raise ValueError(f"global tokens are Longformer's: {architecture.family} has none")
    if architecture.padded:
        (states,) = padded_states(body, packed.ids, packed.positions, packed.cu_seqlens)
        return states if selected is None else states[selected]
    with _last_layer_narrowed(selected, body, architecture) as narrowed:
        states = body(**_inputs(encoder, packed), **({"causal": True} if causal else {})).last_hidden_state[0]
    return states if selected is None or narrowed else states[selected]  # type: ignore[no-any-return]


def layer_states(encoder: Encoder, packed: Packed) -> tuple[Tensor, ...]:
    """Hidden states after each layer, (T, width) each, without the embeddings'. Not for Longformer."""
    if encoder.architecture.padded:
        body = encoder.model.base_model
        return padded_states(body, packed.ids, packed.positions, packed.cu_seqlens, all_layers=True)
    states = encoder.model.base_model(**_inputs(encoder, packed), output_hidden_states=True).hidden_states
    return tuple(layer[0] for layer in states[1:])


def _inputs(encoder: Encoder, packed: Packed) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "input_ids": packed.ids[None],
        "position_ids": packed.positions[None],
        "cu_seq_lens_q": packed.cu_seqlens,
        "max_length_q": packed.max_seqlen,
    }
    if encoder.architecture.token_types:
        inputs["token_type_ids"] = torch.zeros_like(packed.ids)[None]
    return inputs


@contextmanager
def _last_layer_narrowed(selected: Tensor | None, body: nn.Module, architecture: Architecture) -> Iterator[bool]:
    """Within, the last layer computes the queries of these tokens alone; yields False where it cannot."""
    if selected is None or architecture.last_layer is None:
        yield False
        return

    def pass_queries(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "query_positions": selected}

    def narrow(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.index_select(1, selected) for x in inputs)

    attention, after = architecture.last_layer(body)
    handles = (
        attention.register_forward_pre_hook(pass_queries, with_kwargs=True),
        after.register_forward_pre_hook(narrow),
    )
    try:
        yield True
    finally:
        for handle in handles:
            handle.remove()
