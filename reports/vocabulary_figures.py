"""Figures of tokenizers for notebooks, from data frames of `languages.vocabulary`.

Every title ends with a label that states whether the text is real or SYNTHETIC. An empty frame gives a figure that
says so: a notebook runs without term lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .figures import ACCENT, AFTER, BEFORE, INK, RULE, SOFT, STYLE, WIDTH, bare, middle_cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas.io.formats.style import Styler

# Okabe and Ito's colours, after the two of the report.
PALETTE = (BEFORE, AFTER, ACCENT, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_FINDINGS = {"unknown": "#cc79a7", "merged": ACCENT, "changed": "#e69f00", "NFD differs": "#56b4e9"}
_DPI = 110
_GROUP_WORDS = 20  # a share of fewer words says little
_GROUPS = 24


def pieces_per_word_figure(counted: pd.DataFrame, label: str) -> Figure:
    """Of `pieces_per_word`: a bar for each tokenizer in every corpus."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _grouped_bars(axes, counted, "corpus", "pieces_per_word", "{:.2f}")
        axes.set_xlabel("pieces a word")
        _legend(figure, counted["tokenizer"])

    rows = counted.groupby("corpus").size() if len(counted) else ()
    return _figure(draw, counted, 0.9 + sum(0.24 * n + 0.16 for n in rows), "Pieces a word by corpus", label)


def effective_length_figure(lengths: pd.DataFrame, label: str) -> Figure:
    """Of `effective_lengths`: the words that fit into the shortest length; the others stand next to the bar."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        names = list(dict.fromkeys(lengths["tokenizer"]))
        of_name = {name: lengths[lengths["tokenizer"] == name] for name in names}
        first = [int(rows["words"].iloc[0]) for rows in of_name.values()]
        bars = axes.barh(range(len(names)), first, height=0.6, color=[_color(i) for i in range(len(names))])
        notes = []
        for rows in of_name.values():
            parts = [f"{words:,} in {pieces:,}" for words, pieces in zip(rows["words"], rows["pieces"], strict=True)]
            gain = f"{round(100 * rows['gain'].iloc[0]):+d}%".replace("-", "−")
            notes.append("  ·  ".join([gain, *parts]))
        axes.bar_label(bars, notes, padding=5, color=INK)
        axes.set_yticks(range(len(names)), [middle_cut(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(right=max(first) * 2.2)
        axes.set_xlabel(f"words that fit; the gain is against {names[0]}")
        axes.xaxis.set_ticks([])
        axes.spines["bottom"].set_visible(False)
        bare(axes)

    height = 0.9 + 0.34 * len(lengths) / max(1, lengths["pieces"].nunique() if len(lengths) else 1)
    return _figure(draw, lengths, height, "Words that fit into so many pieces", label)


def one_piece_figure(shares: pd.DataFrame, what: str, label: str, names: Mapping[str, str] | None = None) -> Figure:
    """Of `one_piece_share` by group: a dot for each tokenizer, the groups with most words.

    what: what the groups are, for the title. names: what a group's name is followed by, as "I: heart".
    """
    sizes = shares.groupby("group")["words"].max() if len(shares) else pd.Series(dtype=int)
    shown = sizes[sizes >= _GROUP_WORDS].nlargest(_GROUPS)
    rows = shares[shares["group"].isin(shown.index)] if len(shares) else shares

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        mean = rows.groupby("group")["in_one_piece"].mean()
        order = list(mean.sort_values(ascending=False).index)
        _dots(axes, rows, "group", "in_one_piece", order)
        labels = [f"{group}: {names[group]}" if names and group in names else str(group) for group in order]
        axes.set_yticks(
            range(len(order)), [f"{middle_cut(t, 40)} ({shown[g]:,})" for t, g in zip(labels, order, strict=True)]
        )
        _percents(axes)
        axes.set_xlabel("share of distinct words in one piece; in brackets how many words there are")
        _legend(figure, rows["tokenizer"])

    return _figure(draw, rows, 1.1 + 0.24 * len(shown), f"Medical words in one piece by {what}", label)


def extension_figure(counted: pd.DataFrame, recut: pd.DataFrame, label: str) -> Figure:
    """Left: pieces a word before and after, a line for each tokenizer and corpus. Right: the share of words that
    are split differently, in the held-out text and in another language.

    counted, recut: as `recipes.vocabulary_notebook.Extensions` has them.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        old, new = (counted[counted["state"] == state] for state in ("before", "after"))  # in the same order
        for place, (before, after) in enumerate(zip(old["pieces_per_word"], new["pieces_per_word"], strict=True)):
            left.plot((before, after), (place, place), color=RULE, linewidth=3, zorder=1)
            left.plot(before, place, "o", color=BEFORE, markersize=6)
            left.plot(after, place, "o", color=AFTER, markersize=6)
            for value, side in ((before, 1), (after, -1)):
                left.annotate(
                    f"{value:.2f}", (value, place), (7 * side, 0), textcoords="offset points", va="center",
                    ha="left" if side > 0 else "right", fontsize=8,
                )  # fmt: skip
        left.set_yticks(range(len(old)), _pairs(old["tokenizer"], old["corpus"]))
        left.set_ylim(len(old) - 0.4, -0.6)
        left.margins(x=0.2)
        left.set_title("Pieces a word, before (grey) and after (blue)", fontweight="normal")
        bare(left)
        rows = recut.reset_index(drop=True)
        colors = [AFTER if text == "held out" else SOFT for text in rows["text"]]
        bars = right.barh(rows.index, rows["changed"], height=0.55, color=colors)
        notes = [
            f"{changed:.1%}, longer {longer:.2%}"
            for changed, longer in zip(rows["changed"], rows["longer"], strict=True)
        ]
        right.bar_label(bars, notes, padding=4, fontsize=8)
        right.set_yticks(rows.index, _pairs(rows["tokenizer"], rows["text"]))
        right.set_ylim(len(rows) - 0.4, -0.6)
        right.set_xlim(0, max(0.01, float(rows["changed"].max())) * 2.1)
        _percents(right)
        right.set_title("Words that are split differently", fontweight="normal")
        bare(right)

    lines = max(len(counted) / 2, len(recut))
    return _figure(draw, counted, 1.1 + 0.42 * lines, "What an extension changes in held-out text", label)


def entities_figure(splits: Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Of `entity_splits` by task: mean pieces of a gold entity by label, a dot for each tokenizer."""
    tasks = {task: frame for task, frame in splits.items() if len(frame)}
    every = pd.concat(tasks.values(), ignore_index=True) if tasks else pd.DataFrame()

    def draw(figure: Figure) -> None:
        heights = [frame["label"].nunique() + 1.5 for frame in tasks.values()]
        grid = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)
        tokenizers = list(dict.fromkeys(every["tokenizer"]))
        for axes, (task, frame) in zip(grid[:, 0], tasks.items(), strict=True):
            order = list(frame.groupby("label")["pieces"].mean().sort_values().index)
            counts = frame.groupby("label")["entities"].max()
            _dots(axes, frame, "label", "pieces", order, tokenizers)
            axes.set_yticks(range(len(order)), [f"{middle_cut(name)} ({counts[name]:,})" for name in order])
            axes.set_xlim(left=0)
            axes.set_title(task)
        grid[-1, 0].set_xlabel("mean pieces of an entity; in brackets how many entities there are")
        _legend(figure, every["tokenizer"])

    lines = sum(frame["label"].nunique() + 1.8 for frame in tasks.values())
    return _figure(draw, every, 1.0 + 0.22 * lines, "Pieces of gold entities", label)


def audit_figure(findings: pd.DataFrame, tokenizers: Sequence[str], label: str) -> Figure:
    """Of `audit`: what each tokenizer merges, changes or cannot write; white where it preserves a form.

    tokenizers: the columns, also those without a finding.
    """

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Patch, Rectangle

        axes = figure.subplots()
        written = list(dict.fromkeys(findings["written"]))
        for column, name in enumerate(tokenizers):
            own = findings[findings["tokenizer"] == name]
            for row, form in enumerate(written):
                readings = dict(own[own["written"] == form][["finding", "read"]].itertuples(index=False, name=None))
                if not readings:
                    continue
                worst = next(kind for kind in _FINDINGS if kind in readings)
                axes.add_patch(
                    Rectangle(
                        (column - 0.48, row - 0.44), 0.96, 0.88, color=_FINDINGS[worst], alpha=0.45, linewidth=0
                    )
                )
                axes.text(column, row, _finding_text(readings), ha="center", va="center", fontsize=8, color=INK)
        axes.set_xlim(-0.5, len(tokenizers) - 0.5)
        axes.set_ylim(len(written) - 0.5, -0.5)
        _column_names(axes, tokenizers)
        axes.set_yticks(range(len(written)), written)
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        bare(axes)
        seen = [kind for kind in _FINDINGS if kind in set(findings["finding"])]
        patches = [Patch(color=_FINDINGS[kind], alpha=0.45, linewidth=0, label=kind) for kind in seen]
        figure.legend(handles=patches, loc="outside lower left", ncols=len(patches), frameon=False, labelcolor=INK)

    rows = findings["written"].nunique()
    return _figure(draw, findings, 1.2 + 0.25 * rows, "Forms that a tokenizer does not preserve", label)


def overlap_figure(shared: pd.DataFrame, label: str) -> Figure:
    """Of `overlap`: the share of the tokens of each row that the column shares."""

    def draw(figure: Figure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        colors = LinearSegmentedColormap.from_list("shares", ["#ffffff", AFTER])
        axes.imshow(shared.to_numpy(), cmap=colors, vmin=0, vmax=1, aspect="auto")
        for row, values in enumerate(shared.to_numpy()):
            for column, value in enumerate(values):
                color = "white" if value > 0.6 else INK
                axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=color)
        axes.set_yticks(range(len(shared)), [middle_cut(str(name)) for name in shared.index])
        _column_names(axes, [str(name) for name in shared.columns])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bare(axes)

    return _figure(
        draw, shared, 1.4 + 0.4 * len(shared), "Share of the tokens of each row that the column shares", label
    )


def languages_figure(rows: pd.DataFrame, label: str) -> Figure:
    """Of `recipes.vocabulary_notebook.side_by_side`, all languages: a hollow dot for a tokenizer as it is, a full
    one for it extended, a diamond for a new one."""
    panels = [
        ("pieces_per_word", "Pieces a word", "{:.2f}"),
        ("words_in_512", "Words in 512 pieces", "{:.0f}"),
        ("medical_in_one_piece", "Medical words in one piece", "{:.0%}"),
    ]

    def draw(figure: Figure) -> None:
        shown = [panel for panel in panels if rows[panel[0]].notna().any()]
        grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)
        order = list(dict.fromkeys(zip(rows["language"], rows["tokenizer"], strict=True)))
        given = list(dict.fromkeys(rows.loc[rows["variant"] != "new", "tokenizer"]))
        for axes, (column, title, form) in zip(grid[0], shown, strict=True):
            for place, (language, name) in enumerate(order):
                own = rows[(rows["language"] == language) & (rows["tokenizer"] == name)].set_index("variant")[column]
                color = _color(given.index(name) if name in given else len(given))  # one for the new of any language
                axes.plot(own, [place] * len(own), color=color, alpha=0.35, linewidth=3, zorder=1)
                for variant, value in own.items():
                    style = {"as it is": ("o", "white"), "extended": ("o", color), "new": ("D", color)}[str(variant)]
                    axes.plot(value, place, style[0], color=color, markerfacecolor=style[1], markersize=6)
                ends = sorted(own)
                text = " → ".join(form.format(value) for value in own)
                axes.annotate(text, (ends[-1], place), (8, 0), textcoords="offset points", va="center", fontsize=8)
            if column == "medical_in_one_piece":
                _percents(axes)
            axes.set_title(title, fontweight="normal")
            low, high = axes.get_xlim()
            axes.set_xlim(low, high + 0.55 * (high - low))  # room for the numbers
            bare(axes)
        grid[0, 0].set_yticks(range(len(order)), [f"{language}  {middle_cut(name, 30)}" for language, name in order])
        grid[0, 0].set_ylim(len(order) - 0.4, -0.6)
        for place in range(1, len(order)):
            if order[place][0] != order[place - 1][0]:
                for axes in grid[0]:
                    axes.axhline(place - 0.5, color=RULE, linewidth=1)

    lines = len(rows.drop_duplicates(["language", "tokenizer"])) if len(rows) else 0
    title = "Languages and tokenizers: as it is (hollow), extended (full), new (diamond)"
    return _figure(draw, rows, 0.9 + 0.3 * lines, title, label)


def table(frame: pd.DataFrame, title: str, label: str) -> Styler:
    """A frame for a notebook, under a title that states what its text is."""
    style = frame.style.set_caption(f"{title} · {label}").format(precision=3, thousands=",")
    return style if frame.index.name else style.hide(axis="index")


def save(figure: Figure, folder: str | Path | None, name: str) -> Figure:
    """Write the figure to FOLDER/NAME.png, with its title as metadata, if a folder is given. Returns the figure."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        metadata = {"Title": figure.get_suptitle(), "Software": None}
        figure.savefig(Path(folder) / f"{name}.png", dpi=_DPI, metadata=metadata, facecolor="white")
    return figure


def _figure(draw: Callable[[Figure], None], frame: pd.DataFrame, height: float, title: str, label: str) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with rc_context(STYLE):
        figure = Figure(
            figsize=(WIDTH, 1.0 if frame.empty else height),
            dpi=_DPI,
            layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08),
        )
        figure.suptitle(f"{title} · {label}", x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        if frame.empty:
            axes = figure.subplots()
            axes.set_axis_off()
            axes.text(0, 0.5, "nothing to show", color=SOFT)
        else:
            draw(figure)
        figure.draw_without_rendering()  # ticks take the style's fonts and colours now, not the notebook's later
    return figure


def _grouped_bars(axes: Axes, frame: pd.DataFrame, rows: str, value: str, form: str) -> None:
    names = list(dict.fromkeys(frame["tokenizer"]))
    order = list(dict.fromkeys(frame[rows]))
    height = 0.84 / len(names)
    for number, name in enumerate(names):
        values = frame[frame["tokenizer"] == name].set_index(rows)[value]
        places = [place + (number - (len(names) - 1) / 2) * height for place in range(len(order))]
        bars = axes.barh(places, [values[row] for row in order], height=height * 0.9, color=_color(number))
        axes.bar_label(bars, [form.format(values[row]) for row in order], padding=4, fontsize=8)
    axes.set_yticks(range(len(order)), [middle_cut(str(row)) for row in order])
    axes.set_ylim(len(order) - 0.45, -0.55)
    axes.margins(x=0.08)
    bare(axes)


def _dots(
    axes: Axes, frame: pd.DataFrame, rows: str, value: str, order: Sequence[str], names: Sequence[str] = ()
) -> None:
    tokenizers = list(names or dict.fromkeys(frame["tokenizer"]))
    for number, name in enumerate(tokenizers):
        values = frame[frame["tokenizer"] == name].set_index(rows)[value]
        shares = [values.get(row, float("nan")) for row in order]
        size = 9 - 4 * number / max(1, len(tokenizers) - 1)  # later ones are smaller: equal values stay in sight
        axes.plot(shares, range(len(order)), "o", color=_color(number), markersize=size, alpha=0.9)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.margins(x=0.05)
    axes.grid(True, axis="both")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _legend(figure: Figure, tokenizers: pd.Series[str]) -> None:
    """The colours of the tokenizers, below the axes."""
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(tokenizers))
    patches = [Patch(color=_color(number), label=middle_cut(name)) for number, name in enumerate(names)]
    figure.legend(handles=patches, loc="outside lower left", ncols=min(3, len(names)), frameon=False, labelcolor=INK)


def _percents(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _finding_text(readings: Mapping[str, str]) -> str:
    words = {"unknown": "unknown", "merged": "= {}", "changed": "→ {}", "NFD differs": "NFD differs"}
    return ", ".join(words[kind].format(readings[kind]) for kind in _FINDINGS if kind in readings)


def _pairs(first: pd.Series[str], second: pd.Series[str]) -> list[str]:
    return [f"{middle_cut(a, 26)}\n{middle_cut(b, 26)}" for a, b in zip(first, second, strict=True)]


def _column_names(axes: Axes, names: Sequence[str]) -> None:
    """Names above the columns."""
    from textwrap import fill

    axes.set_xticks(range(len(names)), [fill(name, 17, break_long_words=False) for name in names])
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, labelcolor=INK, labelsize=8)


def _color(number: int) -> str:
    return PALETTE[number % len(PALETTE)]
