"""Comparison of several models: one ranking a measure, from the scores and predictions of a folder."""

from collections.abc import Sequence
from pathlib import Path

from medlingua.languages.errors import InputError, nearest

from . import score_figures, tables, task_tables
from .bootstrap import SAMPLES, Key, Tallies, merge_tallies, read_tallies
from .errors import errors_by_task
from .figures import write_charts
from .overall import Overall, by_length, overall
from .page import templates
from .published import published_of
from .quantities import count
from .read import half_written, read_arms, read_errors, read_scores, read_task_parts, write_whole
from .reliability import calibrations
from .rows import ArmsRow, Score
from .scores import Comparison, by_protocol, compare, has_few_seeds, key_of, only, trained_models

CAPTION = (
    f"Mean over seeds, with the 95 % interval from {count(SAMPLES)} bootstrap samples of test documents and seeds; "
    "best first. Differences to the best are paired: both models are scored on the same samples. p-values are "
    "corrected by Holm's method. Each ranking holds one measure of one protocol. A measure without intervals is not "
    "the main metric of its task: counts by document are stored for main metrics only."
)


def write_comparison(folder: Path) -> Path:
    """Write report.md, report.html and figures/ of the scores in a folder; returns the path of the page."""
    results = folder / "results.jsonl"
    tallies = read_tallies(folder)
    comparisons = compare(read_scores(results), tallies)
    if not comparisons:
        raise InputError(f"{results}: no scores to compare; score some models first (adapt evaluate)")
    arms, groups = read_arms(folder), by_protocol(comparisons)
    rows = overall({key_of(c.measure): c for c in comparisons if c.tallies is not None}, tallies)
    lengths, costs = _lengths(comparisons), _costs(arms, rows)
    models = trained_models(comparisons)
    charts = {protocol: score_figures.score_chart(group, models) for protocol, group in groups.items()}
    length_chart = score_figures.length_chart(lengths, models) if lengths else None
    cost_chart = score_figures.cost_chart(costs, models) if costs else None
    pictures = write_charts(folder, [*charts.values(), *(chart for chart in (length_chart, cost_chart) if chart)])
    published = published_of((c.measure.task, c.measure.language) for c in comparisons)
    parts = read_task_parts(folder / "tasks.jsonl")
    view = {
        "name": folder.resolve().name,
        "caption": CAPTION,
        "incomplete": half_written(results),
        "few_seeds": sorted({c.task for c in comparisons if has_few_seeds(c)}),
        "arms": tables.arms_table(arms.arms) if arms else None,
        "synthetic": any(comparison.synthetic for comparison in comparisons),
        "overall": tables.overall_table(rows) if rows else None,
        "lengths": length_chart,
        "cost": cost_chart,
        "protocols": [
            (protocol, charts[protocol], [(_heading(item), tables.ranking_table(item)) for item in group])
            for protocol, group in groups.items()
        ],
        "meanings": tables.protocols_table(groups),
        "published": tables.published_table(published) if published else None,
        "parts": task_tables.parts_table(parts) if parts else None,
        "shared": task_tables.shared_texts(parts),
        "pictures": pictures,
        "calibrations": calibrations(folder),
        "errors": errors_by_task(read_errors(folder / "errors.jsonl")),
    }
    markdown, page = "comparison.md.jinja", "comparison.html.jinja"
    write_whole(folder / "report.md", templates(escape=False).get_template(markdown).render(view))
    return write_whole(folder / "report.html", templates(escape=True).get_template(page).render(view))


def ranking(folders: Sequence[Path], task: str, metric: str | None = None) -> str:
    """The models of several folders (runs, evaluations, studies) on one task, best first, as Markdown.

    Models of more than one folder are named "<folder>: <model>". metric: None for the main metric of the task.
    InputError for a task or metric without scores, and for scores of two protocols or of different test documents.
    """
    scores: list[Score] = []
    tallies: dict[Key, dict[Path, Tallies]] = {}
    for folder in folders:
        chosen = _scores_of(folder, task, metric)
        prefix = f"{folder.resolve().name}: " if len(folders) > 1 else ""
        scores += [score.model_copy(update={"model": prefix + score.model}) for score in chosen]
        for key, of_task in read_tallies(folder).items():
            if key[1] == task:
                by_model = {prefix + model: seeds for model, seeds in of_task.by_model.items()}
                named = Tallies(of_task.kind, by_model, of_task.words, of_task.documents)
                tallies.setdefault(key, {})[folder] = named
    only(compare(scores))
    merged = {key: merge_tallies(of_key) for key, of_key in tallies.items()}
    comparison = only(compare(scores, merged))
    return f"{_heading(comparison)}, protocol {comparison.measure.protocol}\n\n" + tables.markdown(
        tables.ranking_table(comparison)
    )


def _scores_of(folder: Path, task: str, metric: str | None) -> list[Score]:
    scores = read_scores(folder / "results.jsonl")
    if not scores:
        raise InputError(f"{folder}: no scores in results.jsonl; score some models first (adapt evaluate)")
    of_task = [score for score in scores if score.task == task]
    if not of_task:
        raise InputError(f"{folder}: no scores on '{task}'; {nearest(task, {s.task for s in scores})}")
    wanted = metric or of_task[0].metric
    chosen = [score for score in of_task if score.metric == wanted]
    if not chosen:
        raise InputError(f"{folder}: no {wanted} on {task}; {nearest(wanted, {s.metric for s in of_task})}")
    return chosen


def _lengths(comparisons: Sequence[Comparison]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By task: score by document length, for tasks whose documents differ in length.

    Predictions of models without scores are left out: they are of models that a study had before.
    """
    lengths = {}
    for comparison in comparisons:
        if comparison.tallies is not None and (curves := by_length(comparison.tallies)):
            title = f"{comparison.measure.task}, {comparison.measure.metric}"
            lengths[title] = {model: curves[model] for model in trained_models([comparison]) if model in curves}
    return lengths


def _costs(arms: ArmsRow | None, rows: list[Overall]) -> list[tuple[str, float, float]]:
    """(variant, seconds of training, mean of the short and the long mean) of the variants that were trained."""
    seconds = {arm.name: arm.seconds for arm in arms.arms} if arms else {}
    points = []
    for row in rows:
        if (cost := seconds.get(row.model)) is not None:
            means = [mean for mean in (row.short, row.long) if mean is not None]
            points.append((row.model, cost, sum(means) / len(means)))
    return points


def _heading(comparison: Comparison) -> str:
    measure = comparison.measure
    size = f"{measure.language}, {count(comparison.examples)} examples, {count(comparison.gold)} gold items"
    return f"{comparison.task}, {measure.metric}, {measure.split} ({size})"
