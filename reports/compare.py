"""Several models side by side: one ranking a measure, from a folder's results.jsonl alone."""

from collections.abc import Sequence
from pathlib import Path

from medlingua.languages.errors import InputError, nearest

from . import figures, tables
from .bootstrap import Tallies, read_tallies
from .overall import Key, Overall, by_length, overall
from .page import templates
from .published import published_of
from .quantities import count
from .read import half_written, read_arms, read_scores, write_whole
from .rows import ArmsRow
from .scores import Comparison, by_protocol, compare, rank

CAPTION = (
    "Mean over seeds ± half of Student's 95 % interval, best first. Differences to the best are paired by "
    "seed, with their 95 % interval. Over documents: the same difference with seeds and test documents drawn again "
    "2,000 times, 95 % interval, p by Holm. Each ranking holds one measure of one protocol."
)


def write_comparison(folder: Path) -> Path:
    """Write report.md and report.html of the scores in a folder; gives the page's path."""
    results = folder / "results.jsonl"
    groups = by_protocol(read_scores(results))
    tallies = read_tallies(folder)
    if not groups:
        raise InputError(f"{results}: no scores to compare; score some models first (adapt evaluate)")
    arms = read_arms(folder)
    rows = overall(_main(groups, tallies), tallies)
    lengths, costs = _lengths(tallies), _costs(arms, rows)
    published = published_of((c.measure.task, c.measure.language) for group in groups.values() for c in group)
    view = {
        "name": folder.resolve().name,
        "caption": CAPTION,
        "incomplete": half_written(results),
        "arms": tables.arms_table(arms.arms) if arms else None,
        "synthetic": any(comparison.synthetic for group in groups.values() for comparison in group),
        "overall": tables.overall_table(rows) if rows else None,
        "lengths": figures.length_figure(lengths) if lengths else None,
        "cost": figures.cost_figure(costs) if costs else None,
        "protocols": [
            (
                protocol,
                figures.score_figure(group),
                [(_heading(item), tables.ranking_table(item, tallies.get(_key(item)))) for item in group],
            )
            for protocol, group in groups.items()
        ],
        "meanings": tables.protocols_table(groups),
        "published": tables.published_table(published) if published else None,
    }
    markdown, page = "comparison.md.jinja", "comparison.html.jinja"
    write_whole(folder / "report.md", templates(escape=False).get_template(markdown).render(view))
    return write_whole(folder / "report.html", templates(escape=True).get_template(page).render(view))


def ranking(folders: Sequence[Path], task: str, metric: str | None = None) -> str:
    """The models of several folders (runs, evaluations, studies) on one task, best first, as Markdown.

    Scores of more than one folder are named after theirs. metric: None for the first that a folder holds.
    InputError for a task or metric without scores, and for scores of two protocols.
    """
    found = []
    for folder in folders:
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
        name = folder.resolve().name
        found += [s.model_copy(update={"model": f"{name}: {s.model}"}) if len(folders) > 1 else s for s in chosen]
    rank(found)  # refuses what one ranking cannot hold
    (comparison,) = compare(found)
    return f"{_heading(comparison)}, protocol {comparison.measure.protocol}\n\n" + tables.markdown(
        tables.ranking_table(comparison)
    )


def _main(groups: dict[str, list[Comparison]], tallies: dict[Key, Tallies]) -> dict[Key, Comparison]:
    """The main measure of each task: the one whose tallies are kept."""
    return {_key(c): c for group in groups.values() for c in group if _key(c) in tallies}


def _lengths(tallies: dict[Key, Tallies]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By task: score by length of the documents, where there is something to see."""
    found = {f"{key[1]}, {key[3]}": by_length(of) for key, of in tallies.items()}
    return {title: curves for title, curves in found.items() if curves}


def _costs(arms: ArmsRow | None, rows: list[Overall]) -> list[tuple[str, float, float]]:
    """(arm, seconds of training, mean of the short and the long mean) of the arms that trained."""
    seconds = {arm.name: arm.seconds for arm in arms.arms} if arms else {}
    found = []
    for row in rows:
        if (cost := seconds.get(row.model)) is not None:
            means = [mean for mean in (row.short, row.long) if mean is not None]
            found.append((row.model, cost, sum(means) / len(means)))
    return found


def _key(comparison: Comparison) -> Key:
    measure = comparison.measure
    return measure.protocol, measure.task, measure.language, measure.metric


def _heading(comparison: Comparison) -> str:
    measure = comparison.measure
    size = f"{measure.language}, {count(comparison.examples)} examples, {count(comparison.gold)} gold items"
    return f"{comparison.task}, {measure.metric}, {measure.split} ({size})"
