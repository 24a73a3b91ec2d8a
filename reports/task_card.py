"""The card of a fine-tuned model: what it predicts, its use, its scores and their protocol, licences and limits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from medlingua.languages.lineage import Lineage

from . import tables
from .bootstrap import read_tallies
from .card import front_matter
from .licences import NOT_STATED, strictest
from .page import templates
from .protocols import PARTS, protocol_of
from .read import read_scores, write_whole
from .reliability import Bin, expected_calibration_error
from .scores import Comparison, compare

_PIPELINES = {
    "ner": "token-classification",
    "tagging": "token-classification",
    "answers": "question-answering",
    "choice": "multiple-choice",
}


def write_task_card(folder: Path, model: Path) -> Path:
    """Write README.md of the fine-tuned model in `model`, whose scores lie in `folder`; returns its path."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    record = config["medlingua"]
    lineage = Lineage.model_validate_json((model / "lineage.json").read_bytes())
    scores = [row for row in read_scores(folder / "results.jsonl") if row.task == record["task"]["name"]]
    comparisons = [
        comparison
        for comparison in compare(scores, read_tallies(folder))
        if comparison.measure.protocol == record["protocol"] and comparison.measure.split == "test"
    ]
    view = _view(model, record, lineage, comparisons)
    template = templates(escape=False).get_template("task_card.md.jinja")
    return write_whole(model / "README.md", template.render(view))


def licence_of(record: Mapping[str, Any], lineage: Lineage) -> tuple[str, str | None]:
    """The licence id of the hub, and a name where that id is "other": the strictest of the base's, its corpora's and
    the task's."""
    licences = [lineage.base_licence, *(licence for step in lineage.steps for licence in step.licences)]
    task = record["task"]
    return strictest([*licences, task.get("licence") or "not stated"], bool(task.get("non_commercial")))


def _view(
    model: Path, record: Mapping[str, Any], lineage: Lineage, comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    task, metric = record["task"], record["metric"]
    main = next((c for c in comparisons if c.measure.metric == metric), None)
    licence, licence_name = licence_of(record, lineage)
    fields_of_hub = {
        "language": [record["language"]],
        "license": licence,
        "license_name": licence_name,
        "library_name": "transformers",
        "pipeline_tag": _PIPELINES.get(task["kind"], "text-classification"),
        "tags": ["medlingua", "biomedical", "clinical", *(["synthetic"] if record.get("synthetic") else [])],
    }
    bins = [Bin.model_validate(row) for row in record.get("reliability", ())]
    protocol = protocol_of(record["protocol"])
    meaning = [(f.name, getattr(protocol, f.name)) for f in fields(protocol) if f.name in PARTS] if protocol else []
    return {
        "front_matter": front_matter({key: value for key, value in fields_of_hub.items() if value}),
        "record": record,
        "task": task,
        "labels": [" ".join(label.replace("`", "'").split()) for label in record["labels"]],
        "stock": record.get("stock_class", ""),
        "pipeline": _PIPELINES.get(task["kind"], "text-classification"),
        "longformer": "Longformer" in record.get("stock_class", ""),
        "scores": tables.ranking_table(main) if main else None,
        "kept": [(name, record["dev"].get(name), value) for name, value in record["test"].items()],
        "meaning": meaning,
        "calibration_error": expected_calibration_error(bins) if bins else None,
        "lineage": lineage,
        "licence": licence_name or licence,
        "licence_unknown": licence_name == NOT_STATED,
    }
