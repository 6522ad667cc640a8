"""Tables as parquet, a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import msgspec

from harness.export.facts import Kind
from harness.export.table import Table
from harness.export.text import as_json
from harness.types import Json

ROWS = 5_000
"""In a row group, at most."""
BYTES = 32_000_000
"""Of texts and maps in a row group, about, at most."""
METADATA = b"harness.run"
"""Where a file's schema keeps the run's document."""


def write_parquet(table: Table, file: BinaryIO) -> None:
    """Row groups of bounded size; the run's document is in the schema's metadata, as JSON under `harness.run`."""
    import pyarrow.parquet

    writer = pyarrow.parquet.ParquetWriter(file, schema(table), compression="zstd")
    try:
        for batch in batches(table):
            writer.write_batch(batch)
        writer.close()
    except BaseException:
        with suppress(Exception):
            writer.close()
        writer.is_open = False  # else it tries to write the file's end once more when it is collected
        raise


def schema(table: Table) -> Any:
    """The table's columns as a `pyarrow.Schema`."""
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.TRUTH: pa.bool_(),
        Kind.TEXTS: pa.list_(pa.string()),
        Kind.INTEGERS: pa.list_(pa.int64()),
        Kind.NUMBERS: numbers,
        Kind.MAP: pa.list_(numbers),
        Kind.JSON: pa.string(),
    }
    fields = [(column.name, types[column.kind]) for column in table.columns]
    return pa.schema(fields, metadata={METADATA: msgspec.json.encode(table.document)})


def batches(table: Table) -> Iterator[Any]:
    """The rows as `pyarrow.RecordBatch`es, none where there are no rows."""
    import pyarrow as pa

    layout = schema(table)
    kinds = [column.kind for column in table.columns]
    rows: list[list[Json]] = []
    size = 0
    for row in table:
        rows.append([as_json(kind, value) for kind, value in zip(kinds, row, strict=True)])
        size += sum(map(_size, row))
        if len(rows) == ROWS or size > BYTES:
            yield _batch(pa, layout, rows)
            rows, size = [], 0
    if rows:
        yield _batch(pa, layout, rows)


def _batch(pa: Any, layout: Any, rows: list[list[Json]]) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, layout.types, strict=True)]
    return pa.record_batch(arrays, schema=layout)


def _size(value: Json) -> int:
    """Bytes of a value, about."""
    if isinstance(value, str):
        return len(value)
    return sum(map(_size, value)) if isinstance(value, list) else 8
