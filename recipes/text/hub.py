"""Corpora of the hub: streamed from it, or read from the folder that `adapt fetch` put under a data root."""

from collections.abc import Iterator
from pathlib import Path

from medlingua.languages.documents import Document, document_of, unnested
from medlingua.languages.errors import InputError, nearest, reason


def read_hub(
    name: str,
    place: str,
    *,
    text_field: str = "text",
    revision: str | None = None,
    config: str | None = None,
    split: str | None = None,
) -> Iterator[Document]:
    """The documents of a data set, streamed. name: of the corpus. place: its id on the hub, or a folder.

    text_field: "documents.text" for `text` of the objects in the column `documents`, a document each.
    split: None reads all of them, one after the other. InputError where it cannot be reached or read, for an unknown
    split and for rows without text.
    """
    from datasets import IterableDatasetDict, load_dataset

    try:
        loaded = load_dataset(place, config, revision=revision, streaming=True)
        splits = loaded if isinstance(loaded, IterableDatasetDict) else {"train": loaded}
        if split is not None and split not in splits:
            raise InputError(f"corpus {name}: {place} has no split '{split}'; {nearest(split, splits)}")
        for part in [split] if split is not None else splits:
            for number, row in enumerate(splits[part], 1):
                where = f"corpus {name}, {part}, row {number}"
                for place_in_row, item in enumerate(unnested(row, text_field), 1):
                    identity = f"{part}:{number}" if item is row else f"{part}:{number}:{place_in_row}"
                    yield document_of(item, identity, where, name, text_field)
    except (OSError, ConnectionError, ValueError, RuntimeError) as error:  # datasets' own are of these
        remedy = (
            "fetch it again"
            if Path(place).is_dir()
            else "Without a network give files with --corpus, or a data root with --data"
        )
        raise InputError(f"corpus {name}: {place} cannot be read ({reason(error)}). {remedy}") from error
