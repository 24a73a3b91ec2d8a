"""Two texts in the formats that are no text, as bytes."""

import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq


def parquet_bytes(first: str, second: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["1", "2"], "text": [first, second]}), sink)
    return sink.getvalue()


def arrow_bytes(first: str, second: str) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": ["1", "2"], "text": [first, second]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zip_bytes(first: str, second: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.txt", first)
        archive.writestr("b.jsonl", json.dumps({"text": second}))
    return sink.getvalue()
