"""The report of a sweep: its trials at equal tokens and at equal time, with figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import sweep_figures, tables
from .figures import Chart, write_charts
from .page import templates
from .quantities import count, duration
from .read import write_whole
from .rows import TrialRow

if TYPE_CHECKING:
    from optuna import Study
    from pandas import DataFrame

_STATES = {"fail": "failed"}


def write_sweep(folder: Path, study: Study, objectives: Sequence[str], rows: Sequence[TrialRow]) -> Path:
    """Write report.md, report.html and figures/ of a sweep; returns the path of the page."""
    charts, missing = _charts(study, objectives, rows)
    view = {
        "name": folder.resolve().name,
        "summary": summary(rows),
        "directions": [
            f"{name} ({'lower' if d.name == 'MINIMIZE' else 'higher'} is better)"
            for name, d in zip(objectives, study.directions, strict=True)
        ],
        "trials": trials_table(rows, objectives),
        "charts": charts,
        "missing": missing,
        "pictures": write_charts(folder, charts),
    }
    write_whole(folder / "report.md", templates(escape=False).get_template("sweep.md.jinja").render(view))
    page = templates(escape=True).get_template("sweep.html.jinja").render(view)
    return write_whole(folder / "report.html", page)


def summary(rows: Sequence[TrialRow]) -> list[str]:
    """Sentences: the number of trials, their states and their cost, and how far they can be compared."""
    by_state: dict[str, int] = {}
    for row in rows:
        by_state[row.state] = by_state.get(row.state, 0) + 1
    states = ", ".join(f"{n} {_STATES.get(state, state)}" for state, n in by_state.items())
    sentences = [f"{len(rows)} trials: {states}."] if rows else ["No trial yet."]
    done = [row for row in rows if row.state == "complete"]
    if done:
        tokens, seconds = [row.tokens for row in done], [row.seconds for row in done]
        sentences.append(
            f"Complete trials were trained on {_range(tokens, count)} tokens (a step is always completed) for "
            f"{_range(seconds, duration)}. "
            f"All trials together: {count(sum(r.tokens for r in rows))} tokens, "
            f"{duration(sum(r.seconds for r in rows))} of training."
        )
    if any(row.evaluations for row in done):
        sentences.append(
            "Bits per byte at equal time: the last evaluation of each trial before "
            f"{duration(equal_seconds(rows))}, when the fastest complete trial ended. Workers may have "
            "shared a machine."
        )
    return sentences


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"


def equal_seconds(rows: Sequence[TrialRow]) -> float:
    """The training time of the fastest complete trial, in seconds."""
    return min((row.seconds for row in rows if row.state == "complete"), default=0.0)


def trials_table(rows: Sequence[TrialRow], objectives: Sequence[str]) -> DataFrame:
    """A row a trial, the best first where there is one objective."""
    from pandas import DataFrame

    limit = equal_seconds(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.parameters))
    lines = []
    for row in rows:
        line: dict[str, str] = {"Trial": str(row.number), "State": _STATES.get(row.state, row.state)}
        for place, name in enumerate(objectives):
            line[name] = f"{row.values[place]:.4f}" if row.values else tables.NOTHING
        in_time = [bits for _, seconds, bits in row.evaluations if seconds <= limit]
        line["bits per byte at equal time"] = f"{in_time[-1]:.4f}" if in_time else tables.NOTHING
        line["Tokens"], line["Training"] = count(row.tokens), duration(row.seconds)
        for name in names:
            line[name] = _short(row.parameters[name]) if name in row.parameters else tables.NOTHING
        line["Note"] = row.note or tables.NOTHING
        lines.append(line)
    columns = ["Trial", "State", *objectives, "bits per byte at equal time", "Tokens", "Training", *names, "Note"]
    return tables.without_empty(DataFrame(lines, columns=columns)) if lines else DataFrame(columns=columns)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _charts(study: Study, objectives: Sequence[str], rows: Sequence[TrialRow]) -> tuple[list[Chart], list[str]]:
    """The figures that the trials allow, and a sentence for each that they do not."""
    done = [row for row in rows if row.values]
    charts: list[Chart] = []
    missing: list[str] = []
    several = len(objectives) > 1
    for place, name in enumerate(objectives):
        lower = study.directions[place].name == "MINIMIZE"
        if done:
            charts.append(sweep_figures.history_chart(rows, place, name, lower))
        if len(done) < 2:
            missing.append(
                f"Importance of settings and parallel coordinates for {name}: at least two complete trials"
            )
            continue
        charts.append(sweep_figures.parallel_chart(rows, place, name))
        try:
            charts.append(sweep_figures.importance_chart(_importances(study, place if several else None), name))
        except (RuntimeError, ValueError) as error:  # Optuna's reason why it cannot be computed
            missing.append(f"Importance of settings for {name}: {error}")
    if len(objectives) == 2 and done:
        charts.append(sweep_figures.pareto_chart(rows, objectives, [trial.number for trial in study.best_trials]))
    if not several and any(row.evaluations for row in rows):
        charts.append(sweep_figures.curves_chart(rows, study.directions[0].name == "MINIMIZE"))
    return charts, missing


def _importances(study: Study, place: int | None) -> dict[str, float]:
    """Share of the variance by setting. Optuna's default (PED-ANOVA) compares the best tenth with the rest, which is
    too few trials in a small sweep."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=0),
        target=None if place is None else lambda trial: float(trial.values[place]),
    )  # fmt: skip
