"""Rows of a parquet or Arrow file from anybody: measured before they are unpacked, or refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import files
from .errors import InputError
from .files import missing_column, too_large

_ARROW_FILE = b"ARROW1"  # how an Arrow file begins; a stream does not
_FEATURES = b"huggingface"  # key of the schema's metadata, as datasets writes it
_TERMS = b"medlingua.terms"  # key of the schema's metadata
LARGEST_GROUP = 2**31  # bytes of one row group, unpacked: what is larger is taken for a bomb
_ROWS_A_BYTE = 1_000  # of a file: more are one row, written down once
_ROWS_PER_READ, _ROWS_PER_BATCH = 1_024, 64  # rows that are read, and made Python's, at once


def rows_of(file: Path, text_field: str, lists: tuple[str, ...] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a .parquet or .arrow file with their numbers, from 1. Of nested columns, of which a document
    takes none, `lists` are unpacked.

    Memory is that of 1,024 rows (of Arrow: of a batch, as it was written). A value that many rows share stays one
    until it is measured: a dictionary of one long text makes a bomb of a small file. InputError for a file that is
    damaged, lacks the column, holds text that is not UTF-8 or dates beyond the year 9999, says that a row
    group has more than LARGEST_GROUP bytes, or holds a text above `files.LARGEST`.
    """
    number = 0
    kind = file.suffix.lower().removeprefix(".")
    try:
        for batch in (_arrow_batches if kind == "arrow" else _parquet_batches)(file, text_field, lists):
            for row in _rows(batch, f"{file}, after row {number}"):
                number += 1
                yield number, row
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}, after row {number}: not UTF-8; write the file again with its text as UTF-8"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{file}: truncated or damaged {kind} file ({str(error).splitlines()[0]}); {number} documents "
            f"came before; copy or download it again"
        ) from error
    except (ValueError, OverflowError) as error:  # Python's dates end with the year 9999
        raise InputError(
            f"{file}, after row {number}: a date or number out of range ({error}); correct its column or leave it out"
        ) from error


def _columns(schema: pa.Schema, text_field: str, lists: tuple[str, ...], file: Path) -> list[str]:
    if text_field not in schema.names:
        raise missing_column(text_field, schema.names, file)
    taken = (text_field, *lists)
    return [field.name for field in schema if not pa.types.is_nested(field.type) or field.name in taken]


def _parquet_batches(file: Path, text_field: str, lists: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    schema = pq.read_schema(file)
    columns = _columns(schema, text_field, lists, file)
    texts = [field.name for field in schema if _is_text(field.type)]
    with pq.ParquetFile(file, read_dictionary=texts) as table:
        _check(table.metadata, file)
        yield from table.iter_batches(batch_size=_ROWS_PER_READ, columns=columns)


def _arrow_batches(file: Path, text_field: str, lists: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Batches of an Arrow stream, which `datasets` saves, or of an Arrow file; each is validated."""
    with pa.OSFile(str(file)) as handle:
        start = handle.read(len(_ARROW_FILE))
        handle.seek(0)
        if start == _ARROW_FILE:
            table = pa.ipc.open_file(handle)
            batches = (table.get_batch(number) for number in range(table.num_record_batches))
        else:
            table = pa.ipc.open_stream(handle)
            batches = iter(table)
        columns = _columns(table.schema, text_field, lists, file)
        for batch in batches:
            chosen = batch.select(columns)
            chosen.validate(full=True)
            yield chosen


def class_names(file: Path, column: str) -> tuple[str, ...]:
    """The names that `datasets` has noted for the numbers in a column, or in its lists; none where it has not."""
    try:
        if file.suffix == ".parquet":
            schema = pq.read_schema(file)
        else:
            with pa.OSFile(str(file)) as handle:
                whole = handle.read(len(_ARROW_FILE)) == _ARROW_FILE
                handle.seek(0)
                schema = (pa.ipc.open_file if whole else pa.ipc.open_stream)(handle).schema
        feature = json.loads((schema.metadata or {})[_FEATURES])["info"]["features"][column]
        while "names" not in feature:  # [ClassLabel], or {"feature": ClassLabel}
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(map(str, feature["names"]))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError):
        return ()  # a damaged file is refused where its rows are read


def write_table(table: pa.Table, file: Path, terms: dict[str, str | bool]) -> None:
    """Write whole or not at all. `terms` go with the file under any name: what its text may be used for, and why."""
    metadata = {**(table.schema.metadata or {}), _TERMS: json.dumps(terms).encode()}
    partial = file.with_suffix(".partial")
    pq.write_table(table.replace_schema_metadata(metadata), partial)
    partial.rename(file)


def terms_of(file: Path) -> dict[str, str | bool]:
    """What `write_table` noted of the text's use; empty for a file of another hand. InputError if it is damaged."""
    try:
        noted = json.loads((pq.read_schema(file).metadata or {}).get(_TERMS, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: damaged parquet file ({str(error).splitlines()[0]}); copy it again") from error
    if not isinstance(noted, dict) or not all(isinstance(value, str | bool) for value in noted.values()):
        raise InputError(f"{file}: the terms of use that its metadata hold are damaged; score the corpus again")
    return noted


def _check(metadata: pq.FileMetaData, file: Path) -> None:
    """InputError for a file that says it unpacks to more than a corpus would."""
    size = file.stat().st_size
    if metadata.num_rows > _ROWS_A_BYTE * size:
        raise InputError(f"{file}: {metadata.num_rows:,} rows in {size:,} bytes: a bomb, and no corpus")
    for group in range(metadata.num_row_groups):
        unpacked = metadata.row_group(group).total_byte_size
        if unpacked > LARGEST_GROUP:
            raise InputError(
                f"{file}: row group {group + 1} has {unpacked:,} bytes unpacked, more than {LARGEST_GROUP:,}; write "
                "the file again with smaller row groups"
            )


def _rows(batch: pa.RecordBatch, place: str) -> Iterator[dict[str, Any]]:
    """Rows of a batch, one at a time where a value is large."""
    longest = max((_longest(column) for column in batch.columns), default=0)
    if longest > files.LARGEST:
        raise too_large(place)
    batch_size = _ROWS_PER_BATCH if longest * _ROWS_PER_BATCH <= files.LARGEST else 1
    for start in range(0, batch.num_rows, batch_size):
        for row in batch.slice(start, batch_size).to_pylist():
            yield {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}


def _longest(column: pa.Array) -> int:
    """Bytes of a column's longest text; 0 where it holds none."""
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    return (pc.max(pc.binary_length(values)).as_py() or 0) if _is_text(values.type) else 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
