"""Every reader of files from anybody: what it read, or one InputError, whatever the bytes."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError

from .readers import READERS, harmed


@pytest.mark.parametrize("name", READERS)
def test_harmed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    read, good_of = READERS[name]
    good = good_of(tmp_path)
    read(tmp_path, good)
    for _ in range(20):
        seed = random.randrange(2**32)
        print(f"seed {seed}")  # the last one is shown where it fails
        with suppress(InputError):
            read(tmp_path, harmed(good, random.Random(seed)))
