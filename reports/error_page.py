"""A page of errors in their context, for the eyes of whoever may read the texts: it stays on this machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .page import templates
from .read import write_whole

_MOST = 2_000  # errors of a page


@dataclass(frozen=True, slots=True)
class Shown:
    """One error. before, words, after: of the text. gold, predicted: labels, "" where there is none."""

    model: str
    task: str
    document: str
    kind: str
    gold: str
    predicted: str
    before: str
    words: str
    after: str


def write_error_page(folder: Path, errors: Sequence[Shown]) -> Path:
    """Write errors.html of a folder: filters by model, kind and label, in plain HTML; returns its path."""
    filters = {
        "model": _numbered(error.model for error in errors),
        "kind": _numbered(error.kind for error in errors),
        "label": _numbered(error.gold or error.predicted for error in errors),
    }
    view = {
        "name": folder.resolve().name,
        "errors": errors[:_MOST],
        "left_out": max(0, len(errors) - _MOST),
        "filters": filters,
    }
    return write_whole(folder / "errors.html", templates(escape=True).get_template("errors.html.jinja").render(view))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Each name with a number, which stands for it in the page's ids and classes."""
    return {name: number for number, name in enumerate(sorted({*names}))}
