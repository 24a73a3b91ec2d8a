"""Longformer's attention, fast: the stock layers with the same weights and outputs, and packed documents.

The stock layer cuts a batch into overlapping chunks, pads each row to a multiple of the window and keeps
several copies of all scores. Here every document goes alone through attend_document(). Global tokens have
projections of their own (Beltagy et al., arXiv 2004.05150): for a few of them the two projections of the whole
document are folded into the query and behind the weighted sum, which gives the same sums in another order.
"""

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from medlingua.adapters.attention import attend
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention


@dataclass(frozen=True, slots=True)
class Row:
    """What stands in for the attention mask when a packed row goes through the layers.

    cu_seqlens: (documents + 1,) int32. global_tokens: (n,) int64, ascending; empty for none. wanted: (M,) int64,
    ascending, the tokens whose states are asked for; None for all.
    """

    cu_seqlens: Tensor
    global_tokens: Tensor
    wanted: Tensor | None = None


def accelerate_longformer(model: nn.Module) -> None:
    """Give every Longformer layer of a model our attention, in place: same weights, same outputs.

    Works for any stock Longformer class; what it saves stays a stock checkpoint. Masks that leave out tokens
    in the middle of a row, and `output_attentions`, go through the stock computation.

    Our attention has no dropout on attention weights. A model that has it is set to 0, in its layers and its
    config, with a warning; dropout of hidden states stays. ValueError for a model without Longformer layers.

    >>> from transformers import LongformerForMaskedLM
    >>> model = LongformerForMaskedLM.from_pretrained("longformer", attention_probs_dropout_prob=0.0)
    >>> accelerate_longformer(model)
    """
    layers = [module for module in model.modules() if isinstance(module, LongformerSelfAttention)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Longformer layer")
    if rate := max(layer.dropout for layer in layers):
        warnings.warn(
            f"attention_probs_dropout_prob is set from {rate} to 0: the accelerated attention has no dropout on "
            "attention weights. Dropout of hidden states (hidden_dropout_prob) stays",
            stacklevel=2,
        )
        for module in model.modules():
            if isinstance(config := getattr(module, "config", None), LongformerConfig):
                config.attention_probs_dropout_prob = 0.0
    for layer in layers:
        layer.dropout = 0.0
        layer.__class__ = FastLongformerSelfAttention


def packed_states(body: Any, ids: Tensor, positions: Tensor, row: Row, rows: Tensor | None = None) -> Tensor:
    """Last hidden states (T, width) of a packed row through an accelerated LongformerModel; ids, positions (T,).

    rows: (M,) int64, ascending, the tokens whose states are wanted, (M, width): in the last layer the others are
    looked at and no more.
    """
    states = body.embeddings(input_ids=ids[None], position_ids=positions[None])
    *below, last = body.encoder.layer
    for layer in below:
        (states,) = layer(states, attention_mask=row)
    (found,) = last.attention.self(states, attention_mask=replace(row, wanted=rows))
    states = states if rows is None else states[:, rows]
    return last.ff_chunk(last.attention.output(found, states))[0]  # type: ignore[no-any-return]


class FastLongformerSelfAttention(LongformerSelfAttention):  # type: ignore[misc]
    """The stock module's weights; its forward takes the stock arguments, or a Row for the attention mask."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | Row | None = None,
        is_index_masked: Tensor | None = None,
        is_index_global_attn: Tensor | None = None,
        is_global_attn: bool | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, ...]:
        if self.training and self.dropout:  # set again after accelerate_longformer
            raise ValueError(
                "the accelerated attention has no dropout on attention weights: set the layer's dropout to 0"
            )
        if isinstance(attention_mask, Row):
            return (self._attend(hidden_states[0], attention_mask)[None],)
        assert is_index_masked is not None
        assert is_index_global_attn is not None
        if output_attentions or _holes(is_index_masked):
            return super().forward(  # type: ignore[no-any-return]
                hidden_states, attention_mask, is_index_masked, is_index_global_attn, is_global_attn,
                output_attentions,
            )  # fmt: skip
        if not is_index_masked.any():
            count, length, _ = hidden_states.shape
            borders = torch.arange(0, (count + 1) * length, length, dtype=torch.int32, device=hidden_states.device)
            row = Row(borders, is_index_global_attn.flatten().nonzero()[:, 0])
            return (self._attend(hidden_states.flatten(0, 1), row).view_as(hidden_states),)
        real = ~is_index_masked
        row = Row(
            torch.cat([real.new_zeros(1, dtype=torch.int32), real.sum(dim=1).cumsum(0).to(torch.int32)]),
            is_index_global_attn[real].nonzero()[:, 0],
        )
        found = self._attend(hidden_states[real], row)
        # The stock layer leaves zeros at padding.
        return (found.new_zeros(*real.shape, found.shape[-1]).masked_scatter(real[:, :, None], found),)

    def _attend(self, states: Tensor, row: Row) -> Tensor:
        """states (T, width) of packed documents -> (T, width), or of the wanted ones alone."""
        wanted = row.wanted
        if wanted is not None and states.device.type != "cpu":  # kernels elsewhere take windows of all queries alone
            return self._attend(states, replace(row, wanted=None))[wanted]
        query = self._heads(self.query(states if wanted is None else states[wanted]))
        key, value = (self._heads(f(states)) for f in (self.key, self.value))
        few = row.global_tokens if len(row.global_tokens) else None
        out = attend(
            query, key, value, row.cu_seqlens,
            query_rows=wanted, global_tokens=few, reach=self.one_sided_attn_window_size,
        ).flatten(1)  # fmt: skip
        if wanted is not None and few is not None:
            few = few[torch.isin(few, wanted)]
            row = replace(row, global_tokens=few)
        if few is None or not len(few):
            return out
        borders = torch.searchsorted(row.global_tokens, row.cu_seqlens.to(row.global_tokens)).tolist()
        tokens = torch.split(states, row.cu_seqlens.diff().tolist())
        asked = torch.split(self.query_global(states[few]), [b - a for a, b in pairwise(borders)])
        found = [self._ask(q, x) for q, x in zip(asked, tokens, strict=True) if len(q)]
        place = few if wanted is None else torch.searchsorted(wanted, few)
        return out.index_copy(0, place, torch.cat(found).to(out.dtype))

    def _ask(self, query: Tensor, states: Tensor) -> Tensor:
        """Global queries (n, width) of one document, states (L, width) -> (n, width)."""
        n, width = query.shape
        if n * self.num_heads >= width:  # more rows than the projections have: folding would not pay
            q, k, v = (self._heads(x) for x in (query, self.key_global(states), self.value_global(states)))
            borders = torch.tensor([0, len(states)], dtype=torch.int32, device=states.device)
            # Each sees the whole document, wherever it stands: the first n places do.
            return attend(q, k, v, borders, query_rows=torch.arange(n, device=states.device)).flatten(1)
        # q . (W x + b) = (W' q) . x + q . b, and sum_j p_j (W x_j + b) = W (sum_j p_j x_j) + b, as p sums to one.
        q = self._heads(query).transpose(0, 1) * self.head_dim**-0.5  # (H, n, D)
        key, value = (
            f.weight.view(self.num_heads, self.head_dim, width) for f in (self.key_global, self.value_global)
        )
        shift = torch.bmm(q, self.key_global.bias.view(self.num_heads, self.head_dim, 1))
        folded = torch.bmm(q, key)  # (H, n, width)
        scores = linear(folded.flatten(0, 1), states).view(self.num_heads, n, -1) + shift
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)
        mixed = torch.matmul(weights.flatten(0, 1), states.to(weights.dtype)).view(self.num_heads, n, width)
        out = torch.bmm(mixed, value.transpose(1, 2).to(mixed.dtype))
        return out.transpose(0, 1).flatten(1) + self.value_global.bias  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim)


def _holes(masked: Tensor) -> bool:
    """Whether a row's mask has a gap between real tokens, or no real token at all: (B, L) bool."""
    real = ~masked
    changes = (real[:, 1:] != real[:, :-1]).sum(dim=1) + real[:, 0].int() + real[:, -1].int()
    return bool((changes != 2).any())
