"""The model card: the hub's metadata and the same numbers as the report, beside the weights."""

import json
import re
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError

from . import findings, tables
from .licences import strictest
from .page import SCORES_CAPTION, templates
from .quantities import place
from .read import RunRecord, read_run, write_whole
from .scores import by_protocol, compare

# A repository of the hub: "name" or "owner/name". A path on a disk has no place in the metadata.
_HUB_ID = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def write_card(folder: Path) -> Path:
    """Write model/README.md of a run; gives its path."""
    model = folder / "model"
    if not model.is_dir():
        raise InputError(f"{model}: no such folder; the card is written once the run has saved its model")
    record = read_run(folder)
    template = templates(escape=False).get_template("card.md.jinja")
    return write_whole(model / "README.md", template.render(_view(record)))


def metadata(record: RunRecord) -> dict[str, Any]:
    """What the hub reads at the top of a card."""
    corpora = record.corpora.corpora if record.corpora else ()
    name = record.folder.resolve().name
    code = findings.language(record)
    licence, licence_name = strictest(_licences(record), any(row.non_commercial for row in corpora))
    tags = ["medlingua", "biomedical", "clinical", str(record.settings.get("strategy", "continue"))]
    fields: dict[str, Any] = {
        "language": [code] if code else [],
        "license": licence,
        "license_name": licence_name,
        "base_model": _hub_base(record),
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "tags": [*tags, "synthetic"] if findings.is_synthetic(record) else tags,
        "datasets": [row.name for row in corpora if _HUB_ID.fullmatch(row.name)],
    }
    if results := _results(record):
        fields["model-index"] = [{"name": name, "results": results}]
    return {key: value for key, value in fields.items() if value}


def front_matter(fields: dict[str, Any]) -> str:
    """YAML, written as JSON values: every string is quoted, so no name can break the card."""
    lines = []
    for key, value in fields.items():
        if isinstance(value, list):
            lines.append(f"{key}:" + "".join(f"\n- {_yaml(item)}" for item in value))
        else:
            lines.append(f"{key}: {_yaml(value)}")
    return "\n".join(lines)


def _yaml(value: object) -> str:
    # YAML ends a line where JSON does not, and refuses some characters that JSON lets through.
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _view(record: RunRecord) -> dict[str, Any]:
    return {
        "front_matter": front_matter(metadata(record)),
        "name": record.folder.resolve().name,
        "summary": findings.summary(record),
        "synthetic": " (synthetic)" if findings.is_synthetic(record) else "",
        "warnings": findings.warnings(record),
        "lineage": record.lineage,
        "first_base": place(record.lineage.base) if record.lineage else "",
        "lineage_table": tables.lineage_table(record.lineage) if record.lineage else None,
        "licences_table": tables.licences_table(record.corpora) if record.corpora else None,
        "corpora_table": tables.corpora_table(record.corpora) if record.corpora else None,
        "bits": tables.bits_per_byte_table(record.evaluations) if record.evaluations else None,
        "scores": {name: tables.score_table(group) for name, group in by_protocol(record.scores).items()},
        "scores_caption": SCORES_CAPTION,
        "path": "path/to/this/folder",
    }


def _hub_base(record: RunRecord) -> str | None:
    """The nearest base that the hub can know: a folder on a disk is not one."""
    bases = [findings.base(record), record.lineage.base if record.lineage else ""]
    return next((base for base in bases if _HUB_ID.fullmatch(base) and not Path(base).exists()), None)


def _licences(record: RunRecord) -> list[str]:
    """Every licence on the way from the first base to this model."""
    corpora = record.corpora.corpora if record.corpora else ()
    licences = [row.licence for row in corpora]
    if record.lineage:
        steps = record.lineage.steps
        licences += [record.lineage.base_licence, *(licence for step in steps for licence in step.licences)]
    return licences


def _results(record: RunRecord) -> list[dict[str, Any]]:
    results = []
    for row in [row for row in record.evaluations if row.model == "trained"][-1:]:
        name = "bits per byte (15 % of the words masked, lower is better)"
        results.append(_result("fill-mask", "held-out text", "test", "bits_per_byte", name, row.bits_per_byte))
    for comparison in compare(record.scores):
        result, measure = comparison.result("trained"), comparison.measure
        if result and measure.split == "test":
            seeds = f"mean of {result.mean.n} seeds" if result.mean.n > 1 else "one seed"
            name = f"{measure.metric} ({measure.protocol}, {seeds})"
            kind = "token-classification" if "ner" in measure.protocol.lower() else "text-classification"
            results.append(_result(kind, comparison.task, "test", measure.metric, name, result.mean.mean))
    return results


def _result(kind: str, dataset: str, split: str, metric: str, name: str, value: float) -> dict[str, Any]:
    return {
        "task": {"type": kind},
        "dataset": {"name": dataset, "type": re.sub(r"[^\w.-]+", "-", dataset), "split": split},
        "metrics": [{"type": metric, "name": name, "value": round(value, 4)}],
    }
