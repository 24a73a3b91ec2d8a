"""Several models side by side: one ranking a measure, from a folder's results.jsonl alone."""

from pathlib import Path

from medlingua.languages.errors import InputError

from . import figures, tables
from .bootstrap import Tallies, read_tallies
from .overall import Key, Overall, by_length, overall
from .page import templates
from .quantities import count
from .read import half_written, read_arms, read_scores, write_whole
from .rows import ArmsRow
from .scores import Comparison, by_protocol

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
    }
    markdown, page = "comparison.md.jinja", "comparison.html.jinja"
    write_whole(folder / "report.md", templates(escape=False).get_template(markdown).render(view))
    return write_whole(folder / "report.html", templates(escape=True).get_template(page).render(view))


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
