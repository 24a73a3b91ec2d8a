"""The report of a run: one self-contained page, the same in Markdown, and its figures as files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import findings, privacy, run_figures, tables, task_tables
from .bootstrap import SAMPLES, read_tallies
from .figures import Chart, write_charts
from .quantities import count, duration, energy, memory, short_path, thin, times
from .read import RunRecord, read_run, write_whole
from .score_figures import score_chart
from .scores import Comparison, by_protocol, change, compare, trained_models

if TYPE_CHECKING:
    from jinja2 import Environment

SCORES_CAPTION = (
    f"Mean over seeds, with the 95 % interval from {count(SAMPLES)} bootstrap samples of test documents and seeds. "
    "Differences are paired: both models are scored on the same samples. A measure without an interval is not the "
    "main metric of its task: counts by document are stored for main metrics only. A table holds one protocol: "
    "scores of two protocols do not compare."
)

# A sentence with a gap, for the code that loads the model.
EXAMPLES = {
    "fr": "Le patient présente une {} aiguë.",
    "es": "El paciente presenta una {} aguda.",
    "de": "Der Patient klagt über {}.",
    "en": "The patient presents with acute {}.",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page."""

    name: str
    value: str
    detail: str


def write_report(folder: Path) -> Path:
    """Write report.md, report.html and figures/ from the files of a run so far; returns the path of the page."""
    record = read_run(folder)
    comparisons = compare(record.scores, read_tallies(folder))
    charts = _charts(record)
    models = trained_models(comparisons)
    groups = {protocol: (group, score_chart(group, models)) for protocol, group in by_protocol(comparisons).items()}
    pictures = write_charts(folder, [*charts.values(), *(chart for _, chart in groups.values())])
    view = _view(record, comparisons, charts) | {
        "pictures": pictures,
        "scores": [(name, tables.score_table(group), chart) for name, (group, chart) in groups.items()],
    }
    write_whole(folder / "report.md", templates(escape=False).get_template("report.md.jinja").render(view))
    page = templates(escape=True).get_template("report.html.jinja").render(view)
    return write_whole(folder / "report.html", page)


def templates(escape: bool) -> Environment:
    """The templates of this room. The filter `table` prints a frame as HTML or Markdown; unknown names are errors."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["table"] = (lambda frame: Markup(tables.html(frame))) if escape else tables.markdown
    return environment


def command(record: RunRecord) -> str:
    """The command that repeats this run in another folder; run.toml holds every setting."""
    strategy = str(record.settings.get("strategy", "continue"))
    lang = str(record.settings.get("lang", findings.language(record)))
    words = ["adapt", "--strategy", strategy, "--lang", lang, "--config", str(record.folder / "run.toml")]
    return shlex.join([*words, "--out", f"{record.folder}-again"])


def _view(record: RunRecord, comparisons: Sequence[Comparison], charts: dict[str, Chart]) -> dict[str, Any]:
    return {
        "name": record.folder.resolve().name,
        "language": findings.language(record),
        "summary": findings.summary(record),
        "synthetic": " (synthetic)" if findings.is_synthetic(record) else "",
        "warnings": findings.warnings(record, comparisons),
        "missing": findings.missing(record),
        "command": command(record),
        "tiles": _tiles(record, comparisons),
        "costs": _costs(record),
        "charts": charts,
        "scores_caption": SCORES_CAPTION,
        "meanings": tables.protocols_table(dict.fromkeys(score.protocol for score in record.scores)),
        "parts": task_tables.parts_table(record.task_parts) if record.task_parts else None,
        "shared": task_tables.shared_texts(record.task_parts),
        "held_out": tables.held_out_table(record.evaluations) if record.evaluations else None,
        "corpora": record.corpora,
        "licences_table": tables.licences_table(record.corpora) if record.corpora else None,
        "corpora_table": tables.corpora_table(record.corpora) if record.corpora else None,
        "overlap_table": tables.overlap_table(record.corpora) if record.corpora and record.corpora.overlap else None,
        "vocabulary": record.vocabulary,
        "vocabulary_table": tables.vocabulary_table(record.vocabulary) if record.vocabulary else None,
        "certificate": record.certificate,
        "checks_table": tables.checks_table(record.certificate) if record.certificate else None,
        "contexts": findings.contexts(record.certificate) if record.certificate else [],
        "changes_table": tables.changes_table(record.certificate) if record.certificate else None,
        "privacy": record.privacy,
        "privacy_findings": privacy.findings(record.privacy) if record.privacy else [],
        "exposure_table": privacy.exposure_table(record.privacy) if record.privacy else None,
        "audit": shlex.join(["adapt", "privacy", str(record.folder / "model")]),
        "lineage": record.lineage,
        "first_base": short_path(record.lineage.base) if record.lineage else "",
        "lineage_table": tables.lineage_table(record.lineage) if record.lineage else None,
        "settings_table": tables.settings_table(record.settings),
        "has_model": (record.folder / "model").is_dir(),
        "path": "model",
        "example": EXAMPLES.get(findings.language(record), "{}."),
        "count": count,
    }


def _charts(record: RunRecord) -> dict[str, Chart]:
    """The figures of a run by name, except those of scores."""
    synthetic = findings.is_synthetic(record)
    charts = {}
    if record.training:
        phases, likelihood = findings.phase_names(record), findings.has_likelihood(record)
        charts["training"] = run_figures.training_chart(record.training, phases, likelihood, synthetic)
    if any(row.model == "trained" for row in record.evaluations):
        charts["held_out"] = run_figures.held_out_chart(record.evaluations, synthetic)
    if record.certificate and record.certificate.positions:
        charts["positions"] = run_figures.positions_chart(record.certificate.positions, synthetic)
    if record.certificate and record.certificate.probes:
        charts["probes"] = run_figures.probes_chart(record.certificate.probes)
    if record.corpora and len(trained := findings.tokens_by_corpus(record)) > 1:
        charts["corpora"] = run_figures.corpora_chart(trained, record.corpora.corpora)
    return charts


def _tiles(record: RunRecord, comparisons: Sequence[Comparison]) -> list[Tile]:
    tiles = []
    last = {row.model: row for row in record.evaluations}
    before, after = last.get("base") or last.get("start"), last.get("trained")
    if before and after:
        rows, detail = [before, after], tables.change_text(before, after)
        if before.model == "base" and (start := last.get("start")):
            rows = [before, start, after]
            detail = (
                f"base, {findings.changes_in_words(record)}, trained; {detail} from the base, "
                f"{tables.change_text(start, after)} by training"
            )
        tiles.append(
            Tile(
                "Bits per byte" + (" (synthetic)" if findings.is_synthetic(record) else ""),
                " → ".join(f"{row.bits_per_byte:.3f}" for row in rows),
                f"{detail}; lower is better",
            )
        )
    shown = set()
    for comparison in comparisons:
        changed = change(comparison)
        # The first metric of a task is its main one; the others are for comparison with papers.
        if changed and comparison.measure.split == "test" and comparison.task not in shown:
            shown.add(comparison.task)
            tiles.append(
                Tile(
                    f"{comparison.task}, {comparison.measure.metric}",
                    f"{changed.before.score.value:.3f} → {changed.after.score.value:.3f}",
                    tables.difference_sentence(changed.difference),
                )
            )
    return tiles


def _costs(record: RunRecord) -> list[tuple[str, str]]:
    cost = record.cost
    if cost is None:
        return []
    lines = [
        ("Total time", duration(cost.seconds)),
        ("Training time", duration(cost.train_seconds)),
        ("Training tokens", count(cost.tokens)),
        ("Tokens per second", count(cost.tokens_per_second)),
        ("Peak memory", memory(cost.peak_memory_bytes)),
        ("Energy", "not measured on this machine" if cost.energy_joules is None else energy(cost.energy_joules)),
    ]
    if cost.resumed:
        lines.append(("Resumed", times(cost.resumed)))
    if record.plan:
        lines += [
            ("Machine", record.plan.machine),
            (
                "Device",
                f"{record.plan.device}, {record.plan.threads} thread{'' if record.plan.threads == 1 else 's'}",
            ),
            ("Precision", f"{record.plan.precision}: {record.plan.precision_reason}"),
            ("Attention", f"{record.plan.attention}: {record.plan.attention_reason}"),
        ]
        if record.plan.corpus_tokens:
            tokens = f"{count(record.plan.corpus_tokens)} tokens, special tokens counted"
            lines.append(("Corpus", f"{tokens}, read {times(record.plan.passes)}"))
        lines += [(f"Default of {row.setting}", f"{row.text}: {row.reason}") for row in record.plan.defaults]
        if record.plan.not_scored:
            left_out = ", ".join(record.plan.not_scored)
            lines.append(("Not scored", f"{left_out}: evaluation would have taken longer than training"))
    return [(name, thin(value)) for name, value in lines]
