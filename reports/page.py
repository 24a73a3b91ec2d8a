"""The report of a run: one self-contained page to read, and the same in Markdown."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import figures, findings, privacy, tables
from .quantities import count, duration, energy, memory, place
from .read import RunRecord, read_run, write_whole
from .scores import by_protocol, change, compare, verdict

if TYPE_CHECKING:
    from jinja2 import Environment

SCORES_CAPTION = (
    "Mean over seeds ± half of Student's 95 % interval; differences are paired by seed, with their 95 % "
    "interval. A table holds one protocol: scores of two protocols do not compare."
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page."""

    name: str
    value: str
    detail: str


def write_report(folder: Path) -> Path:
    """Write report.md and report.html from what the run has left so far; gives the page's path."""
    record = read_run(folder)
    view = _view(record)
    write_whole(folder / "report.md", templates(escape=False).get_template("report.md.jinja").render(view))
    page = templates(escape=True).get_template("report.html.jinja").render(view)
    return write_whole(folder / "report.html", page)


def templates(escape: bool) -> Environment:
    """The templates of this room, with the tables' two printers; unknown names in them are errors."""
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
    """What starts this run again, in another folder; run.toml holds every setting."""
    strategy = str(record.settings.get("strategy", "continue"))
    lang = str(record.settings.get("lang", findings.language(record)))
    words = ["adapt", "--strategy", strategy, "--lang", lang, "--config", str(record.folder / "run.toml")]
    return shlex.join([*words, "--out", f"{record.folder}-again"])


def _view(record: RunRecord) -> dict[str, Any]:
    return {
        "name": record.folder.resolve().name,
        "language": findings.language(record),
        "summary": findings.summary(record),
        "synthetic": " (synthetic)" if findings.is_synthetic(record) else "",
        "warnings": findings.warnings(record),
        "missing": findings.missing(record),
        "command": command(record),
        "tiles": _tiles(record),
        "costs": _costs(record),
        "figures": _figures(record),
        "scores": [
            (protocol, tables.score_table(group), figures.score_figure(group))
            for protocol, group in by_protocol(record.scores).items()
        ],
        "scores_caption": SCORES_CAPTION,
        "meanings": tables.protocols_table(dict.fromkeys(score.protocol for score in record.scores)),
        "bits": tables.bits_per_byte_table(record.evaluations) if record.evaluations else None,
        "corpora": record.corpora,
        "licences_table": tables.licences_table(record.corpora) if record.corpora else None,
        "corpora_table": tables.corpora_table(record.corpora) if record.corpora else None,
        "overlap_table": tables.overlap_table(record.corpora) if record.corpora else None,
        "vocabulary": record.vocabulary,
        "vocabulary_table": tables.vocabulary_table(record.vocabulary) if record.vocabulary else None,
        "certificate": record.certificate,
        "checks_table": tables.checks_table(record.certificate) if record.certificate else None,
        "contexts": findings.contexts(record.certificate) if record.certificate else [],
        "changes_table": tables.changes_table(record.certificate) if record.certificate else None,
        "privacy": record.privacy,
        "given_away": privacy.findings(record.privacy) if record.privacy else [],
        "exposure_table": privacy.exposure_table(record.privacy) if record.privacy else None,
        "audit": shlex.join(["adapt", "privacy", str(record.folder / "model")]),
        "lineage": record.lineage,
        "first_base": place(record.lineage.base) if record.lineage else "",
        "lineage_table": tables.lineage_table(record.lineage) if record.lineage else None,
        "settings_table": tables.settings_table(record.settings),
        "has_model": (record.folder / "model").is_dir(),
        "path": "model",
        "count": count,
    }


def _figures(record: RunRecord) -> dict[str, str]:
    """SVG by name; no figure where there is nothing to draw."""
    synthetic = findings.is_synthetic(record)
    drawn = {}
    if record.training:
        drawn["training"] = figures.training_figure(record.training, findings.phase_names(record), synthetic)
    if any(row.model == "trained" for row in record.evaluations):
        drawn["bits"] = figures.bits_per_byte_figure(record.evaluations, synthetic)
    if record.certificate and record.certificate.positions:
        drawn["positions"] = figures.positions_figure(record.certificate.positions, synthetic)
    if record.certificate and record.certificate.probes:
        drawn["probes"] = figures.probes_figure(record.certificate.probes)
    if record.corpora and record.corpora.corpora:
        drawn["corpora"] = figures.corpora_figure(record.corpora.corpora)
    return drawn


def _tiles(record: RunRecord) -> list[Tile]:
    tiles = []
    last = {row.model: row for row in record.evaluations}
    before, after = last.get("base") or last.get("start"), last.get("trained")
    if before and after:
        tiles.append(
            Tile(
                "Bits per byte" + (" (synthetic)" if findings.is_synthetic(record) else ""),
                f"{before.bits_per_byte:.3f} → {after.bits_per_byte:.3f}",
                f"{tables.change_text(before, after)}, lower is better",
            )
        )
    told = set()
    for comparison in compare(record.scores):
        changed = change(comparison)
        # A task's first metric is its own; the others are for comparison with papers.
        if changed and comparison.measure.split == "test" and comparison.task not in told:
            told.add(comparison.task)
            tiles.append(
                Tile(
                    f"{comparison.task}, {comparison.measure.metric}",
                    f"{changed.before.mean.mean:.3f} → {changed.after.mean.mean:.3f}",
                    verdict(changed.difference),
                )
            )
    return tiles


def _costs(record: RunRecord) -> list[tuple[str, str]]:
    cost = record.cost
    if cost is None:
        return []
    lines = [
        ("Time in all", duration(cost.seconds)),
        ("Time in training", duration(cost.train_seconds)),
        ("Tokens", count(cost.tokens)),
        ("Tokens a second", count(cost.tokens_per_second)),
        ("Peak memory", memory(cost.peak_memory_bytes)),
        ("Energy", "not told by the machine" if cost.energy_joules is None else energy(cost.energy_joules)),
    ]
    if cost.resumed:
        lines.append(("Resumed", "once" if cost.resumed == 1 else f"{cost.resumed} times"))
    if record.plan:
        lines += [
            ("Machine", record.plan.machine),
            ("Device", f"{record.plan.device}, {record.plan.threads} threads"),
            ("Precision", f"{record.plan.precision}: {record.plan.precision_reason}"),
            ("Attention", f"{record.plan.attention}: {record.plan.attention_reason}"),
        ]
    return lines
