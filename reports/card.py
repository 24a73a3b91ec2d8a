"""The model card: metadata for the hub, how to use the model, and the results of the run."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError

from . import findings, tables
from .bootstrap import read_tallies
from .licences import NOT_STATED, hub_licence, strictest
from .page import EXAMPLES, SCORES_CAPTION, templates
from .quantities import count, short_path
from .read import RunRecord, read_run, write_whole
from .scores import Comparison, by_protocol, compare

# A repository of the hub: "name" or "owner/name". A path of a machine has no place in the metadata.
_HUB_ID = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")
# Families whose positions start after that of the padding token.
_PADDED_POSITIONS = ("camembert", "longformer", "roberta", "xlm-roberta")
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def write_card(folder: Path) -> Path:
    """Write model/README.md of a run; returns its path."""
    model = folder / "model"
    if not model.is_dir():
        raise InputError(f"{model}: no such folder; the card is written once the run has saved its model")
    record = read_run(folder)
    template = templates(escape=False).get_template("card.md.jinja")
    return write_whole(
        model / "README.md", template.render(_view(record, compare(record.scores, read_tallies(folder))))
    )


def metadata(record: RunRecord, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The metadata of the hub, at the top of a card. `licence` in run.toml overrides that of base and corpora."""
    corpora = record.corpora.corpora if record.corpora else ()
    name = record.folder.resolve().name
    code = findings.language(record)
    licence, licence_name = strictest(_licences(record), any(row.non_commercial for row in corpora))
    if chosen := str(record.settings.get("licence", "")):
        licence, licence_name = hub_licence(chosen)
    tags = ["medlingua", "biomedical", "clinical", str(record.settings.get("strategy", "continue"))]
    fields: dict[str, Any] = {
        "language": [code] if code else [],
        "license": licence,
        "license_name": licence_name,
        "base_model": _hub_base(record),
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "tags": [*tags, "synthetic"] if findings.is_synthetic(record) else tags,
        "datasets": list(dict.fromkeys(_hub_datasets(row.path for row in corpora))),
    }
    if results := _results(record, comparisons):
        fields["model-index"] = [{"name": name, "results": results}]
    return {key: value for key, value in fields.items() if value}


def front_matter(fields: dict[str, Any]) -> str:
    """YAML with JSON values: every string is quoted, so no name can break the card."""
    lines = []
    for key, value in fields.items():
        if isinstance(value, list):
            lines.append(f"{key}:" + "".join(f"\n- {_yaml(item)}" for item in value))
        else:
            lines.append(f"{key}: {_yaml(value)}")
    return "\n".join(lines)


def _yaml(value: object) -> str:
    # YAML ends a line at characters where JSON does not, and refuses some that JSON accepts.
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def architecture(model: Path) -> list[tuple[str, str]]:
    """What a user has to know of a saved model: class, length, attention window and global attention."""
    config = _json(model / "config.json")
    lines = [("Class", f"`{config['architectures'][0]}`")] if config.get("architectures") else []
    if length := context_length(model):
        lines.append(("Length", f"{count(length)} tokens, special tokens included"))
    windows = config.get("attention_window") or config.get("local_attention")
    if windows:
        sizes = windows if isinstance(windows, list) else [windows]
        text = " to ".join(count(size) for size in sorted({min(sizes), max(sizes)}))
        lines.append(("Attention window", f"{text} tokens, both sides together"))
    if every := config.get("global_attn_every_n_layers"):
        lines.append(("Global attention", f"every {every} layers" if every > 1 else "all layers"))
    elif config.get("model_type") == "longformer":
        ids = config.get("global_token_ids")
        trained = f"trained for the tokens with ids {', '.join(map(str, ids))}" if ids else "not used in training"
        lines.append(("Global attention", f"{trained}; set `global_attention_mask` to 1 for tokens that need it"))
    return lines


def context_length(model: Path) -> int | None:
    """Tokens that a saved model reads at once, special tokens included; None where its files do not state it."""
    config, tokenizer = _json(model / "config.json"), _json(model / "tokenizer_config.json")
    stated = tokenizer.get("model_max_length")
    positions = config.get("max_position_embeddings")
    if positions and config.get("model_type") in _PADDED_POSITIONS:
        positions -= (config.get("pad_token_id") or 0) + 1
    lengths = [int(value) for value in (stated, positions) if isinstance(value, int | float) and 0 < value < 1e9]
    return min(lengths, default=None)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _view(record: RunRecord, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    model = record.folder / "model"
    return {
        "front_matter": front_matter(metadata(record, comparisons)),
        "name": record.folder.resolve().name,
        "summary": findings.summary(record),
        "synthetic": " (synthetic)" if findings.is_synthetic(record) else "",
        "warnings": [*findings.warnings(record, comparisons), *_about_licence(record)],
        "architecture": architecture(model),
        "length": context_length(model) or 512,
        "example": EXAMPLES.get(findings.language(record), "{}."),
        "lineage": record.lineage,
        "first_base": short_path(record.lineage.base) if record.lineage else "",
        "lineage_table": tables.lineage_table(record.lineage) if record.lineage else None,
        "licences_table": tables.licences_table(record.corpora) if record.corpora else None,
        "corpora_table": tables.corpora_table(record.corpora) if record.corpora else None,
        "held_out": tables.held_out_table(record.evaluations) if record.evaluations else None,
        "scores": {name: tables.score_table(group) for name, group in by_protocol(comparisons).items()},
        "scores_caption": SCORES_CAPTION,
        "path": "path/to/this/folder",
    }


def _about_licence(record: RunRecord) -> list[str]:
    """A sentence where no licence is known, and where the chosen one is not that of base and corpora."""
    chosen = str(record.settings.get("licence", ""))
    corpora = record.corpora.corpora if record.corpora else ()
    derived = strictest(_licences(record), any(row.non_commercial for row in corpora))
    if not chosen and derived[1] == NOT_STATED:
        return [
            "No licence is stated: those of base and corpora, listed below, do not determine one. Give the run one "
            "(--set licence=...), or edit this card, before you pass the model on."
        ]
    if not chosen or hub_licence(chosen) == derived:
        return []
    return [
        f"The licence {chosen} was chosen for this model. From the licences of base and corpora it would be "
        f"{derived[1] or derived[0]}."
    ]


def _hub_datasets(paths: Iterable[str]) -> Iterator[str]:
    """The hub ids among the places of corpora, which are paths or "hub:<id>@<revision>"."""
    for path in paths:
        name = path.removeprefix("hub:").partition("@")[0]
        if path.startswith("hub:") and _HUB_ID.fullmatch(name):
            yield name


def _hub_base(record: RunRecord) -> str | None:
    """The nearest base that is on the hub: no folder of this machine."""
    bases = [findings.base(record), record.lineage.base if record.lineage else ""]
    return next((base for base in bases if _HUB_ID.fullmatch(base) and not Path(base).exists()), None)


def _licences(record: RunRecord) -> list[str]:
    """The licences of the first base and of all corpora since."""
    corpora = record.corpora.corpora if record.corpora else ()
    licences = [row.licence for row in corpora]
    if record.lineage:
        steps = record.lineage.steps
        licences += [record.lineage.base_licence, *(licence for step in steps for licence in step.licences)]
    return licences


def _results(record: RunRecord, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    results = []
    for row in [row for row in record.evaluations if row.model == "trained"][-1:]:
        name = "bits per byte (15 % of the words masked, lower is better)"
        results.append(_result("fill-mask", "held-out text", "test", "bits_per_byte", name, row.bits_per_byte))
    for comparison in comparisons:
        result, measure = comparison.result("trained"), comparison.measure
        if result and measure.split == "test":
            seeds = f"mean of {result.score.n} seeds" if result.score.n > 1 else "one seed"
            name = f"{measure.metric} ({measure.protocol}, {seeds})"
            kind = "token-classification" if "ner" in measure.protocol.lower() else "text-classification"
            results.append(_result(kind, comparison.task, "test", measure.metric, name, result.score.value))
    return results


def _result(kind: str, dataset: str, split: str, metric: str, name: str, value: float) -> dict[str, Any]:
    return {
        "task": {"type": kind},
        "dataset": {"name": dataset, "type": re.sub(r"[^\w.-]+", "-", dataset), "split": split},
        "metrics": [{"type": metric, "name": name, "value": round(value, 4)}],
    }
