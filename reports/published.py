"""Published scores, each with its protocol as far as it is known: shown, never ranked with ours."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError, mismatch, nearest
from medlingua.languages.pack import read_toml
from pydantic import ValidationError

from .protocols import PARTS
from .rows import Row

FILE = Path(__file__).with_name("published.toml")


class Published(Row):
    """One score. task: of a language pack. value, spread: shares, not points; spread is a standard deviation or what
    the source writes after ±. Parts of the protocol that the source does not state are empty."""

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
        """Its known parts in words, and the names of the others."""
        known = "; ".join(f"{part}: {words}" for part in PARTS if (words := getattr(self, part)))
        missing = ", ".join(part for part in PARTS if not getattr(self, part))
        return f"{known or 'not described'}{f'. Not known: {missing}' if missing else ''}"


def read_published(file: Path = FILE) -> tuple[Published, ...]:
    """The scores of a TOML file: `[[groups]]` with common fields, each with its `[[groups.figures]]`.

    InputError for an unknown key or a wrong value, with its group.
    """
    published: list[Published] = []
    for number, group in enumerate(read_toml(file).get("groups", ()), 1):
        common = {key: value for key, value in group.items() if key != "figures"}
        published += [_published(common | own, f"{file}, group {number}") for own in group.get("figures", ())]
    return tuple(published)


def published_of(tasks: Iterable[tuple[str, str]]) -> tuple[Published, ...]:
    """The scores on some tasks, (name, language), in the order of the tasks, best first."""
    figures = read_published()
    return tuple(
        figure
        for task in dict.fromkeys(tasks)
        for figure in sorted(figures, key=lambda f: -f.value)
        if (figure.task, figure.language) == task
    )


def _published(fields: dict[str, Any], where: str) -> Published:
    try:
        score = Published.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        problem = f"{key}: {mismatch(first)}"
        if first["type"] == "extra_forbidden":
            problem = f"unknown key '{key}' ({nearest(key, Published.model_fields)})"
        raise InputError(f"{where}: {problem}; correct that entry") from error
    if not 0 <= score.value <= 1:
        raise InputError(
            f"{where}: {score.model} has the value {score.value}; write shares between 0 and 1, not points"
        )
    return score
