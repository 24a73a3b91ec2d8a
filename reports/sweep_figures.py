"""Figures of a sweep: history, curves, importance of settings, parallel coordinates and Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .figures import (
    ACCENT,
    AFTER,
    BEFORE,
    GROUND,
    INK,
    RULE,
    SOFT,
    Chart,
    bare,
    file_name,
    legend_below,
    middle_cut,
    tokens_axis,
)
from .rows import TrialRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEVELS = 12  # values of a category that have a tick of their own


def history_chart(rows: Sequence[TrialRow], place: int, name: str, lower_is_better: bool) -> Chart:
    """The objective of each complete trial, and the best value so far."""
    done = [row for row in rows if row.values]
    values = [row.values[place] for row in done]
    best = [(min if lower_is_better else max)(values[: end + 1]) for end in range(len(values))]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        numbers = [row.number for row in done]
        (trials,) = axes.plot(numbers, values, "o", color=BEFORE)
        (line,) = axes.step(numbers, best, where="post", color=AFTER)
        _whole_numbers(axes)
        axes.set_xlabel("trial")
        axes.set_ylabel(name)
        legend_below(figure, {"trial": trials, "best so far": line})

    data = [{"trial": r.number, name: v, "best_so_far": b} for r, v, b in zip(done, values, best, strict=True)]
    return Chart(f"history-{file_name(name)}", f"History of the sweep: {name} by trial.", data, 3.0, draw)


def curves_chart(rows: Sequence[TrialRow], lower_is_better: bool) -> Chart:
    """Bits per byte during training, a line a trial; the best complete trial is highlighted."""
    curves = [row for row in rows if row.evaluations]
    done = [row for row in curves if row.values]
    choose = min if lower_is_better else max
    best = choose(done, key=lambda row: row.values[0]).number if done else None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        handles: dict[str, Any] = {}
        for row in sorted(curves, key=lambda row: row.number == best):
            style: dict[str, Any]
            if row.number == best:
                label, style = f"best trial ({best})", {"color": AFTER, "linewidth": 2.0}
            elif row.state == "pruned":
                label, style = "pruned", {"color": ACCENT, "linewidth": 1.0, "alpha": 0.7}
            else:
                label, style = "other", {"color": BEFORE, "linewidth": 1.0, "alpha": 0.7}
            tokens, _, bits = zip(*row.evaluations, strict=True)
            (handles[label],) = axes.plot(tokens, bits, marker="o", markersize=3, **style)
        tokens_axis(axes, "training tokens")
        axes.set_ylabel("bits per byte")
        legend_below(figure, handles)

    data = [
        {"trial": row.number, "state": row.state, "tokens": tokens, "seconds": seconds, "bits_per_byte": bits}
        for row in curves for tokens, seconds, bits in row.evaluations
    ]  # fmt: skip
    return Chart("curves", "Bits per byte on held-out text during training, a line a trial.", data, 3.3, draw)


def importance_chart(importances: Mapping[str, float], name: str) -> Chart:
    """Share of the variance of the objective that each setting explains, the largest first."""
    ordered = sorted(importances.items(), key=lambda item: item[1])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        values = [value for _, value in ordered]
        bars = axes.barh(range(len(ordered)), values, height=0.62, color=AFTER)
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=5, color=INK)
        axes.set_yticks(range(len(ordered)), [middle_cut(setting) for setting, _ in ordered])
        axes.set_xlim(0, 1.0)
        axes.set_xlabel("importance (share of variance)")
        bare(axes)

    data = [{"setting": setting, "importance": value} for setting, value in reversed(ordered)]
    caption = f"Importance of the settings for {name}, by fANOVA (Hutter et al. 2014)."
    return Chart(f"importance-{file_name(name)}", caption, data, 0.9 + 0.34 * len(ordered), draw)


def parallel_chart(rows: Sequence[TrialRow], place: int, name: str) -> Chart:
    """A line a complete trial through its settings and its objective; the colour is the objective."""
    done = [row for row in rows if row.values]
    settings = [
        s for s in dict.fromkeys(s for row in done for s in row.parameters) if all(s in r.parameters for r in done)
    ]
    columns: dict[str, list[Any]] = {name: [row.values[place] for row in done]}
    columns |= {setting: [row.parameters[setting] for row in done] for setting in settings}

    def draw(figure: Figure) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        axes = figure.subplots()
        scaled = [_scaled(values) for values in columns.values()]
        low, high = min(columns[name]), max(columns[name])
        colors = ScalarMappable(Normalize(low, high), colormaps["cividis"])
        for number, value in enumerate(columns[name]):
            heights = [positions[number] for positions, _ in scaled]
            axes.plot(range(len(columns)), heights, color=colors.to_rgba(value), linewidth=1.2, alpha=0.8)
        for at, (_, ticks) in enumerate(scaled):
            axes.axvline(at, color=SOFT, linewidth=0.6)
            for height, label in ticks:
                axes.annotate(
                    label, (at, height), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                    bbox={"facecolor": GROUND, "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
                )  # fmt: skip
        axes.set_xticks(range(len(columns)), [_wrapped(column) for column in columns])
        axes.set_xlim(-0.1, len(columns) - 0.6)
        axes.set_ylim(-0.06, 1.06)
        axes.yaxis.set_visible(False)
        axes.grid(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="x", length=0)
        figure.colorbar(colors, ax=axes, label=name, pad=0.02).outline.set_edgecolor(RULE)

    data = [
        {"trial": row.number, name: row.values[place], **{s: row.parameters[s] for s in settings}} for row in done
    ]
    caption = f"Complete trials: a line through the settings of each, coloured by {name}."
    return Chart(f"parallel-{file_name(name)}", caption, data, 3.6, draw)


def pareto_chart(rows: Sequence[TrialRow], names: Sequence[str], front: Sequence[int]) -> Chart:
    """Two objectives of the complete trials. front: numbers of the trials that no other trial beats in both."""
    done = [row for row in rows if row.values]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        handles: dict[str, Any] = {}
        for row in sorted(done, key=lambda row: row.number in front):
            best = row.number in front
            label, color = ("Pareto front", AFTER) if best else ("other", BEFORE)
            (handles[label],) = axes.plot(*row.values[:2], "o" if best else "x", color=color, markersize=6)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        legend_below(figure, handles)

    data = [
        {"trial": row.number, **dict(zip(names, row.values, strict=True)), "on_front": row.number in front}
        for row in done
    ]
    return Chart("pareto-front", f"Trials by {names[0]} and {names[1]}, with the Pareto front.", data, 3.4, draw)


def _scaled(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Positions between 0 and 1, and (position, label) of ticks; a logarithm where numbers span two decades."""
    import math

    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        levels = sorted({str(value) for value in values})
        at = {level: (i / (len(levels) - 1) if len(levels) > 1 else 0.5) for i, level in enumerate(levels)}
        shown = levels[:: max(1, math.ceil(len(levels) / _LEVELS))]
        return [at[str(value)] for value in values], [(at[level], middle_cut(level, 18)) for level in shown]
    low, high = min(numbers), max(numbers)
    if low == high:
        return [0.5] * len(values), [(0.5, f"{low:.4g}")]
    logarithmic = low > 0 and high / low >= 100
    first, last = (math.log(low), math.log(high)) if logarithmic else (low, high)
    ticks = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = first + share * (last - first)
        ticks.append((float(share), f"{math.exp(value) if logarithmic else value:.3g}"))
    return [((math.log(v) if logarithmic else v) - first) / (last - first) for v in numbers], ticks


def _wrapped(name: str) -> str:
    return middle_cut(name, 24).replace(".", ".\n", 1)


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
