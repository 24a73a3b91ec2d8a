"""Every folder of the rooms is a package, so that none can be forgotten. All else stands in pyproject.toml."""

from setuptools import find_namespace_packages, setup

ROOMS = ("adapters", "languages", "recipes", "reports")
folders = find_namespace_packages(
    include=[name for room in ROOMS for name in (room, f"{room}.*")],
    # recipes/api is the package medlingua itself; what reports/ keeps of past runs is no code.
    exclude=["*.__pycache__", "recipes.api", "reports.notebooks*", "reports.notes*", "reports.results*"],
)
setup(packages=["medlingua", *(f"medlingua.{folder}" for folder in folders)])
