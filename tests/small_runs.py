"""What makes the report of a small run quicker, where it is not what is tested.

Figures have no PDF, which takes half of their time: tests/reports draws both, once for each kind of page. What a
change of vocabulary does to text of another language is shown on few texts, and distant facts are probed with few
cases.
"""

from typing import Any

from matplotlib.figure import Figure
from medlingua.recipes.strategies import convert, vocabulary

_savefig = Figure.savefig


def _save_as_svg_alone(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
    if format != "pdf":
        _savefig(figure, file, format=format, **options)


# Of what, the attribute, its value.
SVG_ALONE = (Figure, "savefig", _save_as_svg_alone)
SMALL: tuple[tuple[object, str, Any], ...] = (
    SVG_ALONE,
    (vocabulary, "_OTHER_CASES", 20),
    (convert, "_PROBE_CASES", 3),
)
