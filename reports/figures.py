"""Figures of a run as self-contained SVG: text stays text, colours follow the page's light or dark theme."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from itertools import cycle, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .quantities import percent, short
from .rows import CorpusRow, EvalRow, PositionLossRow, ProbeRow, TrainRow
from .scores import Comparison, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's blue and vermilion: told apart by colour-blind readers. Each is the fallback of a variable
# of page.css, so a figure is right alone and takes the page's colours inside it.
INK, SOFT, RULE = "#1c1f23", "#5c636b", "#dfe2e6"
BEFORE, AFTER, ACCENT = "#6b7280", "#0072b2", "#d55e00"
_LINES = ((AFTER, "o-"), (ACCENT, "s--"), (BEFORE, "D:"), (AFTER, "^:"), (ACCENT, "v-"), (BEFORE, "x--"))
_VARIABLES = {INK: "ink", SOFT: "soft", RULE: "rule", BEFORE: "before", AFTER: "after", ACCENT: "accent"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
}
WIDTH = 9.0
_POINTS = 400  # more than the page has pixels to tell apart


def training_figure(rows: Sequence[TrainRow], phases: Mapping[int, str], synthetic: bool) -> str:
    """Loss and learning rate over tokens; a thin line where a phase begins."""
    tokens = _thinned([row.tokens for row in rows])

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        upper.plot(tokens, _thinned([row.loss for row in rows]), color=AFTER, linewidth=1.4)
        upper.set_title(_title("Training loss, nats a masked token", synthetic))
        lower.plot(tokens, _thinned([row.lr for row in rows]), color=SOFT, linewidth=1.4)
        lower.set_title("Learning rate", color=SOFT)
        lower.set_ylim(bottom=0)
        _tokens_axis(lower)
        for last, first in pairwise(rows):
            if last.phase != first.phase:
                for axes in (upper, lower):
                    axes.axvline(first.tokens, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
                name = phases.get(first.phase, f"phase {first.phase + 1}")
                top = upper.get_xaxis_transform()
                upper.text(first.tokens, 0.97, f" {name}", color=SOFT, va="top", transform=top)

    return _svg(draw, 3.7, "Training loss and learning rate over tokens")


def bits_per_byte_figure(rows: Sequence[EvalRow], synthetic: bool) -> str:
    """Bits per byte on held-out text over tokens, from the start to the trained model, against the base."""
    trained = [row for row in rows if row.model == "trained"]
    first = {row.model: row for row in rows if row.model != "trained"}
    line = [row for row in (first.get("start") or first.get("base"),) if row] + trained

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            [row.tokens for row in line],
            [row.bits_per_byte for row in line],
            color=AFTER,
            linewidth=1.6,
            marker="o",
            markersize=4,
        )
        axes.set_title(_title("Bits per byte on held-out text", synthetic))
        _tokens_axis(axes)
        last = line[-1]
        axes.annotate(
            f"trained {last.bits_per_byte:.3f}",
            (last.tokens, last.bits_per_byte),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=AFTER,
        )
        if base := first.get("base"):
            axes.axhline(base.bits_per_byte, color=BEFORE, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"base {base.bits_per_byte:.3f}",
                (last.tokens, base.bits_per_byte),
                (6, 4),
                textcoords="offset points",
                color=BEFORE,
            )
        axes.set_xlim(right=max(1, last.tokens) * 1.13)  # room for the labels

    return _svg(draw, 2.8, "Bits per byte on held-out text over tokens")


def positions_figure(rows: Sequence[PositionLossRow], synthetic: bool) -> str:
    """Masked-LM loss by place in the document, a step for each stretch, a line for each model."""
    colors = {"base": BEFORE, "start": ACCENT, "trained": AFTER}
    names = {"base": "base", "start": "converted", "trained": "trained"}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for model in dict.fromkeys(row.model for row in rows):
            own = [row for row in rows if row.model == model]
            edges = [*(max(16, row.first) for row in own), own[-1].end]  # a logarithm has no zero
            losses = [row.loss for row in own]
            axes.stairs(losses, edges, baseline=None, color=colors[model], linewidth=1.6, label=names[model])
        _doubling_axis(axes, "place in the document, tokens")
        axes.set_title(_title("Loss by place, nats a masked token", synthetic))
        axes.legend(frameon=False, labelcolor=INK)

    return _svg(draw, 2.8, "Masked-LM loss by place in the document")


def probes_figure(rows: Sequence[ProbeRow]) -> str:
    """What a fact gives to the word it determines, over the distance between them; bars are 95 % intervals."""
    colors = {"base": BEFORE, "trained": AFTER}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=SOFT, linewidth=0.8)
        for model in dict.fromkeys(row.model for row in rows):
            own = [row for row in rows if row.model == model]
            gains = [row.gain for row in own]
            errors = ([row.gain - row.low for row in own], [row.high - row.gain for row in own])
            axes.errorbar(
                [row.tokens for row in own], gains, errors, color=colors[model], marker="o", markersize=4,
                linewidth=1.6, capsize=2, label=model,
            )  # fmt: skip
        _doubling_axis(axes, "tokens between the fact and the word")
        axes.set_title(_title("What the fact gives, nats an answer", True))
        axes.legend(frameon=False, labelcolor=INK)

    return _svg(draw, 2.8, "What a fact gives from a distance")


def score_figure(comparisons: Sequence[Comparison]) -> str:
    """One panel a measure, a line a model: the mean, its 95 % interval, and a dot for each seed."""
    heights = [len(comparison.results) + 2.2 for comparison in comparisons]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(comparisons), 1, squeeze=False, height_ratios=heights)
        for axes, comparison in zip(grid[:, 0], comparisons, strict=True):
            _score_panel(axes, comparison)

    protocols = ", ".join(dict.fromkeys(comparison.measure.protocol for comparison in comparisons))
    return _svg(draw, 0.33 * sum(heights), f"Scores under protocol {protocols}")


def length_figure(tasks: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """One panel a task: the main metric of the shortest, middle and longest third of the test documents."""

    models = dict.fromkeys(model for curves in tasks.values() for model in curves)
    looks = dict(zip(models, cycle(_LINES), strict=False))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(tasks), 1, squeeze=False)
        drawn = {}
        for axes, (title, curves) in zip(grid[:, 0], tasks.items(), strict=True):
            for model, points in curves.items():
                words, values = zip(*points, strict=True)
                color, line = looks[model]
                (drawn[middle_cut(model)],) = axes.plot(words, values, line, color=color, markersize=5, linewidth=1.4)
            axes.set_title(title)
            axes.set_xlabel("median words of a third of the documents")
        # Below the axes: lines cross every corner of them.
        figure.legend([*drawn.values()], [*drawn], loc="outside lower left", ncols=3, frameon=False, labelcolor=INK)

    return _svg(draw, 2.9 * len(tasks) + 0.4, "Scores by length of the documents")


def cost_figure(points: Sequence[tuple[str, float, float]]) -> str:
    """Mean score over training time, a dot an arm."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for model, seconds, value in points:
            axes.plot(seconds / 60, value, "o", markersize=6, color=AFTER)
            axes.annotate(middle_cut(model), (seconds / 60, value), (6, 3), textcoords="offset points", fontsize=8)
        axes.set_xlabel("minutes of training")
        axes.set_title("Mean score over cost")
        axes.margins(x=0.25, y=0.2)

    return _svg(draw, 2.8, "Mean score over minutes of training")


def corpora_figure(corpora: Sequence[CorpusRow]) -> str:
    """Training tokens by corpus, the largest first."""
    rows = sorted(corpora, key=lambda row: row.tokens)
    total = sum(row.tokens for row in rows)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        names = [middle_cut(f"{row.name} (synthetic)" if row.synthetic else row.name) for row in rows]
        colors = [ACCENT if row.non_commercial else AFTER for row in rows]
        bars = axes.barh(range(len(rows)), [row.tokens for row in rows], height=0.62, color=colors)
        axes.set_yticks(range(len(rows)), names)
        notes = [
            f"{short(row.tokens)}, {percent(row.tokens, total)}" + (", non-commercial" if row.non_commercial else "")
            for row in rows
        ]
        axes.bar_label(bars, notes, padding=5, color=INK)
        axes.set_title(_title("Training tokens by corpus", any(row.synthetic for row in rows)))
        axes.set_xlim(right=max((row.tokens for row in rows), default=1) * 1.35 or 1)
        bare(axes)
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_visible(False)

    return _svg(draw, 0.6 + 0.34 * len(rows), "Training tokens by corpus")


def _score_panel(axes: Axes, comparison: Comparison) -> None:
    measure, results = comparison.measure, comparison.results
    for place, result in enumerate(results):
        _score_line(axes, place, result)
    axes.set_yticks(range(len(results)), [middle_cut(result.model) for result in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_title(f"{comparison.task}, {measure.metric}, {measure.split}")
    axes.margins(x=0.08)
    bare(axes)


def _score_line(axes: Axes, place: int, result: Result) -> None:
    mean = result.mean
    color = BEFORE if result.model in ("base", "start") else AFTER
    if result.is_baseline:
        axes.plot(mean.mean, place, marker="D", markersize=5, color=SOFT, markerfacecolor="none")
    else:
        seeds = list(result.seeds.values())
        axes.plot(seeds, [place + 0.22] * len(seeds), "o", markersize=3, color=color, alpha=0.6)
        if mean.low is not None and mean.high is not None:
            axes.plot((mean.low, mean.high), (place, place), color=color, linewidth=1.8)
        axes.plot(mean.mean, place, "o", markersize=6, color=color)
    label = f"{mean.mean:.3f}" + (" (baseline)" if result.is_baseline else "")
    axes.annotate(label, (mean.mean, place), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8)


def bare(axes: Axes) -> None:
    """Names on the left need no axis line, no ticks and no horizontal rules."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _doubling_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel(label)


def _tokens_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xlabel("tokens trained")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _title(words: str, synthetic: bool) -> str:
    return f"{words} (synthetic text)" if synthetic else words


def middle_cut(name: str, longest: int = 34) -> str:
    """A path keeps its head and its tail, which tell it apart."""
    if len(name) <= longest:
        return name
    return f"{name[: longest // 3]}…{name[-(longest - longest // 3 - 1) :]}"


def _thinned(values: Sequence[float]) -> list[float]:
    """At most _POINTS values, each the mean of its stretch."""
    stretch = math.ceil(len(values) / _POINTS)
    return [fmean(values[start : start + stretch]) for start in range(0, len(values), stretch)]


def _svg(draw: Callable[[Figure], None], height: float, label: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(h_pad=0.1))
        draw(figure)
        text = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return as_page_svg(text.getvalue(), label)


def as_page_svg(svg: str, label: str) -> str:
    """Matplotlib's SVG for the inside of a page: no XML head, no names of groups, the page's font and colours."""
    svg = svg[svg.index("<svg") :]  # the XML head and its DTD's address have no place inside a page
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of groups, the same in every figure
    svg = re.sub(r"(font: [^;']*?px) [^;\"]*", r"\1 system-ui, 'Liberation Sans', sans-serif", svg)
    for color, name in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{name}, {color})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
