"""A corpus that yields fewer pieces than the default number; a number that was asked for stays an error."""

from collections.abc import Callable
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Run
from medlingua.recipes.walk import adapt


@pytest.mark.parametrize("kind", ["extend", "replace"])
def test_the_default_takes_what_the_texts_yield(
    kind: str, make_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = (f"adapt.vocabulary={kind}", "train.tokens=0", "eval.tasks=none")
    adapt(make_run(*sets), tmp_path / "run")
    assert "fewer than the default 16,000" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"yield (only )?[\d,]+ (new )?pieces of the 16,000 requested"):
        adapt(make_run(*sets, "adapt.new_pieces=16_000"), tmp_path / "asked")
