"""The objectives: masked words, or the next token, whose loss never holds all logits; hidden states of a teacher."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import Packed, hidden_states, layer_states
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_SPAN_END, _LONGEST_SPAN = 0.2, 10  # probability that a span ends after a word; words
# Rows of logits held at once: 60 MB for 30,000 pieces in bf16; a GPU wants larger products.
_CHUNK, CHUNK_ON_GPU = 1_024, 4_096
_TEMPERATURE, _OF_TEACHER, _OF_TRUTH = 2.0, 5.0, 2.0  # DistilBERT's training script


@dataclass(frozen=True, slots=True)
class Masker:
    """Hides tokens of one document, BERT's way: 80 % mask, 10 % another piece, 10 % unchanged.

    replacements: ids that a random piece is drawn from; never a special one (TRAPS O5).
    """

    unit: Literal["piece", "word", "span"]
    rate: float
    mask_id: int
    special: np.ndarray  # (vocabulary,) bool
    replacements: np.ndarray

    def __call__(
        self, ids: np.ndarray, word_starts: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """ids (n,) int64 -> (what the model sees, (n,); sorted places to predict, (m,)).

        m is the rate's share of the document, rounded, at least one: an independent draw a token would leave
        short documents without any (O4). With whole words, words in random order until the share is met; with
        spans, runs of words of a geometric length (SpanBERT, arXiv 1907.10529), the last one cut at the share.
        """
        maskable = np.flatnonzero(~self.special[ids])
        if not len(maskable):
            return ids, maskable
        budget = max(1, round(self.rate * len(maskable)))
        if self.unit == "piece":
            chosen = maskable[np.sort(rng.random(len(maskable)).argsort()[:budget])]
        else:
            if word_starts is None:
                raise ValueError("whole-word masking needs word_starts")
            word = np.cumsum(word_starts)[maskable]
            names, sizes = np.unique(word, return_counts=True)
            order = rng.permutation(len(names)) if self.unit == "word" else _spans(len(names), rng)
            total = np.cumsum(sizes[order])
            count = int(np.argmin(np.abs(total - budget))) + 1
            chosen = maskable[np.isin(word, names[order[:count]])]
        draw, piece = rng.random((2, len(chosen)))
        pieces = self.replacements[(piece * len(self.replacements)).astype(np.int64)]
        shown = ids.copy()
        shown[chosen] = np.where(draw < 0.8, self.mask_id, np.where(draw < 0.9, pieces, ids[chosen]))
        return shown, chosen


def _spans(words: int, rng: np.random.Generator) -> np.ndarray:
    """All words (words,) once, in runs that begin anywhere and have SpanBERT's lengths; a run skips what is taken."""
    starts = rng.permutation(words)
    lengths = np.minimum(rng.geometric(_SPAN_END, words), _LONGEST_SPAN)
    runs = starts[:, None] + np.arange(_LONGEST_SPAN)
    inside = (np.arange(_LONGEST_SPAN) < lengths[:, None]) & (runs < words)
    _, first = np.unique(runs[inside], return_index=True)
    return runs[inside][np.sort(first)]  # type: ignore[no-any-return]


def masker(tokenizer: Any, unit: Literal["piece", "word", "span"], rate: float) -> Masker:
    special = special_ids(tokenizer)
    return Masker(unit, rate, tokenizer.mask_token_id, special, np.flatnonzero(~special))


def special_ids(tokenizer: Any) -> np.ndarray:
    """Which ids are special, (vocabulary,) bool."""
    special = np.zeros(len(tokenizer), dtype=np.bool_)
    special[tokenizer.all_special_ids] = True
    return special


@dataclass(frozen=True, slots=True)
class NextToken:
    """Predicts each token of one document from those before it: nothing is hidden, the attention is causal.

    Special tokens inside a document, such as those of an unknown word, are read but not predicted.
    """

    special: np.ndarray  # (vocabulary,) bool

    def __call__(
        self, ids: np.ndarray, word_starts: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """ids (n,) int64 -> (the same, sorted places to predict, (m,))."""
        return ids, np.flatnonzero(~self.special[ids])


class LanguageModelLoss(nn.Module):
    """Forward of a packed batch: the summed loss, in nats, over its targets. causal: no token sees a later one."""

    def __init__(self, encoder: Encoder, *, causal: bool = False) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder = encoder
        self._causal = causal

    def forward(self, packed: Packed) -> Tensor:
        states = hidden_states(self._encoder, packed, packed.label_positions, causal=self._causal)
        transform, decoder = self._encoder.architecture.head(self.model)
        return summed_loss(transform(states), decoder, packed.labels)


class _Distillation(nn.Module):
    """An objective that learns from a teacher."""

    def __init__(self, encoder: Encoder, teacher: Encoder) -> None:
        super().__init__()
        self.model = encoder.model
        self._encoder = encoder
        self._teacher = teacher

    def _for_teacher(self, packed: Packed) -> Packed:
        """The batch with the positions of the teacher's family."""
        shift = self._teacher.first_position - self._encoder.first_position
        return replace(packed, positions=packed.positions + shift)


class Distilled(_Distillation):
    """Forward of a packed batch: how far the hidden states are from a teacher's, times the batch's targets.

    Mean squared distance after each layer over the teacher's variance there, averaged over layers and tokens (the
    hidden-state loss of TinyBERT, arXiv 1909.10351, without its projection: the widths are the same).
    """

    def forward(self, packed: Packed) -> Tensor:
        with torch.no_grad():
            taught = layer_states(self._teacher, self._for_teacher(packed))
        learnt = layer_states(self._encoder, packed)
        distances = [
            functional.mse_loss(mine.float(), theirs.float()) / theirs.float().var()
            for mine, theirs in zip(learnt, taught, strict=True)
        ]
        return torch.stack(distances).mean() * len(packed.labels)


class DistilledAnswers(_Distillation):
    """Forward of a packed batch: how far the answers at masked places are from a teacher's and the truth, summed.

    Kullback-Leibler divergence from the teacher's softened distribution, and cross-entropy, in DistilBERT's
    proportions (Sanh et al., arXiv 1910.01108), without its loss on hidden states. The vocabulary is the same.
    """

    def forward(self, packed: Packed) -> Tensor:
        with torch.no_grad():
            taught = self._features(self._teacher, self._for_teacher(packed))
        learnt = self._features(self._encoder, packed)
        _, teacher = self._teacher.architecture.head(self._teacher.model)
        _, student = self._encoder.architecture.head(self.model)
        losses = [
            # The logits of a chunk are computed again going backward, so that those of all are never held.
            checkpoint(_answer_loss, mine, theirs, labels, student, teacher, use_reentrant=False)
            for mine, theirs, labels in zip(
                *(torch.split(x, _CHUNK) for x in (learnt, taught, packed.labels)), strict=True
            )
        ]
        return torch.stack(losses).sum()

    def _features(self, encoder: Encoder, packed: Packed) -> Tensor:
        transform, _ = encoder.architecture.head(encoder.model)
        return transform(hidden_states(encoder, packed, packed.label_positions))


def _answer_loss(learnt: Tensor, taught: Tensor, labels: Tensor, student: nn.Linear, teacher: nn.Linear) -> Tensor:
    """Of features (M, F) of both, labels (M,) int64 -> ()."""
    answers, goal = student(learnt).float(), teacher(taught).detach().float()
    apart = functional.kl_div(
        functional.log_softmax(answers / _TEMPERATURE, dim=-1),
        functional.log_softmax(goal / _TEMPERATURE, dim=-1),
        reduction="sum", log_target=True,
    ) * _TEMPERATURE**2  # fmt: skip
    wrong = functional.cross_entropy(answers, labels, reduction="sum")
    return (_OF_TEACHER * apart + _OF_TRUTH * wrong) / (_OF_TEACHER + _OF_TRUTH)


def summed_loss(features: Tensor, decoder: nn.Linear, labels: Tensor) -> Tensor:
    """Cross-entropy of decoder(features) against labels, summed. features (M, F), labels (M,) int64 -> ().

    Logits exist for a few hundred rows at a time, and their gradients are made in the forward pass (as in
    Liger-Kernel's fused linear cross-entropy, arXiv 2410.10989). The plain twin is
    functional.cross_entropy(decoder(features), labels, reduction="sum").
    """
    dtype = features.dtype
    if torch.is_autocast_enabled(features.device.type):
        dtype = torch.get_autocast_dtype(features.device.type)
    return _SummedLoss.apply(features, decoder.weight, decoder.bias, labels, dtype)  # type: ignore[no-any-return, no-untyped-call]


class _SummedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, dtype: torch.dtype
    ) -> Tensor:
        device = features.device.type
        with torch.autocast(device, enabled=False):
            x, w = features.to(dtype), weight.to(dtype)
            b = None if bias is None else bias.to(dtype)
            d_features = torch.empty_like(x)
            d_weight, d_bias = None, None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
            loss = torch.zeros((), dtype=torch.float32, device=features.device)
            chunk = CHUNK_ON_GPU if device == "cuda" else _CHUNK
            for start in range(0, len(labels), chunk):
                rows, target = x[start : start + chunk], labels[start : start + chunk, None]
                logits = functional.linear(rows, w, b)
                gap = (logits.amax(dim=-1, keepdim=True) - logits.gather(1, target)).float()
                # One pass makes all that is needed: the likeliest piece's share is exp(top - logsumexp).
                shares = logits.softmax(dim=-1)
                loss += (gap - shares.amax(dim=-1, keepdim=True).float().log()).sum()
                # The gradient of the logits, in place; scatter_ would copy them all on a CPU.
                shares[torch.arange(len(rows), device=target.device), target[:, 0]] -= 1
                if d_bias is not None:
                    d_bias += shares.sum(dim=0)
                d_features[start : start + chunk] = shares @ w
                if not ctx.needs_input_grad[1]:  # a frozen table
                    continue
                d_chunk = (shares.T @ rows).float()
                d_weight = d_chunk if d_weight is None else d_weight.add_(d_chunk)
            if d_weight is None and ctx.needs_input_grad[1]:
                d_weight = torch.zeros_like(weight)
            if d_weight is not None:
                d_weight = d_weight.to(weight.dtype)
            if bias is not None and d_bias is not None:
                d_bias = d_bias.to(bias.dtype)
        ctx.save_for_backward(d_features.to(features.dtype), d_weight, d_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (scale,) = grads
        d_features, d_weight, d_bias = ctx.saved_tensors
        return (
            d_features * scale,
            None if d_weight is None else d_weight.mul_(scale),
            None if d_bias is None else d_bias * scale,
            None,
            None,
        )
