"""The licence under which a model can be distributed: the strictest of its base and its corpora."""

import re
from collections.abc import Iterable

# Ids of the hub, by what they require: at most a notice, attribution, the same licence.
_FREE = ("cc0-1.0", "pddl", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
_ATTRIBUTION = ("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by")
_SHARE_ALIKE = ("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl", "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0")
_NOBODY = "public-domain"
NOT_STATED = "not-stated"
_KNOWN = (*_FREE, *_ATTRIBUTION, *_SHARE_ALIKE)


def is_stated(licence: str) -> bool:
    return licence.strip().lower() not in ("", "not stated", "unknown")


def forbids_derivatives(licence: str) -> bool:
    """Whether a licence forbids to pass on what is made from the material: the ND licences of Creative Commons."""
    return "nd" in _hub_id(licence).split("-")


def strictest(licences: Iterable[str], non_commercial: bool) -> tuple[str, str | None]:
    """The licence id of the hub, and a name where that id is "other".

    No single id covers non-commercial material, a licence that is not stated or not known, and two share-alike
    licences that exclude each other. The table of licences in the card lists them one by one.
    """
    ids = {_hub_id(licence) for licence in licences}
    if non_commercial or any("nc" in name.split("-") for name in ids):
        return "other", "non-commercial"
    if ids and all(name.startswith(_NOBODY) for name in ids):
        return "other", _NOBODY
    ids = {name for name in ids if not name.startswith(_NOBODY)}  # requires nothing
    if not ids or not ids <= set(_KNOWN):
        return "other", NOT_STATED
    if len(ids & set(_SHARE_ALIKE)) > 1:
        return "other", "mixed-share-alike"
    return max(ids, key=_KNOWN.index), None


def hub_licence(licence: str) -> tuple[str, str | None]:
    """A licence that was chosen as the id of the hub, and a name where that id is "other"."""
    name = _hub_id(licence)
    return (name, None) if name in _KNOWN or name.startswith("cc-by-nc") else ("other", licence)


def _hub_id(licence: str) -> str:
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return name.removesuffix("-or-later").removesuffix("-only")
