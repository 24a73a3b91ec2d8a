"""Reports of small runs with fewer figures, where figures are not what is tested. tests/reports draws them all."""

from typing import Any

from matplotlib.figure import Figure

_savefig = Figure.savefig


def save_as_svg_alone(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
    """Figure.savefig without the PDF, which takes half of its time."""
    if format != "pdf":
        _savefig(figure, file, format=format, **options)
