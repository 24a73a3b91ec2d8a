"""Tables as data frames of readable cells, and two ways to print a frame: HTML and Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from medlingua.languages.lineage import Lineage

from .bootstrap import holm
from .intervals import Estimate
from .overall import Overall
from .protocols import PARTS, protocol_of
from .published import Published
from .quantities import THIN, count, duration, memory, percent, short_path, signed
from .rows import ArmRow, CertificateRow, CorporaRow, CorpusRow, EvalRow, VocabularyRow
from .scores import Comparison, Result, change, difference_of, ranked, trained_models

if TYPE_CHECKING:
    from pandas import DataFrame

NOTHING = "–"
_SHORT = 26  # characters
_NUMBER = re.compile(r"[+−-]?\d[\d\s.,]*(\s?%| ± [\d.]+| \(.*\))?")


def score_table(comparisons: Sequence[Comparison]) -> DataFrame:
    """The measures of one protocol: a row a measure, a column a model, and the change from base to trained."""
    models = trained_models(comparisons)
    frame = frame_of(_score_line(comparison, models) for comparison in comparisons)
    return without_empty(frame)


def ranking_table(comparison: Comparison) -> DataFrame:
    """The models of one measure, best first, each compared with the best; p-values are corrected for their number."""
    results = ranked(comparison)
    best = next((result for result in results if not result.is_baseline), None)
    differences = {}
    if best is not None:
        others = [result for result in results if result is not best and not result.is_baseline]
        differences = {result.model: difference_of(comparison, best, result) for result in others}
    p_values = {m: d.p_value for m, d in differences.items() if d is not None and d.p_value is not None}
    corrected = dict(zip(p_values, holm([*p_values.values()]), strict=True))
    rows = []
    for result in results:
        row = {"Model": _model(result), "Score": score_text(result.score), "Seeds": seeds_text(result)}
        if differences:
            difference = differences.get(result.model)
            text = difference_text(difference) if difference else NOTHING
            row["Difference to the best"] = (
                "no common seed" if text == NOTHING and result.model in differences else text
            )
        if corrected:
            row["p (Holm)"] = f"{corrected[result.model]:.3f}" if result.model in corrected else NOTHING
        rows.append(row)
    return frame_of(rows)


def protocols_table(identifiers: Iterable[str]) -> DataFrame:
    """What the protocols mean: a row a part, a column a protocol."""
    known = {identifier: protocol_of(identifier) for identifier in identifiers}
    unknown = "not a protocol of this version"
    return frame_of(
        {
            "": part.capitalize(),
            **{name: unknown if record is None else str(getattr(record, part)) for name, record in known.items()},
        }
        for part in PARTS
    )


def published_table(figures: Iterable[Published]) -> DataFrame:
    """Published scores on the tasks, each under its own protocol."""
    return frame_of(
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
    return frame_of(
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


def held_out_table(evaluations: Sequence[EvalRow]) -> DataFrame:
    """The last evaluation on held-out text of base, vocabulary, start and trained."""
    last = {row.model: row for row in evaluations}
    first = last.get("base") or last.get("start")
    frame = frame_of(
        {
            "Model": model,
            "Training tokens": count(row.tokens),
            "Bits per byte": f"{row.bits_per_byte:.3f}",
            "Change": change_text(first, row),
            "Piece frequencies alone": _figure(row.unigram_bits_per_byte),
            "Accuracy of masked words": NOTHING if row.words_recovered is None else percent(row.words_recovered, 1),
            "Most frequent word": NOTHING if row.most_frequent_word is None else percent(row.most_frequent_word, 1),
            "Loss per token": f"{row.eval_loss:.3f}",
            "Perplexity": _perplexity(row.eval_loss),
            "Masked words": NOTHING if row.masked_words is None else count(row.masked_words),
            "Masked tokens": count(row.masked_pieces),
            "Masked bytes": count(row.masked_bytes),
            "Unknown bytes": percent(row.unknown_bytes, row.masked_bytes),
            "Normalized characters": NOTHING
            if row.normalized_characters is None
            else count(row.normalized_characters),
        }
        for model in ("base", "vocabulary", "start", "trained")
        if (row := last.get(model))
    )
    return without_empty(frame)


def arms_table(arms: Sequence[ArmRow]) -> DataFrame:
    """The variants of a study: start, tokens, cost, and bits per byte before and after."""
    return without_empty(
        frame_of(
            {
                "Variant": row.name,
                "Strategy": row.strategy,
                "From": short_path(row.base),
                "Tokens": count(row.tokens) if row.tokens else NOTHING,
                "Parameters": count(row.parameters) if row.parameters else NOTHING,
                "Training": duration(row.seconds) if row.seconds else NOTHING,
                "Peak memory": memory(row.peak_memory_bytes) if row.peak_memory_bytes else NOTHING,
                "Bits per byte": _bits(row),
            }
            for row in arms
        )
    )


def _perplexity(loss: float) -> str:
    value = math.exp(loss) if loss < 700 else math.inf
    return f"{value:.3g}" if value < 100 else count(value) if math.isfinite(value) else "∞"


def _bits(row: ArmRow) -> str:
    if row.bits_after is None:
        return NOTHING
    return f"{row.bits_after:.3f}" if row.bits_before is None else f"{row.bits_before:.3f} → {row.bits_after:.3f}"


def corpora_table(corpora: CorporaRow) -> DataFrame:
    """The documents and tokens of each corpus, and why documents were left out."""
    return frame_of(
        {
            "Corpus": _corpus(row),
            "Read": count(row.documents_read),
            "Filtered": count(row.filtered),
            "Duplicates": count(row.duplicates),
            "Near-duplicates": count(row.near_duplicates),
            "Overlapping": count(row.overlapping),
            "Held out": count(row.held_out),
            "For training": count(row.documents),
            "Tokens": count(row.tokens),
            "Repeat": f"{row.repeat:g}",
        }
        for row in corpora.corpora
    )


def licences_table(corpora: CorporaRow) -> DataFrame:
    return frame_of(
        {
            "Corpus": _corpus(row),
            "Licence": row.licence or "not stated",
            "Stated in": row.licence_source or NOTHING,
            "Commercial use": "no" if row.non_commercial else "as the licence says",
            "Path": short_path(row.path),
        }
        for row in corpora.corpora
    )


def overlap_table(corpora: CorporaRow) -> DataFrame:
    """The tasks that the corpora were checked against."""
    return frame_of(
        {
            "Task": row.task,
            "Test documents": count(row.test_documents),
            "Too short to find inside others": count(row.whole_only),
            "Corpus documents left out": count(row.overlapping),
        }
        for row in corpora.overlap
    )


def vocabulary_table(row: VocabularyRow) -> DataFrame:
    return frame_of(
        [
            {"": "Vocabulary size", "Before": count(row.old_size), "After": count(row.new_size)},
            {
                "": "Tokens per word",
                "Before": f"{row.pieces_per_word_old:.2f}",
                "After": f"{row.pieces_per_word_new:.2f}",
            },
            *(
                [
                    {
                        "": "Words of synthetic English cases split differently",
                        "After": percent(row.other_words_changed, 1),
                    }
                ]
                if row.other_words_changed is not None
                else []
            ),
        ]
    ).fillna("")


def lineage_table(lineage: Lineage) -> DataFrame:
    return frame_of(
        {
            "Date": step.date,
            "Step": f"{step.strategy}, {step.language}",
            "From": short_path(step.base),
            "Corpora": ", ".join(step.corpora) + (" (synthetic)" if step.synthetic else ""),
            "Licences": ", ".join(dict.fromkeys(licence or "not stated" for licence in step.licences)),
            "Tokens": count(step.tokens),
            "Settings": step.settings_digest[:12],
            "Version": step.version,
        }
        for step in lineage.steps
    )


def settings_table(settings: Mapping[str, Any]) -> DataFrame:
    return frame_of({"Setting": name, "Value": value} for name, value in _flat(settings, ""))


def without_empty(frame: DataFrame) -> DataFrame:
    """The frame without columns that hold nothing."""
    return frame.loc[:, [column for column in frame if any(frame[column] != NOTHING)]]


def markdown(frame: DataFrame) -> str:
    """A pipe table; a cell cannot break out of it."""
    columns = [str(name) for name in frame.columns]
    rule = ["---:" if _is_numeric(frame, index) else "---" for index in range(len(columns))]
    lines = [columns, rule, *frame.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines) + "\n"


def html(frame: DataFrame) -> str:
    """A table with escaped cells. Numbers are aligned to the right; short cells are not wrapped."""
    numeric = [_is_numeric(frame, index) for index in range(len(frame.columns))]

    def cell(text: str, right: bool, tag: str) -> str:
        style = "number" if right else "short" if len(text) <= _SHORT else ""
        return f"<{tag}{f' class={style}' if style else ''}>{escape(text)}</{tag}>"

    def line(cells: Iterable[object], tag: str) -> str:
        parts = (cell(str(text), right, tag) for text, right in zip(cells, numeric, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "\n".join(line(cells, "td") for cells in frame.to_numpy().tolist())
    return f"<table>\n<thead>{line(frame.columns, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def score_text(score: Estimate) -> str:
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def difference_text(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return signed(difference.value)
    return f"{signed(difference.value)} ({signed(difference.low)} to {signed(difference.high)})"


def difference_sentence(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return f"difference {signed(difference.value)}, no interval"
    return (
        f"difference {signed(difference.value)}, 95 % interval {signed(difference.low)} to {signed(difference.high)}"
    )


def checks_table(certificate: CertificateRow) -> DataFrame:
    return frame_of(
        {
            "Check": check.name,
            "Measured": f"{check.value:.2g}",
            "At most": f"{check.limit:.2g}",
            "Result": "passed" if check.passed else "failed",
        }
        for check in certificate.checks
    )


def changes_table(certificate: CertificateRow) -> DataFrame:
    return frame_of(
        {"Field": change.field, "Source": change.before, "Result": change.after} for change in certificate.changes
    )


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def change_text(first: EvalRow | None, row: EvalRow) -> str:
    if first is None or first is row or not first.bits_per_byte:
        return NOTHING
    return signed(100 * (row.bits_per_byte / first.bits_per_byte - 1), 1) + f"{THIN}%"


def seeds_text(result: Result) -> str:
    return NOTHING if result.is_baseline else str(len(result.seeds))


def _score_line(comparison: Comparison, models: Iterable[str]) -> dict[str, str]:
    means = {result.model: score_text(result.score) for result in comparison.results}
    baselines = [result.model for result in comparison.results if result.is_baseline]
    seeds = {len(result.seeds) for result in comparison.results if not result.is_baseline}
    changed = change(comparison)
    return {
        "Task": comparison.task,
        "Metric": comparison.measure.metric + ("" if comparison.measure.split == "test" else ", dev"),
        "Gold": count(comparison.gold),
        **{model: means.get(model, NOTHING) for model in models},
        "Difference": difference_text(changed.difference) if changed else NOTHING,
        "Seeds": " or ".join(map(str, sorted(seeds))) or NOTHING,
        "Baselines": ", ".join(f"{model} {means[model]}" for model in baselines) or NOTHING,
    }


def _corpus(row: CorpusRow) -> str:
    return f"{row.name} (synthetic)" if row.synthetic else row.name


def _model(result: Result) -> str:
    return f"{result.model} (baseline)" if result.is_baseline else result.model


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                yield from _flat(item, f"{prefix}{name}[{number}].")
        else:
            yield prefix + name, str(value)


def frame_of(lines: Iterable[Mapping[str, str]]) -> DataFrame:
    """A row a mapping, its keys as columns."""
    from pandas import DataFrame

    return DataFrame(list(lines), dtype=object)


def _is_numeric(frame: DataFrame, index: int) -> bool:
    cells = [str(cell) for cell in frame.iloc[:, index] if cell != NOTHING]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _markdown_cell(cell: object) -> str:
    text = escape(str(cell), quote=False).replace("\\", "\\\\").replace("|", "\\|")
    return " ".join(text.split("\n"))
