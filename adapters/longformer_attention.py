"""Longformer's attention, fast: the stock layers with the same weights and outputs, and packed documents.

The stock layer cuts a batch into overlapping chunks, pads each row to a multiple of the window and keeps
several copies of all scores. Here documents go through attend(). Global tokens have projections of their own
(Beltagy et al., arXiv 2004.05150): for a few of them the two projections of the whole document are folded into the
query and behind the weighted sum, which gives the same sums in another order.
"""

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from medlingua.adapters.attention import attend
from medlingua.adapters.kernels.contract import borders_among, document_of
from torch import Tensor, nn
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention


@dataclass(frozen=True, slots=True)
class PackedMask:
    """Takes the place of the attention mask where packed documents go through the layers.

    cu_seqlens: (documents + 1,) int32. max_seqlen: no document is longer. global_tokens: (n,) int64, ascending; empty
    for none. selected: (M,) int64, ascending, the tokens whose states are computed; None for all. causal: no token
    sees a later one.
    """

    cu_seqlens: Tensor
    max_seqlen: int
    global_tokens: Tensor
    selected: Tensor | None = None
    causal: bool = False


def accelerate_longformer(model: nn.Module) -> None:
    """Give every Longformer layer of a model our attention, in place: same weights, same outputs.

    Works for any stock Longformer class; what it saves stays a stock checkpoint. Masks that leave out tokens
    in the middle of a row, and `output_attentions`, go through the stock computation.

    Our attention has no dropout on attention weights. A model that has it is set to 0, in its layers and its
    config, with a warning; dropout of hidden states stays. ValueError for a model without Longformer layers,
    TypeError for what is no model, such as an Encoder.

    >>> from transformers import LongformerForMaskedLM
    >>> model = LongformerForMaskedLM.from_pretrained("longformer", attention_probs_dropout_prob=0.0)
    >>> accelerate_longformer(model)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"give a transformers model, not {type(model).__name__}; of an Encoder, encoder.model")
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


def packed_states(
    body: Any, ids: Tensor, positions: Tensor, mask: PackedMask, selected: Tensor | None = None
) -> Tensor:
    """Last hidden states (T, width) of packed documents through an accelerated LongformerModel; ids, positions (T,).

    selected: (M,) int64, ascending: only the states of these tokens are returned, (M, width). In the last layer the
    other tokens are keys and values, but no queries.
    """
    states = body.embeddings(input_ids=ids[None], position_ids=positions[None])
    *below, last = body.encoder.layer
    for layer in below:
        (states,) = layer(states, attention_mask=mask)
    (attended,) = last.attention.self(states, attention_mask=replace(mask, selected=selected))
    states = states if selected is None else states[:, selected]
    return last.ff_chunk(last.attention.output(attended, states))[0]  # type: ignore[no-any-return]


class FastLongformerSelfAttention(LongformerSelfAttention):  # type: ignore[misc]
    """The stock module's weights; its forward takes the stock arguments, or a PackedMask for the attention mask."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | PackedMask | None = None,
        is_index_masked: Tensor | None = None,
        is_index_global_attn: Tensor | None = None,
        is_global_attn: bool | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, ...]:
        if self.training and self.dropout:  # set again after accelerate_longformer
            raise ValueError(
                "the accelerated attention has no dropout on attention weights: set the layer's dropout to 0"
            )
        if isinstance(attention_mask, PackedMask):
            return (self._attend(hidden_states[0], attention_mask)[None],)
        assert is_index_masked is not None
        assert is_index_global_attn is not None
        layout = None if output_attentions else _layout(is_index_masked, is_index_global_attn)
        if layout is None:
            return super().forward(  # type: ignore[no-any-return]
                hidden_states, attention_mask, is_index_masked, is_index_global_attn, is_global_attn,
                output_attentions,
            )  # fmt: skip
        mask, real = layout
        if real is None:
            return (self._attend(hidden_states.flatten(0, 1), mask).view_as(hidden_states),)
        attended = self._attend(hidden_states.flatten(0, 1)[real], mask)
        # The stock layer leaves zeros at padding.
        whole = attended.new_zeros(hidden_states.shape[:2].numel(), attended.shape[-1])
        return (whole.index_copy(0, real, attended).view_as(hidden_states),)

    def _attend(self, states: Tensor, row: PackedMask) -> Tensor:
        """states (T, width) of packed documents -> (T, width), or of the selected tokens alone."""
        selected = row.selected
        device = states.device.type
        on_cpu = device == "cpu"
        # Once: each projection would cast all states, and keep its own copy. Autocast leaves float64 as it is.
        if device != "meta" and torch.is_autocast_enabled(device) and states.dtype != torch.float64:
            states = states.to(torch.get_autocast_dtype(device))
        if selected is not None and not on_cpu:  # kernels elsewhere take windows of all queries alone
            return self._attend(states, replace(row, selected=None))[selected]
        query = self._heads(self.query(states if selected is None else states[selected]))
        key, value = (self._heads(f(states)) for f in (self.key, self.value))
        global_queries = row.global_tokens if len(row.global_tokens) else None
        out = attend(
            query, key, value, row.cu_seqlens, max_seqlen=row.max_seqlen, query_positions=selected,
            global_tokens=global_queries, reach=self.one_sided_attn_window_size, causal=row.causal,
            global_queries=False,
        ).flatten(1)  # fmt: skip
        if global_queries is None:
            return out
        if selected is None:
            places = global_queries
        else:
            global_queries = global_queries[torch.isin(global_queries, selected)]
            places = torch.searchsorted(selected, global_queries)
        if not len(global_queries):
            return out
        one_by_one = on_cpu and not torch.compiler.is_compiling()
        attended = (self._document_by_document if one_by_one else self._together)(states, row, global_queries)
        return out.index_copy(0, places, attended.to(out.dtype))

    def _document_by_document(self, states: Tensor, row: PackedMask, global_queries: Tensor) -> Tensor:
        """Global queries (n,) of all documents, states (T, width) -> (n, width)."""
        borders = borders_among(global_queries, row.cu_seqlens).tolist()
        tokens = torch.split(states, row.cu_seqlens.diff().tolist())
        queries = torch.split(self.query_global(states[global_queries]), [b - a for a, b in pairwise(borders)])
        outputs = []
        for query, document in zip(queries, tokens, strict=True):
            if not len(query):
                continue
            # As many queries as the projections are wide: folding does not pay.
            if len(query) * self.num_heads < query.shape[1]:
                outputs.append(self._folded(query, document))
                continue
            key, value = self.key_global(document), self.value_global(document)
            borders_here = torch.tensor([0, len(document)], dtype=torch.int32)
            # Each sees the whole document, so that its position does not matter: the first n will do.
            first = torch.arange(len(query))
            q, k, v = (self._heads(x) for x in (query, key, value))
            outputs.append(attend(q, k, v, borders_here, query_positions=first).flatten(1))
        return torch.cat(outputs)

    def _together(self, states: Tensor, row: PackedMask, global_queries: Tensor) -> Tensor:
        """The same without asking the device for a border: folded queries see all documents' tokens, and a mask."""
        query = self.query_global(states[global_queries])
        if len(query) * self.num_heads <= 2 * query.shape[1]:
            document = document_of(torch.arange(len(states), device=states.device), row.cu_seqlens)
            return self._folded(query, states, document[global_queries][:, None] != document)
        q, k, v = (self._heads(x) for x in (query, self.key_global(states), self.value_global(states)))
        return attend(q, k, v, row.cu_seqlens, max_seqlen=row.max_seqlen, query_positions=global_queries).flatten(1)

    def _folded(self, query: Tensor, states: Tensor, masked: Tensor | None = None) -> Tensor:
        """Global queries (n, width) over states (L, width), but those `masked` (n, L) -> (n, width)."""
        key, value = self.key_global, self.value_global
        return _Folded.apply(  # type: ignore[no-any-return, no-untyped-call]
            query, states, key.weight, key.bias, value.weight, value.bias, masked, self.num_heads
        )

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim)


class _Folded(torch.autograd.Function):
    """Attention of n queries over the projections of L states that are never computed.

    q . (W x + b) = (W' q) . x + q . b, whose last part is the same for every x, so that the softmax does not see it;
    and sum_j p_j (W x_j + b) = W (sum_j p_j x_j) + b, as p sums to one. By hand: fewer passes over the scores than
    autograd's, and fewer launches on a GPU.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        states: Tensor,
        key_weight: Tensor,
        key_bias: Tensor,
        value_weight: Tensor,
        value_bias: Tensor,
        masked: Tensor | None,
        heads: int,
    ) -> Tensor:
        n, width = query.shape
        with torch.autocast(query.device.type, enabled=False):
            ctx.dtypes = states.dtype, key_weight.dtype, key_bias.dtype, value_weight.dtype, value_bias.dtype
            states, key, value = (x.to(query.dtype) for x in (states, key_weight, value_weight))
            key, value = (x.view(heads, -1, width) for x in (key, value))  # (H, D, width)
            q = query.view(n, heads, -1).transpose(0, 1) * (width // heads) ** -0.5  # (H, n, D)
            folded = torch.bmm(q, key).flatten(0, 1)  # (H * n, width)
            scores = torch.mm(folded, states.T).view(heads, n, -1)
            if masked is not None:
                scores = scores.masked_fill(masked, float("-inf"))
            weights = scores.softmax(dim=-1).flatten(0, 1)  # (H * n, L), in fp32 on the way
            mixed = torch.mm(weights, states).view(heads, n, width)
            out = torch.bmm(mixed, value.transpose(1, 2)).transpose(0, 1).flatten(1)
            out = out + value_bias.to(out.dtype)
        ctx.save_for_backward(q, states, key, value, folded, weights, mixed)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, states, key, value, folded, weights, mixed = ctx.saved_tensors
        of_states, of_key, of_key_bias, of_value, of_value_bias = ctx.dtypes
        heads, n, width = mixed.shape
        with torch.autocast(q.device.type, enabled=False):
            d_out = grads[0].view(n, heads, -1).transpose(0, 1)  # (H, n, D)
            d_value = torch.bmm(d_out.transpose(1, 2), mixed)
            d_mixed = torch.bmm(d_out, value)
            # The softmax's gradient needs each row's sum of weight times its gradient, which is mixed . d_mixed.
            inner = (d_mixed * mixed).sum(dim=-1).flatten()[:, None]
            d_mixed = d_mixed.flatten(0, 1)
            d_scores = torch.mm(d_mixed, states.T).sub_(inner).mul_(weights)
            d_states = torch.mm(weights.T, d_mixed).addmm_(d_scores.T, folded)
            d_folded = torch.mm(d_scores, states).view(heads, n, width)
            d_key = torch.bmm(q.transpose(1, 2), d_folded)
            d_query = torch.bmm(d_folded, key.transpose(1, 2)).transpose(0, 1).flatten(1)
            d_query = d_query * (width // heads) ** -0.5
        return (
            d_query, d_states.to(of_states), d_key.view(width, width).to(of_key),
            torch.zeros(width, dtype=of_key_bias, device=q.device), d_value.view(width, width).to(of_value),
            grads[0].sum(dim=0).to(of_value_bias), None, None,
        )  # fmt: skip


def _layout(masked: Tensor, is_global: Tensor) -> tuple[PackedMask, Tensor | None] | None:
    """A padded batch, (B, L) bool each, as packed documents: their mask, and the places of real tokens, None for all.

    None where a row has a gap between real tokens, or none at all. All layers of a model pass the same two tensors;
    the answer, for which a GPU has to be waited for, is computed once for them.
    """
    if masked.is_inference() or is_global.is_inference():  # these do not count what is written into them
        return _layout_of(masked, is_global)
    return _layout_at(masked, masked._version, is_global, is_global._version)


@lru_cache(maxsize=2)  # tensors are hashed by identity
def _layout_at(
    masked: Tensor, version: int, is_global: Tensor, global_version: int
) -> tuple[PackedMask, Tensor | None] | None:
    return _layout_of(masked, is_global)


def _layout_of(masked: Tensor, is_global: Tensor) -> tuple[PackedMask, Tensor | None] | None:
    length = masked.shape[1]
    real = ~masked
    changes = (real[:, 1:] != real[:, :-1]).sum(dim=1) + real[:, 0].int() + real[:, -1].int()
    if (changes != 2).any():
        return None
    lengths = real.sum(dim=1)
    borders = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
    if not masked.any():
        return PackedMask(borders, length, is_global.flatten().nonzero()[:, 0]), None
    return PackedMask(borders, int(lengths.max()), is_global[real].nonzero()[:, 0]), real.flatten().nonzero()[:, 0]
