"""Base models: where the model that a run starts from lies."""

from pathlib import Path

from medlingua.languages.errors import InputError


def located(base: str) -> str:
    """The base as a folder or hub id; `package:name/folder` is a folder inside an installed package."""
    if not base.startswith("package:"):
        return base
    from importlib.util import find_spec

    name, _, inside = base.removeprefix("package:").partition("/")
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"base {base}: the package {name} is not installed; make demo installs it")
    return str(Path(spec.submodule_search_locations[0]) / inside)
