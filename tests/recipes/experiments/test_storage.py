"""Where a sweep keeps its trials."""

from pathlib import Path

import pytest
from medlingua.recipes.experiments.space import read_sweep
from medlingua.recipes.experiments.sweep import _claim, _study

from .test_space import FIXED, SPACE


@pytest.mark.parametrize("where", ["relative", "absolute"])
def test_workers_that_are_started_in_two_folders_share_a_database(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "studies.db" if where == "relative" else str(tmp_path / "elsewhere.db")
    plan = read_sweep({"trials": 4, "storage": f"sqlite:///{file}", "settings": FIXED, "space": SPACE}, {})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    _claim(Path("../sweep"), plan)
    _study(Path("../sweep"), plan).ask()
    monkeypatch.chdir(tmp_path / "b")
    _claim(tmp_path / "sweep", plan)
    assert len(_study(tmp_path / "sweep", plan).get_trials()) == 1
    assert (tmp_path / "sweep" / "studies.db").exists() == (where == "relative")
    assert not list((tmp_path / "a").iterdir()) + list((tmp_path / "b").iterdir())
