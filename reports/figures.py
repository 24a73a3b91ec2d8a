"""Figures: one record each, drawn as SVG inside a page and written as files (SVG, PDF and CSV) for a paper.

In a page text stays text and colours follow the page's light or dark theme. Colours are those of Okabe and Ito
(2008), which colour-blind readers tell apart; lines differ in markers and dashes too.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .quantities import short
from .read import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each colour is the fallback of a variable of page.css: right alone, and in the page's theme inside it.
INK, SOFT, RULE, GROUND = "#1c1f23", "#5c636b", "#dfe2e6", "#ffffff"
BEFORE, AFTER, ACCENT = "#6b7280", "#0072b2", "#d55e00"
PALETTE = (AFTER, ACCENT, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", BEFORE)
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_VARIABLES = {
    GROUND: "ground", INK: "ink", SOFT: "soft", RULE: "rule", BEFORE: "before", AFTER: "after", ACCENT: "accent",
    "#009e73": "green", "#cc79a7": "pink", "#56b4e9": "sky", "#e69f00": "orange",
}  # fmt: skip
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text stays text
}
WIDTH = 9.0  # inches


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure. name: of its files. data: what it shows, a mapping a line. height: in inches."""

    name: str
    caption: str
    data: Sequence[Mapping[str, object]]
    height: float
    draw: Callable[[Figure], None]


def write_charts(folder: Path, charts: Iterable[Chart]) -> dict[str, str]:
    """Write figures/<name>.svg, .pdf and .csv of each chart, and figures/captions.md.

    Returns by name the SVG for the inside of a page.
    """
    charts = list(charts)
    target = folder / "figures"
    if charts:
        target.mkdir(exist_ok=True)
    pictures = {}
    for chart in charts:
        svg, pdf = _drawn(chart)
        write_whole(target / f"{chart.name}.svg", svg)
        write_whole(target / f"{chart.name}.pdf", pdf)
        write_whole(target / f"{chart.name}.csv", _csv(chart.data))
        pictures[chart.name] = _for_page(svg.decode(), chart.caption)
    if charts:
        captions = (f"**{chart.name}.** {chart.caption}\n" for chart in charts)
        write_whole(target / "captions.md", "\n".join(captions))
    return pictures


def file_name(words: str) -> str:
    """Words as the name of a file: letters, digits, dots and hyphens. Long names end in a digest, so they differ."""
    name = re.sub(r"[^\w.]+", "-", words).strip("-.") or "figure"
    return name if len(name) <= 80 else f"{name[:70]}-{hashlib.blake2b(words.encode(), digest_size=4).hexdigest()}"


def legend_below(figure: Figure, handles: Mapping[str, Any]) -> None:
    """A legend under the axes, where no line crosses it."""
    columns = 120 // (10 + max(map(len, handles), default=0))
    figure.legend([*handles.values()], [*handles], loc="outside lower left", ncols=max(1, min(columns, len(handles))))


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line at a place; more lines than colours differ in marker and dashes."""
    turn, rest = divmod(place, len(PALETTE))
    return {
        "color": PALETTE[rest],
        "marker": MARKERS[(rest + turn) % len(MARKERS)],
        "linestyle": DASHES[(rest + turn) % len(DASHES)],
    }


def metric_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis around the values of a metric: never beyond 0 and 1, or -1 and 1 of a correlation."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = max(0.08 * (high - low), 0.02)
    return max(0.0 if low >= 0 else -1.0, low - margin), min(1.0, high + margin)


def bare(axes: Axes) -> None:
    """Names on the left need no axis line, no ticks and no horizontal rules."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def doubling_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel(label)


def tokens_axis(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def perplexity_axis(axes: Axes) -> None:
    """A second axis on the right: the exponential of a loss in nats."""
    import numpy as np
    from matplotlib.ticker import NullLocator

    low, high = axes.get_ylim()
    if not 0 <= high < 100:  # a diverged loss has no readable perplexity
        return
    second = axes.secondary_yaxis("right", functions=(np.exp, lambda y: np.log(np.maximum(y, 1e-12))))
    ticks = _perplexities(low, high)
    second.set_yticks(ticks, [f"{tick:.6g}" if tick < 1_000 else short(tick) for tick in ticks])
    second.yaxis.set_minor_locator(NullLocator())
    second.set_ylabel("perplexity")


def _perplexities(low: float, high: float) -> list[float]:
    """Two to nine round perplexities of losses between two limits, so far apart that labels do not overlap."""
    from matplotlib.ticker import MaxNLocator

    decades = (high - low) / math.log(10)
    if decades < 0.8:  # a factor of six: even steps are far enough apart
        ticks = [float(tick) for tick in MaxNLocator(4).tick_values(math.exp(low), math.exp(high))]
    else:
        stride, steps = max(1, math.ceil(decades / 7)), (1, 2, 5) if decades < 2.5 else (1,)
        first = math.floor(low / math.log(10))
        ticks = [m * 10.0**e for e in range(first, math.ceil(high / math.log(10)) + 1, stride) for m in steps]
    return [tick for tick in ticks if tick > 0 and low <= math.log(tick) <= high]


def middle_cut(name: str, longest: int = 34) -> str:
    """A name without its middle: the head and the tail of a path tell it apart."""
    if len(name) <= longest:
        return name
    return f"{name[: longest // 3]}…{name[-(longest - longest // 3 - 1) :]}"


def _drawn(chart: Chart) -> tuple[bytes, bytes]:
    """As SVG and as PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    svg, pdf = BytesIO(), BytesIO()
    with rc_context({**STYLE, "svg.hashsalt": chart.name}):
        figure = Figure(figsize=(WIDTH, chart.height), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
        chart.draw(figure)
        no_metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=no_metadata)
        figure.set_layout_engine("none")  # it is laid out
        no_metadata = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        figure.savefig(pdf, format="pdf", metadata=no_metadata)
    return svg.getvalue(), pdf.getvalue()


def _for_page(svg: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]  # the XML head and its DTD's address have no place inside a page
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of groups, the same in every figure
    svg = re.sub(r"(font: [^;']*?px) [^;\"]*", r"\1 system-ui, 'Liberation Sans', sans-serif", svg)
    for color, name in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{name}, {color})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _csv(data: Sequence[Mapping[str, object]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in data for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(data)
    return text.getvalue()
