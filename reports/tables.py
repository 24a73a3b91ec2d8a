"""Tables of a run as data frames of readable cells, and the two ways to print a frame."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from medlingua.languages.lineage import Lineage

from .bootstrap import Difference, Tallies, against, holm
from .intervals import Estimate, paired_difference
from .overall import Overall
from .protocols import PARTS, protocol_of
from .published import Published
from .quantities import count, duration, memory, percent, place, signed
from .rows import ArmRow, CertificateRow, CorporaRow, CorpusRow, EvalRow, VocabularyRow
from .scores import Comparison, Result, change, ranked, verdict

if TYPE_CHECKING:
    from pandas import DataFrame

NOTHING = "–"
_SHORT = 26  # characters
_NUMBER = re.compile(r"[+−-]?\d[\d\s.,]*( %| ± [\d.]+| \[.*\])?")


def score_table(comparisons: Sequence[Comparison]) -> DataFrame:
    """The measures of one protocol: a row a measure, a column a model, and what training changed."""
    results = [result for comparison in comparisons for result in comparison.results]
    models = dict.fromkeys(result.model for result in results if not result.is_baseline)
    frame = _frame(_score_line(comparison, models) for comparison in comparisons)
    return frame if any(result.is_baseline for result in results) else frame.drop(columns="Baselines")


def ranking_table(comparison: Comparison, tallies: Tallies | None = None) -> DataFrame:
    """The models of one measure, best first, each against the best: over the seeds, and with `tallies` over seeds and
    documents, p-values corrected for the number of models."""
    results = ranked(comparison)
    best = next((result for result in results if not result.is_baseline), None)
    columns = [
        {
            "Model": _model(result),
            "Mean": estimate_text(result.mean),
            "Seeds": seeds_text(result),
            "Against the best": _against(best, result),
        }
        for result in results
    ]
    if tallies is not None and best is not None:
        found = _over_documents(best, results, tallies)
        corrected = dict(zip(found, holm([d.p_value for d in found.values()]), strict=True))
        for row, result in zip(columns, results, strict=True):
            row["Over documents"] = NOTHING
            if difference := found.get(result.model):
                row["Over documents"] = (
                    f"{signed(difference.value)} ({signed(difference.low)} to {signed(difference.high)}), "
                    f"p {corrected[result.model]:.3f}"
                )
    return _frame(columns)


def protocols_table(identifiers: Iterable[str]) -> DataFrame:
    """What protocols stand for: a row a part, a column a protocol."""
    known = {identifier: protocol_of(identifier) for identifier in identifiers}
    unknown = "not a protocol of this version"
    return _frame(
        {
            "": part.capitalize(),
            **{name: unknown if record is None else str(getattr(record, part)) for name, record in known.items()},
        }
        for part in PARTS
    )


def published_table(figures: Iterable[Published]) -> DataFrame:
    """What others published on the tasks, each under its own protocol."""
    return _frame(
        {
            "Task": figure.task,
            "Model": figure.model,
            "Value": f"{figure.value:.3f}" + (f" ± {figure.spread:.3f}" if figure.spread is not None else ""),
            "Metric": figure.metric_name,
            "Protocol, as far as known": figure.protocol,
            "Source": figure.source,
        }
        for figure in figures
    )


def overall_table(rows: Sequence[Overall]) -> DataFrame:
    """The models over all tasks, best mean rank first."""
    return _frame(
        [
            {
                "Model": row.model,
                "Mean rank": f"{row.rank:.2f}",
                "Win probability": f"{row.wins:.2f}",
                "Short tasks": NOTHING if row.short is None else f"{row.short:.3f}",
                "Long tasks": NOTHING if row.long is None else f"{row.long:.3f}",
            }
            for row in rows
        ]
    )


def _over_documents(best: Result, results: Sequence[Result], tallies: Tallies) -> dict[str, Difference]:
    first = tallies.by_model.get(best.model, {})
    found = {}
    for result in results:
        other = tallies.by_model.get(result.model)
        if result is not best and other is not None:
            difference = against(tallies.kind, first, other)
            if difference is not None:
                found[result.model] = difference
    return found


def bits_per_byte_table(evaluations: Sequence[EvalRow]) -> DataFrame:
    """The last look at held-out text for base, vocabulary, start and trained."""
    last = {row.model: row for row in evaluations}
    first = last.get("base") or last.get("start")
    return _frame(
        {
            "Model": model,
            "Tokens trained": count(row.tokens),
            "Bits per byte": f"{row.bits_per_byte:.3f}",
            "Change": change_text(first, row),
            "Words recovered": "" if row.words_recovered is None else percent(row.words_recovered, 1),
            "Nats per piece": f"{row.eval_loss:.3f}",
            "Masked pieces": count(row.masked_pieces),
            "Masked bytes": count(row.masked_bytes),
            "Unknown bytes": percent(row.unknown_bytes, row.masked_bytes),
        }
        for model in ("base", "vocabulary", "start", "trained")
        if (row := last.get(model))
    )


def arms_table(arms: Sequence[ArmRow]) -> DataFrame:
    """The arms of a study: what each started from, what it read and cost, bits per byte before and after."""
    return _frame(
        {
            "Arm": row.name,
            "Strategy": row.strategy,
            "From": place(row.base),
            "Tokens": count(row.tokens) if row.tokens else "–",
            "Parameters": count(row.parameters) if row.parameters else "–",
            "Training": duration(row.seconds) if row.seconds else "–",
            "Peak memory": memory(row.peak_memory_bytes) if row.peak_memory_bytes else "–",
            "Bits per byte": _bits(row),
        }
        for row in arms
    )


def _bits(row: ArmRow) -> str:
    if row.bits_after is None:
        return "–"
    return f"{row.bits_after:.3f}" if row.bits_before is None else f"{row.bits_before:.3f} → {row.bits_after:.3f}"


def corpora_table(corpora: CorporaRow) -> DataFrame:
    """What each corpus gave, and why documents were left out."""
    return _frame(
        {
            "Corpus": _corpus(row),
            "Read": count(row.documents_read),
            "Filtered": count(row.filtered),
            "Duplicates": count(row.duplicates),
            "Overlapping": count(row.overlapping),
            "Held out": count(row.held_out),
            "Trained on": count(row.documents),
            "Tokens": count(row.tokens),
            "Repeat": f"{row.repeat:g}",
        }
        for row in corpora.corpora
    )


def licences_table(corpora: CorporaRow) -> DataFrame:
    return _frame(
        {
            "Corpus": _corpus(row),
            "Licence": row.licence or "not stated",
            "Stated in": row.licence_source or NOTHING,
            "Commercial use": "no" if row.non_commercial else "as the licence says",
            "Path": place(row.path),
        }
        for row in corpora.corpora
    )


def overlap_table(corpora: CorporaRow) -> DataFrame:
    """Which tasks the corpora were checked against, and which were not at hand."""
    checked = [
        {
            "Task": row.task,
            "Test documents": count(row.test_documents),
            "Corpus documents left out": count(row.overlapping),
            "Checked": "yes",
        }
        for row in corpora.overlap
    ]
    unchecked = [
        {
            "Task": task,
            "Test documents": NOTHING,
            "Corpus documents left out": NOTHING,
            "Checked": "no, not at hand",
        }
        for task in corpora.unchecked
    ]
    return _frame(checked + unchecked)


def vocabulary_table(row: VocabularyRow) -> DataFrame:
    return _frame(
        [
            {"": "Pieces", "Before": count(row.old_size), "After": count(row.new_size)},
            {
                "": "Pieces per word",
                "Before": f"{row.pieces_per_word_old:.2f}",
                "After": f"{row.pieces_per_word_new:.2f}",
            },
            *(
                [{"": "Words of synthetic English cases cut otherwise", "After": f"{row.other_words_changed:.1%}"}]
                if row.other_words_changed is not None
                else []
            ),
        ]
    ).fillna("")


def lineage_table(lineage: Lineage) -> DataFrame:
    return _frame(
        {
            "Date": step.date,
            "Step": f"{step.strategy}, {step.language}",
            "From": place(step.base),
            "Corpora": ", ".join(step.corpora) + (" (synthetic)" if step.synthetic else ""),
            "Licences": ", ".join(dict.fromkeys(licence or "not stated" for licence in step.licences)),
            "Tokens": count(step.tokens),
            "Settings": step.settings_digest[:12],
            "Version": step.version,
        }
        for step in lineage.steps
    )


def settings_table(settings: Mapping[str, Any]) -> DataFrame:
    return _frame({"Setting": name, "Value": value} for name, value in _flat(settings, ""))


def markdown(frame: DataFrame) -> str:
    """A pipe table; a cell cannot break out of it."""
    columns = [str(name) for name in frame.columns]
    rule = ["---:" if _is_numeric(frame, index) else "---" for index in range(len(columns))]
    lines = [columns, rule, *frame.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines) + "\n"


def html(frame: DataFrame) -> str:
    """A table whose cells are escaped, whose numbers stand right and whose short cells keep to one line."""
    numeric = [_is_numeric(frame, index) for index in range(len(frame.columns))]

    def cell(text: str, right: bool, tag: str) -> str:
        look = "number" if right else "short" if len(text) <= _SHORT else ""
        return f"<{tag}{f' class={look}' if look else ''}>{escape(text)}</{tag}>"

    def line(cells: Iterable[object], tag: str) -> str:
        parts = (cell(str(text), right, tag) for text, right in zip(cells, numeric, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "\n".join(line(cells, "td") for cells in frame.to_numpy().tolist())
    return f"<table>\n<thead>{line(frame.columns, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def estimate_text(value: Estimate) -> str:
    if value.low is None:
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} ± {value.mean - value.low:.3f}"


def difference_text(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return signed(value.mean)
    return f"{signed(value.mean)} [{signed(value.low)}, {signed(value.high)}]"


def checks_table(certificate: CertificateRow) -> DataFrame:
    return _frame(
        {
            "Check": check.name,
            "Measured": f"{check.value:.2g}",
            "At most": f"{check.limit:.2g}",
            "Result": "kept" if check.passed else "lost",
        }
        for check in certificate.checks
    )


def changes_table(certificate: CertificateRow) -> DataFrame:
    return _frame(
        {"Field": change.field, "Source": change.before, "Result": change.after} for change in certificate.changes
    )


def change_text(first: EvalRow | None, row: EvalRow) -> str:
    if first is None or first is row or not first.bits_per_byte:
        return NOTHING
    return signed(100 * (row.bits_per_byte / first.bits_per_byte - 1), 1) + " %"


def seeds_text(result: Result) -> str:
    return NOTHING if result.is_baseline else str(len(result.seeds))


def _score_line(comparison: Comparison, models: Iterable[str]) -> dict[str, str]:
    means = {result.model: estimate_text(result.mean) for result in comparison.results}
    baselines = [result.model for result in comparison.results if result.is_baseline]
    seeds = {len(result.seeds) for result in comparison.results if not result.is_baseline}
    changed = change(comparison)
    return {
        "Task": comparison.task,
        "Metric": f"{comparison.measure.metric}, {comparison.measure.split}",
        "Gold": count(comparison.gold),
        **{model: means.get(model, NOTHING) for model in models},
        "Difference": difference_text(changed.difference) if changed else NOTHING,
        "Seeds": " or ".join(map(str, sorted(seeds))) or NOTHING,
        "Verdict": verdict(changed.difference) if changed else NOTHING,
        "Baselines": ", ".join(f"{model} {means[model]}" for model in baselines) or NOTHING,
    }


def _corpus(row: CorpusRow) -> str:
    return f"{row.name} (synthetic)" if row.synthetic else row.name


def _model(result: Result) -> str:
    return f"{result.model} (baseline)" if result.is_baseline else result.model


def _against(best: Result | None, result: Result) -> str:
    if best is None or result is best or result.is_baseline:
        return NOTHING
    difference = paired_difference(best.seeds, result.seeds)
    if difference is None:
        return "no seed in common"
    return f"{difference_text(difference)}, {verdict(difference)}"


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                yield from _flat(item, f"{prefix}{name}[{number}].")
        else:
            yield prefix + name, str(value)


def _frame(lines: Iterable[Mapping[str, str]]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame(list(lines), dtype=object)


def _is_numeric(frame: DataFrame, index: int) -> bool:
    cells = [str(cell) for cell in frame.iloc[:, index] if cell != NOTHING]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _markdown_cell(cell: object) -> str:
    text = escape(str(cell), quote=False).replace("\\", "\\\\").replace("|", "\\|")
    return " ".join(text.split("\n"))
