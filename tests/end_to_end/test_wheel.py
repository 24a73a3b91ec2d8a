"""The wheel: all of the tree is in it, and it runs outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = "adapters", "languages", "recipes", "reports"
DATA = {".py", ".toml", ".jinja", ".css", ".typed", ".sh", ".sbatch"}
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders where it runs."""
    copy, target = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


def packaged(file: Path) -> str:
    """The place of a file of the tree in the wheel."""
    inside = file.relative_to(ROOT).as_posix()
    return "medlingua/" + inside.removeprefix("recipes/api/")


def test_all_modules_and_data_of_the_rooms_are_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    files = [f for room in ROOMS for f in (ROOT / room).rglob("*") if f.suffix in DATA or f.name == "Containerfile"]
    expected = {packaged(f) for f in files if "__pycache__" not in f.parts}
    members = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert expected - members == set()
    assert members - expected == set()


def test_the_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import medlingua; print(medlingua.__file__)").startswith(str(site))
    assert run("-c", "import medlingua; print(medlingua.__version__)").strip() in wheel.name
    run("-m", "medlingua.recipes.command", "plan", "--help")
    settings = """
strategy = "scratch"
lang = "fr"
adapt = {size = "tiny", architecture = "bert", vocabulary = "replace", new_pieces = 600, length = 128}
data = {paths = ["synthetic"], synthetic_documents = 60}
train = {tokens = 2000, context = 64, precision = "fp32"}
eval = {tasks = "none"}
"""
    (elsewhere / "settings.toml").write_text(settings, encoding="utf-8")
    page = run("-m", "medlingua.recipes.command", "--config", "settings.toml", "--out", "run").strip()
    assert (elsewhere / page).read_text(encoding="utf-8").startswith("<!")
    assert (elsewhere / "run" / "model" / "model.safetensors").exists()
    assert "demo" in run("-c", "from medlingua.recipes.resolve import presets; print(presets())")


def test_the_checkout_runs_without_an_installation() -> None:
    """From the tree alone, without the metadata that an installation leaves."""
    program = """
import importlib.metadata
of_installed = importlib.metadata.version
def version(name):
    if name == "medlingua":
        raise importlib.metadata.PackageNotFoundError(name)
    return of_installed(name)
importlib.metadata.version = version
import medlingua, medlingua.recipes.walk
print(medlingua.__version__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()[0].isdigit()
