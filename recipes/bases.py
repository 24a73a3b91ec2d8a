"""Base models: the names that a pack gives them, the default of a strategy, and where their files lie."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from medlingua.languages.errors import InputError, check_name, nearest
from medlingua.languages.pack import Base, Pack, load_pack

PACKAGE = "package:"  # before the address of a model inside an installed package
SOURCE_LANGUAGE = "en"  # of the clinical models that --strategy continue starts from


def known_bases(pack: Pack) -> tuple[Base, ...]:
    """The bases of a language, then those of the source language."""
    own = {base.name for base in pack.bases}
    english = () if pack.code == SOURCE_LANGUAGE else load_pack(SOURCE_LANGUAGE).bases
    return (*pack.bases, *(base for base in english if base.name not in own))


def default_base(pack: Pack, strategy: Literal["convert", "continue"]) -> Base | None:
    """The base that a strategy starts from where none is named; None for a pack that names none."""
    name = pack.default_bases.get(strategy)
    return None if name is None else _known(name, pack)


def hub_id(base: str, pack: Pack) -> str:
    """The hub id of a base that the pack knows by this name; anything else as it is: a folder, a hub id."""
    check_name(base)
    if Path(base).exists():
        return base
    for known in known_bases(pack):
        if known.name == base:
            if known.hub is None:
                raise InputError(f"model {base}: the pack gives no hub id for it; give its folder")
            return known.hub
    names = [known.name for known in known_bases(pack)]
    if "/" not in base and get_close_matches(base, names, cutoff=0.8):  # the hub has ids without a slash too
        raise InputError(
            f"model {base}: no such folder, and no base of language {pack.code} ({nearest(base, names)}); "
            f"adapt bases --lang {pack.code} lists them"
        )
    return base


def located(base: str, root: str | None = None) -> str:
    """The base as a folder or hub id.

    `package:name/folder` is a folder inside an installed package; a hub model that `adapt fetch --model` put under
    the data root is read from there. A folder of that name goes before both.
    """
    if Path(base).is_dir():
        return base
    if root is not None and (fetched := Path(root) / "models" / base.replace("/", "--")).is_dir():
        return str(fetched)
    if not base.startswith(PACKAGE):
        return base
    from importlib.util import find_spec

    name, _, inside = base.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"model {base}: the package {name} is not installed; make demo installs it")
    return str(Path(spec.submodule_search_locations[0]) / inside)


def table_of_bases(pack: Pack) -> list[dict[str, str]]:
    """One row a base: name, hub id, family, context in tokens, size, licence, and which strategies start from it."""
    rows = []
    for base in known_bases(pack):
        strategies = [s for s, name in pack.default_bases.items() if name == base.name]
        rows.append(
            {
                "name": base.name,
                "hub": base.hub or "-",
                "family": base.family,
                "context": f"{base.context:,}",
                "parameters": "-" if base.parameters is None else f"{base.parameters / 1e6:,.0f} M",
                "licence": (base.licence or "not stated") + ("" if base.access == "open" else f", {base.access}"),
                "default of": ", ".join(strategies) or "-",
            }
        )
    return rows


def _known(name: str, pack: Pack) -> Base:
    for base in known_bases(pack):
        if base.name == name:
            return base
    raise InputError(f"pack {pack.code}: default_bases names '{name}', which is no base of it")
