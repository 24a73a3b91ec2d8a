"""The card of an encoder beside its vectors: how to use it, what it was made from, and under which licences."""

from pathlib import Path

from medlingua.languages.lineage import Lineage

from .card import front_matter
from .licences import NOT_STATED, strictest
from .page import templates
from .quantities import short_path
from .read import write_whole


def write_encoder_card(model: Path, pooling: str) -> Path:
    """Write README.md of the encoder in `model`, whose lineage lies beside it; returns its path."""
    lineage = Lineage.model_validate_json((model / "lineage.json").read_bytes())
    licences = [lineage.base_licence, *(licence for step in lineage.steps for licence in step.licences)]
    licence, licence_name = strictest(licences, non_commercial=False)
    fields = {
        "license": licence,
        "license_name": licence_name,
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["medlingua", "biomedical", "clinical"],
    }
    template = templates(escape=False).get_template("encoder_card.md.jinja")
    view = {
        "front_matter": front_matter({key: value for key, value in fields.items() if value}),
        "base": short_path(lineage.base),
        "pooling": pooling,
        "lineage": lineage,
        "licence": licence_name or licence,
        "licence_unknown": licence_name == NOT_STATED,
    }
    return write_whole(model / "README.md", template.render(view))
