"""The report of a sweep: its trials at equal tokens and at equal time, and Optuna's own pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import tables
from .figures import STYLE, as_page_svg
from .page import templates
from .quantities import count, duration
from .read import write_whole
from .rows import TrialRow

if TYPE_CHECKING:
    from optuna import Study
    from pandas import DataFrame

_NAMES = {"fail": "failed"}


def write_sweep(folder: Path, study: Study, objectives: Sequence[str], rows: Sequence[TrialRow]) -> Path:
    """Write report.md and report.html of a sweep; gives the page's path."""
    drawn, missing = _pictures(study, objectives)
    view = {
        "name": folder.resolve().name,
        "summary": summary(rows),
        "directions": [
            f"{name} ({'lower' if d.name == 'MINIMIZE' else 'higher'} is better)"
            for name, d in zip(objectives, study.directions, strict=True)
        ],
        "trials": trials_table(rows, objectives),
        "pictures": drawn,
        "missing": missing,
    }
    write_whole(folder / "report.md", templates(escape=False).get_template("sweep.md.jinja").render(view))
    page = templates(escape=True).get_template("sweep.html.jinja").render(view)
    return write_whole(folder / "report.html", page)


def summary(rows: Sequence[TrialRow]) -> list[str]:
    """Sentences: how many trials, how they ended, what they cost, and how far they can be compared."""
    by_state: dict[str, int] = {}
    for row in rows:
        by_state[row.state] = by_state.get(row.state, 0) + 1
    states = ", ".join(f"{n} {_NAMES.get(state, state)}" for state, n in by_state.items())
    told = [f"{len(rows)} trials: {states}."] if rows else ["No trial yet."]
    done = [row for row in rows if row.state == "complete"]
    if done:
        tokens = sorted({row.tokens for row in done})
        told.append(
            f"Complete trials read {count(tokens[0])} to {count(tokens[-1])} tokens (a step is never cut short) and "
            f"trained {duration(min(r.seconds for r in done))} to {duration(max(r.seconds for r in done))}. "
            f"All trials together: {count(sum(r.tokens for r in rows))} tokens, "
            f"{duration(sum(r.seconds for r in rows))} of training."
        )
    if any(row.looks for row in done):
        told.append(
            f"At equal time: bits per byte at the last look before {duration(equal_seconds(rows))}, when the fastest "
            "complete trial had ended. Seconds are those of workers that may have shared a machine."
        )
    return told


def equal_seconds(rows: Sequence[TrialRow]) -> float:
    """The training time of the fastest complete trial: up to there all can be compared."""
    return min((row.seconds for row in rows if row.state == "complete"), default=0.0)


def trials_table(rows: Sequence[TrialRow], objectives: Sequence[str]) -> DataFrame:
    """A row a trial, the best first where there is one objective."""
    from pandas import DataFrame

    limit = equal_seconds(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.parameters))
    lines = []
    for row in rows:
        line: dict[str, str] = {"Trial": str(row.number), "State": _NAMES.get(row.state, row.state)}
        for place, name in enumerate(objectives):
            line[name] = f"{row.values[place]:.4f}" if row.values else tables.NOTHING
        in_time = [look for look in row.looks if look[1] <= limit]
        line["bits per byte at equal time"] = f"{in_time[-1][2]:.4f}" if in_time else tables.NOTHING
        line["Tokens"], line["Training"] = count(row.tokens), duration(row.seconds)
        for name in names:
            line[name] = _short(row.parameters[name]) if name in row.parameters else tables.NOTHING
        line["Note"] = row.note or tables.NOTHING
        lines.append(line)
    columns = ["Trial", "State", *objectives, "bits per byte at equal time", "Tokens", "Training", *names, "Note"]
    return DataFrame(lines, columns=columns)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _pictures(study: Study, objectives: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(title, SVG) of what can be drawn, and why the rest cannot."""
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    looked = [t for t in study.get_trials(deepcopy=False) if t.intermediate_values]
    drawn: list[tuple[str, str]] = []
    missing: list[str] = []

    def add(title: str, least: int, has: int, plot: Callable[[], Any]) -> None:
        if has < least:
            missing.append(f"{title}: needs {least} trials, and {has} can be drawn")
            return
        try:
            drawn.append((title, _svg(plot, title)))
        except (RuntimeError, ValueError) as error:  # what Optuna cannot compute, it says
            missing.append(f"{title}: {error}")

    several = len(objectives) > 1
    for place, name in enumerate(objectives):

        def target(trial: Any, place: int = place) -> float:
            return float(trial.values[place])

        given: dict[str, Any] = {"target": target if several else None, "target_name": name}
        suffix = f", {name}" if several else ""
        add(f"History{suffix}", 1, len(complete), lambda g=given: plots.plot_optimization_history(study, **g))  # type: ignore[misc]
        add(
            f"Parallel coordinates{suffix}", 2, len(complete),
            lambda g=given: plots.plot_parallel_coordinate(study, **g),  # type: ignore[misc]
        )  # fmt: skip

        def importance(given: dict[str, Any] = given) -> Any:
            # Optuna's own choice (PED-ANOVA) compares the best tenth with the rest: of twenty trials that is noise.
            axes: Any = plots.plot_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), **given)
            axes.get_legend().remove()  # one objective a picture; it lies on the last bar
            return axes

        add(f"Importance of settings{suffix}", 2, len(complete), importance)
    if several:
        if len(objectives) == 2:
            add("Pareto front", 1, len(complete), lambda: plots.plot_pareto_front(study, target_names=[*objectives]))
    else:

        def curves() -> Any:
            axes = plots.plot_intermediate_values(study)
            axes.set(xlabel="tokens", ylabel="bits per byte")
            return axes

        add("Curves of trials", 1, len(looked), curves)
    return drawn, missing


def _svg(plot: Callable[[], Any], title: str) -> str:
    """One of Optuna's pictures as SVG for the page; pyplot's state is left as it was."""
    import warnings

    from matplotlib import pyplot, rc_context
    from matplotlib.ticker import LogFormatter

    with rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its pictures experimental
        axes = plot()
        figure = axes.figure
        try:
            with rc_context({**STYLE, "svg.hashsalt": title}):
                figure.set_size_inches(9, 4.5)
                for part in figure.axes:
                    for axis in (part.xaxis, part.yaxis):
                        if axis.get_scale() == "log":  # our pictures take no formulas, which powers of ten would be
                            axis.set_major_formatter(LogFormatter())
                            axis.set_minor_formatter(LogFormatter())
                    if part.get_label() == "<colorbar>":  # it lies on the numbers of the last axis beside it
                        place = part.get_position()
                        part.set_position((place.x0 + 0.06, place.y0, place.width, place.height))
                text = StringIO()
                nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
                figure.savefig(text, format="svg", bbox_inches="tight", metadata=nothing)
        finally:
            pyplot.close(figure)
    return as_page_svg(text.getvalue(), title)
