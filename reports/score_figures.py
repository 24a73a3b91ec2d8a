"""Figures of scores: models under one protocol, scores by document length, and scores over training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .figures import (
    AFTER,
    BEFORE,
    MARKERS,
    PALETTE,
    SOFT,
    Chart,
    bare,
    file_name,
    legend_below,
    line_style,
    metric_limits,
    middle_cut,
)
from .scores import Comparison, Result
from .tables import score_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def score_chart(comparisons: Sequence[Comparison], models: Sequence[str]) -> Chart:
    """The main measure of each task of one protocol: a panel each, a line a model.

    models: all models of the page; one has the same colour in each of its figures.
    """
    shown: dict[tuple[str, str, str], Comparison] = {}
    for comparison in comparisons:  # the first measure of a task is its main one
        shown.setdefault((comparison.measure.task, comparison.measure.language, comparison.measure.split), comparison)
    main = [*shown.values()]
    heights = [len(comparison.results) + 2.2 for comparison in main]
    colors = _colors(models)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(main), 1, squeeze=False, height_ratios=heights)
        for axes, comparison in zip(grid[:, 0], main, strict=True):
            _panel(axes, comparison, colors)

    protocol = ", ".join(dict.fromkeys(comparison.measure.protocol for comparison in main))
    caption = (
        f"Scores under protocol {protocol}: mean over seeds with the 95 % interval, where there is one; small dots "
        "are single seeds, open diamonds are baselines."
    )
    data = [
        {
            "task": comparison.task, "language": comparison.measure.language, "split": comparison.measure.split,
            "metric": comparison.measure.metric, "protocol": comparison.measure.protocol, "model": result.model,
            "value": result.score.value, "low": _cell(result.score.low), "high": _cell(result.score.high),
            "seeds": len(result.seeds),
        }
        for comparison in comparisons for result in comparison.results
    ]  # fmt: skip
    return Chart(f"scores-{file_name(protocol)}", caption, data, 0.33 * sum(heights), draw)


def length_chart(tasks: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], models: Sequence[str]) -> Chart:
    """One panel a task: the main metric of the shortest, middle and longest third of the test documents."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(tasks), 1, squeeze=False)
        handles = {}
        for axes, (title, curves) in zip(grid[:, 0], tasks.items(), strict=True):
            for model, points in curves.items():
                words, values = zip(*points, strict=True)
                (handles[middle_cut(model)],) = axes.plot(words, values, **line_style(models.index(model)))
            axes.set_ylim(metric_limits(value for points in curves.values() for _, value in points))
            axes.set_title(title)
            axes.set_ylabel(title.rpartition(", ")[2])
            axes.set_xlabel("document length (median words of each third)")
        legend_below(figure, handles)

    caption = "Main metric by length of the test documents: the shortest, the middle and the longest third."
    data = [
        {"task": title, "model": model, "median_words": words, "value": value}
        for title, curves in tasks.items()
        for model, points in curves.items()
        for words, value in points
    ]
    return Chart("scores-by-length", caption, data, 2.9 * len(tasks) + 0.4, draw)


def cost_chart(points: Sequence[tuple[str, float, float]], models: Sequence[str]) -> Chart:
    """Mean score over training time. points: (variant, seconds, mean score)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        handles = {}
        for model, seconds, value in points:
            style = line_style(models.index(model)) | {"linestyle": "none"}
            (handles[middle_cut(model)],) = axes.plot(seconds / 60, value, markersize=7, **style)
        axes.set_xlabel("training time (minutes)")
        axes.set_ylabel("mean score")
        axes.set_ylim(metric_limits(value for *_, value in points))
        axes.margins(x=0.1)
        legend_below(figure, handles)

    data = [{"variant": model, "training_seconds": seconds, "mean_score": value} for model, seconds, value in points]
    return Chart("scores-by-cost", "Mean score over the training time of each variant.", data, 3.1, draw)


def _colors(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) by model: grey before and blue after training, else a colour each."""
    roles = {"base": (BEFORE, "o"), "start": (BEFORE, "o"), "trained": (AFTER, "o")}
    if roles.keys() & set(models):
        return {model: roles.get(model, (SOFT, "D")) for model in models}
    return {m: (PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)]) for i, m in enumerate(models)}


def _panel(axes: Axes, comparison: Comparison, colors: Mapping[str, tuple[str, str]]) -> None:
    measure, results = comparison.measure, comparison.results
    for place, result in enumerate(results):
        _row(axes, place, result, *colors.get(result.model, (SOFT, "D")))
    bounds = [
        value
        for r in results
        for value in (r.score.value, r.score.low, r.score.high, *r.seeds.values())
        if value is not None
    ]
    axes.set_xlim(metric_limits(bounds))
    axes.set_yticks(range(len(results)), [middle_cut(result.model) for result in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_title(f"{comparison.task}, {measure.split}")
    axes.set_xlabel(measure.metric)
    bare(axes)


def _row(axes: Axes, place: int, result: Result, color: str, marker: str) -> None:
    score = result.score
    if result.is_baseline:
        axes.plot(score.value, place, marker="D", markersize=5, color=SOFT, markerfacecolor="none")
    else:
        seeds = list(result.seeds.values())
        axes.plot(seeds, [place + 0.25] * len(seeds), "o", markersize=3, color=color, alpha=0.6)
        if score.low is not None and score.high is not None:
            axes.plot((score.low, score.high), (place, place), color=color, linewidth=1.8)
        axes.plot(score.value, place, marker, markersize=6, color=color)
    text = score_text(score) + (" (baseline)" if result.is_baseline else "")
    axes.annotate(
        text, (1, place), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        annotation_clip=False,
    )  # fmt: skip


def _cell(value: float | None) -> float | str:
    return "" if value is None else value
