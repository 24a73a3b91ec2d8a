"""The licence a model can be passed on under: the strictest of its base and its corpora."""

import re
from collections.abc import Iterable

# The hub's names, by what they ask for: nothing or a name, the name kept, the same licence kept.
_FREE = ("cc0-1.0", "pddl", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
_ATTRIBUTION = ("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by")
_SHARE_ALIKE = ("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl", "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0")
_NOBODY = "public-domain"
_KNOWN = (*_FREE, *_ATTRIBUTION, *_SHARE_ALIKE)


def is_stated(licence: str) -> bool:
    return licence.strip().lower() not in ("", "not stated", "unknown")


def strictest(licences: Iterable[str], non_commercial: bool) -> tuple[str, str | None]:
    """The hub's licence id, and a name where that id is "other".

    Non-commercial material, a licence that is not stated or not known, and two share-alike licences that
    exclude each other cannot be put into one id: the card's licence table tells them one by one.
    """
    ids = {_hub_id(licence) for licence in licences}
    if non_commercial or any("nc" in name.split("-") for name in ids):
        return "other", "non-commercial"
    if ids and all(name.startswith(_NOBODY) for name in ids):
        return "other", _NOBODY
    ids = {name for name in ids if not name.startswith(_NOBODY)}  # asks for nothing
    if not ids or not ids <= set(_KNOWN):
        return "other", "unclear-see-corpora"
    if len(ids & set(_SHARE_ALIKE)) > 1:
        return "other", "mixed-share-alike"
    return max(ids, key=_KNOWN.index), None


def _hub_id(licence: str) -> str:
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return name.removesuffix("-or-later").removesuffix("-only")
