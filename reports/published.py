"""Figures of papers and model cards, each with its protocol as far as it is known: shown, never ranked with ours."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import read_toml
from pydantic import ValidationError

from .protocols import PARTS
from .rows import Row

FILE = Path(__file__).with_name("published.toml")


class Published(Row):
    """One figure. task: of our packs. value, spread: shares, not points; spread is a standard deviation or what the
    source writes after ±. What the source does not say of its protocol is left out."""

    task: str
    language: str
    model: str
    metric_name: str
    value: float
    spread: float | None = None
    source: str
    metric: str = ""
    matching: str = ""
    averaging: str = ""
    splits: str = ""
    choice: str = ""
    documents: str = ""
    training: str = ""

    @property
    def protocol(self) -> str:
        """What is known of it, in words, and what is not."""
        told = "; ".join(f"{part}: {words}" for part in PARTS if (words := getattr(self, part)))
        missing = ", ".join(part for part in PARTS if not getattr(self, part))
        return f"{told or 'nothing is told'}{f'. Not known: {missing}' if missing else ''}"


def read_published(file: Path = FILE) -> tuple[Published, ...]:
    """The figures of a TOML file; `[[groups]]` share what they say, each with its `[[groups.figures]]`.

    InputError for a key or a value that does not fit, with its place.
    """
    found: list[Published] = []
    for number, group in enumerate(read_toml(file).get("groups", ()), 1):
        common = {key: value for key, value in group.items() if key != "figures"}
        found += [_figure(common | own, f"{file}, group {number}") for own in group.get("figures", ())]
    return tuple(found)


def published_of(tasks: Iterable[tuple[str, str]]) -> tuple[Published, ...]:
    """The figures of some tasks, (name, language), in the tasks' order, best first."""
    figures = read_published()
    return tuple(
        figure
        for task in dict.fromkeys(tasks)
        for figure in sorted(figures, key=lambda f: -f.value)
        if (figure.task, figure.language) == task
    )


def _figure(fields: dict[str, Any], where: str) -> Published:
    try:
        made = Published.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        hint = f" ({nearest(key, Published.model_fields)})" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{where}: {key}: {first['msg']}{hint}; correct that figure") from error
    if not 0 <= made.value <= 1:
        raise InputError(
            f"{where}: {made.model} has the value {made.value}; write shares between 0 and 1, not points"
        )
    return made
