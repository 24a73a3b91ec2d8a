"""A list of tokens and a list of their tags, a row a text: data sets of the hub, in JSON lines, parquet and Arrow."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import Example
from ..documents import without_nul
from ..errors import InputError, kind_of
from ..files import missing_column
from .conll import NO_TOKEN, TAG, entities_document
from .tables import json_rows
from .tokens import Token, tagged_document

_EMPTY = "rows left out, which have no token: {n}"
_COLUMNAR = (".parquet", ".arrow")


def read_bio_lists(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    tokens: str = "tokens",
    tags: str = "ner_tags",
    names: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Entities in BIO tags (IOB1, BIOES, BILOU and BMES too, as in `read_conll`), each row a document.

    `tokens` and `tags` name columns of lists. Tags are strings, or numbers of `names`; without `names` those that
    `datasets` has noted in a parquet or Arrow file. The text is the tokens joined by spaces. A tag whose token has no
    visible character and a row without a token are left out, and `notes` counts them. InputError for lists of
    different lengths, numbers without a name, and tags that are not BIO.
    """
    notes = Counter() if notes is None else notes
    for identity, place, block in _rows(path, tokens, tags, names, notes):
        for _, tag in block:
            if not TAG.fullmatch(tag):
                raise InputError(
                    f"{place}: a tag that is not O, B-X, I-X, E-X or S-X; correct it, or 'names' in the options; "
                    "a tag for each token, such as parts of speech, has kind tagging and the reader tag_lists",
                    text=tag,
                )
        yield entities_document([block], identity, source, notes)


def read_tag_lists(
    path: Path,
    *,
    source: str,
    notes: Counter[str] | None = None,
    tokens: str = "tokens",
    tags: str = "tags",
    names: tuple[str, ...] = (),
) -> Iterator[Example]:
    """A tag for each token, any words; else as `read_bio_lists`."""
    for identity, _, block in _rows(path, tokens, tags, names, Counter() if notes is None else notes):
        yield tagged_document(identity, [block], source)


def _rows(
    path: Path, tokens: str, tags: str, names: tuple[str, ...], notes: Counter[str]
) -> Iterator[tuple[str, str, list[Token]]]:
    """The id of each row, its place in the file, and its tokens with their tags.

    The id has the folder's name: the hub calls the files of train and of test alike.
    """
    rows: Iterator[tuple[str, dict[str, Any]]]
    if path.suffix in _COLUMNAR:
        from ..parquet import class_names, rows_of  # pyarrow is slow to import

        names = names or class_names(path, tags)
        rows = ((f"row {number}", row) for number, row in rows_of(path, tokens, (tags,)))
    else:
        rows = json_rows(path)
    any_tokens = False
    for number, (where, row) in enumerate(rows, 1):
        place = f"{path}, {where}"
        block = _block(row, tokens, tags, names, place, notes)
        if block:
            any_tokens = True
            yield f"{path.parent.name}/{path.name}:{number}", place, block
        else:
            notes[_EMPTY] += 1
    if not any_tokens:
        raise InputError(f"{path}: no tokens in it; give a file with a list of tokens and one of tags a row")


def _block(
    row: dict[str, Any], tokens: str, tags: str, names: tuple[str, ...], place: str, notes: Counter[str]
) -> list[Token]:
    for column in (tokens, tags):
        if column not in row:
            raise missing_column(column, row, place)
        if not isinstance(row[column], list):
            raise InputError(f"{place}: '{column}' holds {kind_of(row[column])}, not a list; correct it")
    if len(row[tokens]) != len(row[tags]):
        raise InputError(
            f"{place}: {len(row[tokens]):,} in '{tokens}' and {len(row[tags]):,} in '{tags}'; give each token a tag"
        )
    block = []
    for token, value in zip(row[tokens], row[tags], strict=True):
        if not isinstance(token, str):
            raise InputError(f"{place}: '{tokens}' holds {kind_of(token)} in the place of a token; correct it")
        tag = _tag(value, tags, names, place)
        if token.strip():
            block.append((without_nul(token.strip(), place), tag))
        else:
            notes[NO_TOKEN] += 1
    return block


def _tag(value: object, column: str, names: tuple[str, ...], place: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{place}: '{column}' holds {kind_of(value)} in the place of a tag; correct it")
    if not 0 <= value < len(names):
        known = f"{len(names)} tags have a name" if names else "the file does not name its tags"
        raise InputError(
            f"{place}: '{column}' holds the number {value}, and {known}: give all names in their order, "
            'options = { names = ["O", "B-X", "I-X"] }'
        )
    return names[value]
