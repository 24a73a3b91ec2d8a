import os
from pathlib import Path

import pytest

LANGUAGES = ("fr", "es", "de", "en", "it")
ROOT = Path(os.environ.get("MEDLINGUA_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"needs real data: set MEDLINGUA_DATA to a data root ({ROOT} is not there)"
)


@pytest.fixture(scope="session")
def data() -> Path:
    return ROOT
