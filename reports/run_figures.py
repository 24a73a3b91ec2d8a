"""Figures of a run: training, held-out text, loss by position, distant facts and tokens by corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .figures import (
    ACCENT,
    AFTER,
    BEFORE,
    DASHES,
    INK,
    SOFT,
    Chart,
    bare,
    doubling_axis,
    legend_below,
    metric_limits,
    middle_cut,
    perplexity_axis,
    tokens_axis,
)
from .quantities import percent, short
from .rows import CorpusRow, EvalRow, PositionLossRow, ProbeRow, TrainRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 400  # more than the page has pixels to tell apart
_MODELS = {"base": BEFORE, "start": ACCENT, "trained": AFTER}


def training_chart(rows: Sequence[TrainRow], phases: Mapping[int, str], likelihood: bool, synthetic: bool) -> Chart:
    """Loss and learning rate over tokens. phases: names by number. likelihood: whether the loss is a negative
    log-likelihood in every phase, so that it has a perplexity."""
    tokens = _thinned([row.tokens for row in rows])

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        upper.plot(tokens, _thinned([row.loss for row in rows]), color=AFTER)
        upper.set_ylabel("training loss" + (" (nats)" if likelihood else ""))
        if likelihood:
            perplexity_axis(upper)
        lower.plot(tokens, _thinned([row.lr for row in rows]), color=SOFT)
        lower.set_ylabel("learning rate")
        lower.set_ylim(bottom=0)
        lower.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=False)
        tokens_axis(lower, _of_text("training tokens", synthetic))
        for last, first in pairwise(rows):
            if last.phase != first.phase:
                for axes in (upper, lower):
                    axes.axvline(first.tokens, color=SOFT, linewidth=0.8, linestyle=DASHES[2])
                name = phases.get(first.phase, f"phase {first.phase + 1}")
                upper.text(
                    first.tokens, 1.01, name, color=SOFT, ha="center", va="bottom",
                    transform=upper.get_xaxis_transform(),
                )  # fmt: skip

    loss = "loss per predicted token, with its perplexity," if likelihood else "loss"
    caption = f"Training {loss} and learning rate over the tokens trained."
    if any(last.phase != first.phase for last, first in pairwise(rows)):
        caption += " Dotted lines: a phase begins."
    data = [
        {
            "phase": row.phase, "step": row.step, "tokens": row.tokens, "loss": row.loss,
            **({"perplexity": _perplexity(row.loss)} if likelihood else {}), "learning_rate": row.lr,
        }
        for row in rows
    ]  # fmt: skip
    return Chart("training", _labelled(caption, synthetic), data, 3.7, draw)


def held_out_chart(rows: Sequence[EvalRow], synthetic: bool) -> Chart:
    """Bits per byte, loss with perplexity, and accuracy of masked words on held-out text, over tokens.

    The loss of the base is drawn only where its tokenizer is the same.
    """
    trained = [row for row in rows if row.model == "trained"]
    first = {row.model: row for row in rows if row.model != "trained"}
    base = first.get("base")
    line = [row for row in (first.get("start") or base,) if row] + trained
    same_tokenizer = base is not None and base.masked_pieces == trained[-1].masked_pieces
    accuracy = [row for row in line if row.words_recovered is not None]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 3 if accuracy else 2, squeeze=False)[0]
        tokens = [row.tokens for row in line]
        handles: dict[str, Any] = {}
        (handles["model in training"],) = panels[0].plot(tokens, [r.bits_per_byte for r in line], "o-", color=AFTER)
        panels[0].set_ylabel("bits per byte")
        panels[1].plot(tokens, [row.eval_loss for row in line], "o-", color=AFTER)
        panels[1].set_ylabel("loss (nats per masked token)")
        if base:
            handles["base"] = _level(panels[0], base.bits_per_byte)
            if same_tokenizer:
                _level(panels[1], base.eval_loss)
        if (frequencies := trained[-1].unigram_bits_per_byte) is not None:
            handles["piece frequencies alone"] = panels[0].axhline(frequencies, color=BEFORE, linestyle=":")
        perplexity_axis(panels[1])
        if accuracy:
            values = [row.words_recovered or 0.0 for row in accuracy]
            panels[2].plot([row.tokens for row in accuracy], values, "o-", color=AFTER)
            panels[2].set_ylabel("accuracy of masked words")
            if base and base.words_recovered is not None:
                _level(panels[2], base.words_recovered)
                values.append(base.words_recovered)
            panels[2].set_ylim(metric_limits(values))
        for axes in panels:
            tokens_axis(axes, _of_text("training tokens", synthetic))
            axes.xaxis.get_major_locator().set_params(nbins=3)
        legend_below(figure, handles)

    caption = "Held-out text during training: bits per byte, loss with its perplexity"
    caption += " and accuracy of masked words." if accuracy else "."
    if trained[-1].unigram_bits_per_byte is not None:
        caption += " Dotted: the same words by the frequencies of their pieces in the training text, without a model."
    if base and not same_tokenizer:
        caption += " The base has another tokenizer, so its loss per token does not compare and is left out."
    return Chart("held-out", _labelled(caption, synthetic), [_held_out_line(row) for row in rows], 3.1, draw)


def positions_chart(rows: Sequence[PositionLossRow], synthetic: bool) -> Chart:
    """Masked-LM loss by position in the document, a step for each stretch, a line for each model."""
    names = {"base": "base", "start": "converted", "trained": "trained"}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        handles = {}
        for model in dict.fromkeys(row.model for row in rows):
            own = [row for row in rows if row.model == model]
            edges = [*(max(16, row.first) for row in own), own[-1].end]  # a logarithm has no zero
            losses = [row.loss for row in own]
            handles[names[model]] = axes.stairs(
                losses, edges, baseline=None, color=_MODELS[model], linestyle=DASHES[model == "start"], linewidth=1.6
            )
        doubling_axis(axes, _of_text("position in the document (tokens)", synthetic))
        axes.set_ylabel("loss (nats per masked token)")
        perplexity_axis(axes)
        legend_below(figure, handles)

    caption = (
        "Masked-LM loss by position in the longest held-out documents, 15 % of the tokens masked. The line of the "
        "base ends where its positions end."
    )
    data = [row.model_dump() | {"perplexity": _perplexity(row.loss)} for row in rows]
    return Chart("loss-by-position", _labelled(caption, synthetic), data, 3.1, draw)


def probes_chart(rows: Sequence[ProbeRow]) -> Chart:
    """What a fact contributes to the word that it determines, over the distance between them."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=SOFT, linewidth=0.8)
        handles = {}
        for model in dict.fromkeys(row.model for row in rows):
            own = [row for row in rows if row.model == model]
            gains = [row.gain for row in own]
            errors = ([row.gain - row.low for row in own], [row.high - row.gain for row in own])
            handles[model] = axes.errorbar(
                [row.tokens for row in own], gains, errors, color=_MODELS[model], marker="o", capsize=2
            )
        doubling_axis(axes, "distance between the fact and the word (tokens, synthetic text)")
        axes.set_ylabel("gain (nats per word)")
        legend_below(figure, handles)

    caption = (
        "How far a model uses a fact. The fact stands in the text once; at a distance, a word that only the fact "
        "determines is masked. Gain: loss of that word without the fact minus loss with it. Bars: 95 % intervals "
        "over cases."
    )
    return Chart("distant-facts", _labelled(caption, True), [row.model_dump() for row in rows], 3.1, draw)


def corpora_chart(trained: Mapping[str, float], corpora: Sequence[CorpusRow]) -> Chart:
    """Tokens trained from each corpus, the largest first. trained: tokens by name of the corpus."""
    rows = sorted(corpora, key=lambda row: trained.get(row.name, 0.0))
    values = [trained.get(row.name, 0.0) for row in rows]
    total = sum(values)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        names = [middle_cut(f"{row.name} (synthetic)" if row.synthetic else row.name) for row in rows]
        colors = [ACCENT if row.non_commercial else AFTER for row in rows]
        bars = axes.barh(range(len(rows)), values, height=0.62, color=colors)
        axes.set_yticks(range(len(rows)), names)
        notes = [
            f"{short(value)}, {percent(value, total)}" + (", non-commercial" if row.non_commercial else "")
            for value, row in zip(values, rows, strict=True)
        ]
        axes.bar_label(bars, notes, padding=5, color=INK)
        axes.set_xlim(0, max(values, default=0) * 1.35 or 1)
        bare(axes)
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_visible(False)

    caption = (
        "Tokens trained, by corpus: the tokens of each phase, divided in proportion to what its mixture takes from "
        "each corpus."
    )
    data = [
        {
            "corpus": row.name,
            "tokens_trained": round(value),
            "tokens_in_corpus": row.tokens,
            "synthetic": row.synthetic,
        }
        for value, row in zip(reversed(values), reversed(rows), strict=True)
    ]
    synthetic = any(row.synthetic for row in rows)
    return Chart("tokens-by-corpus", _labelled(caption, synthetic), data, 0.6 + 0.34 * len(rows), draw)


def _level(axes: Axes, value: float) -> Any:
    return axes.axhline(value, color=BEFORE, linewidth=1.2, linestyle=DASHES[1])


def _held_out_line(row: EvalRow) -> dict[str, object]:
    return {
        "model": row.model,
        "tokens": row.tokens,
        "bits_per_byte": row.bits_per_byte,
        "unigram_bits_per_byte": "" if row.unigram_bits_per_byte is None else row.unigram_bits_per_byte,
        "loss": row.eval_loss,
        "perplexity": _perplexity(row.eval_loss),
        "accuracy_of_masked_words": "" if row.words_recovered is None else row.words_recovered,
    }


def _perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _of_text(words: str, synthetic: bool) -> str:
    return f"{words}, synthetic text" if synthetic else words


def _labelled(caption: str, synthetic: bool) -> str:
    return f"{caption} The text is synthetic." if synthetic else caption


def _thinned(values: Sequence[float]) -> list[float]:
    """At most _POINTS values, each the mean of its stretch."""
    stretch = math.ceil(len(values) / _POINTS)
    return [fmean(values[start : start + stretch]) for start in range(0, len(values), stretch)]
