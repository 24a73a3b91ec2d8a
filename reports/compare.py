"""Several models side by side: one ranking a measure, from a folder's results.jsonl alone."""

from pathlib import Path

from medlingua.languages.errors import InputError

from . import figures, tables
from .bootstrap import read_tallies
from .page import templates
from .quantities import count
from .read import half_written, read_arms, read_scores, write_whole
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
    view = {
        "name": folder.resolve().name,
        "caption": CAPTION,
        "incomplete": half_written(results),
        "arms": tables.arms_table(arms.arms) if (arms := read_arms(folder)) else None,
        "synthetic": any(comparison.synthetic for group in groups.values() for comparison in group),
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


def _key(comparison: Comparison) -> tuple[str, str, str, str]:
    measure = comparison.measure
    return measure.protocol, measure.task, measure.language, measure.metric


def _heading(comparison: Comparison) -> str:
    measure = comparison.measure
    size = f"{measure.language}, {count(comparison.examples)} examples, {count(comparison.gold)} gold items"
    return f"{comparison.task}, {measure.metric}, {measure.split} ({size})"
