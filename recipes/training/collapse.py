"""A model that no longer uses its context: seen while it trains, by its loss and by its hidden states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.errors import InputError
from medlingua.recipes.console import say
from medlingua.recipes.settings import LANGUAGE_MODELS, Phase
from medlingua.recipes.training.checkpoint import Checkpoint

_WINDOWS = 20  # of a phase; two in a row are a tenth of it
_LEAST_STEPS = 100  # shorter phases show nothing
_NEAR = 0.01  # share of the frequencies' loss
_ALIKE = 0.999  # mean cosine; 0.31 to 0.75 in the models of reports/notes
_SAMPLES = 8
_SAMPLE_TOKENS = 64
_REMEDY = (
    "Try a lower train.lr, more warm-up, or more adapt.head_tokens for a fresh head, in another --out: the same "
    "settings stop here again. --set train.collapse=warn goes on all the same, from the last checkpoint"
)


@dataclass(frozen=True, slots=True)
class CollapseProbe:
    """unigram_loss: nats a masked piece by the frequencies of pieces alone. samples: ids of held-out text.
    why_warn: why a run is not stopped."""

    action: Literal["stop", "warn"]
    unigram_loss: float
    samples: Sequence[np.ndarray]
    why_warn: str = "as train.collapse = 'warn' says"

    def check_loss(self, phase: Phase, before: Checkpoint, after: Checkpoint, loss: float) -> Checkpoint:
        """The state with the loss of this step added to its window. Where two windows in a row, a tenth of the phase,
        have the loss of the frequencies, the run is stopped or warned."""
        total = after.window_loss + loss * (after.tokens - before.tokens)
        window = phase.tokens / _WINDOWS
        if after.phase_tokens // window == before.phase_tokens // window:
            return replace(after, window_loss=total)
        tokens = after.tokens - after.window_start
        at_line = abs(total / tokens / self.unigram_loss - 1) < _NEAR
        windows = after.windows_at_unigram + 1 if at_line else 0
        steps = phase.tokens / (after.tokens - before.tokens)
        # A run that went on with a warning may be taken up by one that is to stop.
        due = windows == 2 or (windows > 2 and self.action == "stop")
        if phase.kind in LANGUAGE_MODELS and phase.parameters == "all" and due and steps >= _LEAST_STEPS:
            self._report(
                f"the loss has stayed at {total / tokens:.2f} for a tenth of phase '{phase.name}': what the "
                "frequencies of pieces alone give, so the model uses no context"
            )
        return replace(after, window_loss=0.0, window_start=after.tokens, windows_at_unigram=windows)

    def check_states(self, encoder: Encoder) -> None:
        """Stop or warn where the hidden states of different tokens have become the same."""
        similarity = mean_cosine(encoder, self.samples)
        if similarity > _ALIKE:
            self._report(
                f"the hidden states of all tokens have become alike (mean cosine {similarity:.4f}): the model "
                "tells one text from another no longer"
            )

    def _report(self, finding: str) -> None:
        if self.action == "stop":
            raise InputError(f"{finding}. {_REMEDY}")
        say(f"{finding}; going on, {self.why_warn}")


def samples(texts: Sequence[str], encoder: Encoder) -> tuple[np.ndarray, ...]:
    """The beginnings of some texts as ids, special tokens included."""
    tokenizer = encoder.tokenizer
    room = min(_SAMPLE_TOKENS, encoder.length) - 2
    pieces = [tokenizer.backend_tokenizer.encode(t[:2_000], add_special_tokens=False).ids for t in texts[:_SAMPLES]]
    return tuple(
        np.array([tokenizer.cls_token_id, *ids[:room], tokenizer.sep_token_id], dtype=np.int64) for ids in pieces
    )


@torch.no_grad()
def mean_cosine(encoder: Encoder, documents: Sequence[np.ndarray]) -> float:
    """Mean cosine between the last hidden states of any two tokens; 0.0 without documents."""
    if not documents:
        return 0.0
    packed = pack(list(documents), encoder.first_position, encoder.global_ids).to(encoder.device)
    states = torch.nn.functional.normalize(hidden_states(encoder, packed).double(), dim=-1)
    count = len(states)
    # The sum over all pairs is the squared norm of the sum.
    return float((states.sum(dim=0).square().sum() - count) / (count * (count - 1)))


def unigram_loss(counts: np.ndarray) -> float:
    """Entropy of the pieces of the training text, in nats: the loss of a model that knows their frequencies alone."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) if len(shares) > 1 else math.inf
