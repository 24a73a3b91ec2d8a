"""Every command of the README and the guides: its options exist, its settings exist, the files it names are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from medlingua.recipes.command import app
from medlingua.recipes.resolve import check_keys, presets, setting
from medlingua.recipes.settings import Run

ROOT = Path(__file__).parents[1]
GUIDES = (
    "README.md",
    "recipes/README.md",
    "languages/README.md",
    "languages/fr/README.md",
    "languages/es/README.md",
    "languages/de/README.md",
    "adapters/README.md",
    "reports/README.md",
)


def commands(guide: str) -> list[list[str]]:
    """Lines that start with adapt in code blocks, without their comments."""
    parsed = []
    for line in (ROOT / guide).read_text(encoding="utf-8").splitlines():
        match = re.match(r"(?: {4}|\$ )?((?:torchrun .* -m medlingua\.recipes\.command|adapt) .*)", line)
        if match is not None and line.startswith((" ", "adapt ", "$ ", "torchrun")):
            words = shlex.split(match[1], comments=True)
            parsed.append(
                words[words.index("medlingua.recipes.command") + 1 :] if words[0] == "torchrun" else words[1:]
            )
    return parsed


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_of_a_guide_is_one_that_adapt_takes(guide: str) -> None:
    group = typer.main.get_command(app)
    for words in commands(guide):
        context = group.make_context("adapt", list(words))
        rest = [*context._protected_args, *context.args]
        if rest:
            _, command, arguments = group.resolve_command(context, rest)  # type: ignore[attr-defined]
            context = command.make_context(words[0], arguments, parent=context)
        for item in context.params.get("sets") or ():
            check_keys(setting(item), Run, f"{guide}: {shlex.join(words)}")
        assert context.params.get("preset") in (None, *presets()), words


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_of_a_guide_leads_to_a_file(guide: str) -> None:
    text = (ROOT / guide).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / guide).parent.joinpath(target).exists(), target


def test_the_readme_has_commands_to_check() -> None:
    assert len(commands("README.md")) > 8
    assert len(commands("recipes/README.md")) > 15
