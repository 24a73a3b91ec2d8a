"""Long-range probes: how far away may a fact stand and still help to predict the word that it determines?

Synthetic cases (languages/cases.py) state a fact and, a chosen distance later, a word that only the fact tells. The
word is masked and its loss taken twice, in the text and in the same text with the fact replaced by a neutral
sentence; the difference is what the fact gave. A model that accepts long text but does not use it gives none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.annotations import Span
from medlingua.languages.cases import recall_case
from medlingua.languages.pack import Pack
from medlingua.reports.rows import ProbeRow
from torch.nn import functional

DISTANCES = (64, 128, 256, 512, 1024, 2048, 4096)  # words
_DRAWS = 1_000  # of the bootstrap


@dataclass(frozen=True, slots=True)
class Gains:
    """What the fact gave at one distance. gains: (cases,) nats an answer. tokens: mean distance in tokens."""

    words: int
    tokens: float
    gains: np.ndarray


def probe(
    encoder: Encoder,
    language: Pack,
    cases: int,
    distances: Sequence[int] = DISTANCES,
    seed: int = 0,
    update: Callable[[float], None] = lambda share: None,
) -> tuple[Gains, ...]:
    """Gains at every distance whose cases fit the model whole; longer ones are left out, never cut.

    update: told the share that is done, by words read.
    """
    results = []
    total, done = cases * sum(distances), 0
    for words in distances:
        gains, tokens = [], []
        for number in range(cases):
            case = recall_case(language, seed + number, words)
            with_fact = _masked(encoder, case.document.text, case.answer)
            without_fact = _masked(encoder, case.without_fact.text, case.answer_without_fact)
            if max(len(with_fact.ids), len(without_fact.ids)) > encoder.length:
                break
            gains.append(_loss(encoder, without_fact) - _loss(encoder, with_fact))
            tokens.append(int(with_fact.places[0]) - _first_token(encoder, case.document.text, case.fact))
            done += words
            update(done / total)
        if len(gains) < cases:
            break
        results.append(Gains(words, float(np.mean(tokens)), np.array(gains)))
    return tuple(results)


def rows(name: str, gains: Sequence[Gains]) -> tuple[ProbeRow, ...]:
    """As a report shows them: mean gain with a bootstrap interval over cases."""
    lines = []
    for one in gains:
        means = _resampled(one.gains).mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        lines.append(
            ProbeRow(
                model=name, words=one.words, tokens=round(one.tokens), gain=float(one.gains.mean()),
                low=float(low), high=float(high), cases=len(one.gains),
            )
        )  # fmt: skip
    return tuple(lines)


def effective_context(gains: Sequence[Gains]) -> tuple[float, float, float] | None:
    """Tokens over which a fact keeps at least half of what it gives nearest: (estimate, low, high).

    Interpolated on a logarithmic scale between distances; the interval is a bootstrap over cases. The longest
    distance probed is the most that can be read. None where the fact gives nothing even nearest.
    """
    if not gains or np.quantile(_resampled(gains[0].gains).mean(axis=1), 0.025) <= 0:
        return None
    tokens = np.array([one.tokens for one in gains])
    estimate = _half(tokens, np.array([one.gains.mean() for one in gains]))
    draws = np.stack([_resampled(one.gains).mean(axis=1) for one in gains], axis=1)
    low, high = np.quantile([_half(tokens, drawn) for drawn in draws], (0.025, 0.975))
    return estimate, float(low), float(high)


def _half(tokens: np.ndarray, means: np.ndarray) -> float:
    least = means[0] / 2
    for i in range(1, len(means)):
        if means[i] < least:
            share = (means[i - 1] - least) / (means[i - 1] - means[i])
            return float(np.exp(np.log(tokens[i - 1]) + share * np.log(tokens[i] / tokens[i - 1])))
    return float(tokens[-1])


def _resampled(gains: np.ndarray) -> np.ndarray:
    """(draws, cases): the cases drawn again and again, with replacement; the same draws each time."""
    rng = np.random.default_rng(0)
    return gains[rng.integers(len(gains), size=(_DRAWS, len(gains)))]


@dataclass(frozen=True, slots=True)
class _Masked:
    ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray


def _masked(encoder: Encoder, text: str, answer: Span) -> _Masked:
    """The text as the model reads it, every piece of the answer masked."""
    tokenizer = encoder.tokenizer
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    ids = np.array([tokenizer.cls_token_id, *encoding.ids, tokenizer.sep_token_id], dtype=np.int64)
    places = 1 + _touched(encoding, answer)
    labels = ids[places]
    ids[places] = tokenizer.mask_token_id
    return _Masked(ids, places, labels)


def _touched(encoding: object, span: Span) -> np.ndarray:
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)  # type: ignore[attr-defined]
    start, end = span.start, span.end
    return np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))


def _first_token(encoder: Encoder, text: str, span: Span) -> int:
    encoding = encoder.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    return 1 + int(_touched(encoding, span)[0])


@torch.no_grad()
def _loss(encoder: Encoder, masked: _Masked) -> float:
    """Nats of the whole answer."""
    row = pack([masked.ids], encoder.first_position, encoder.global_ids)
    row = row.with_labels(masked.labels, masked.places).to(encoder.device)
    transform, decoder = encoder.architecture.head(encoder.model)
    logits = decoder(transform(hidden_states(encoder, row, row.label_positions)))[:, : len(encoder.tokenizer)]
    return float(functional.cross_entropy(logits.float(), row.labels, reduction="sum"))
