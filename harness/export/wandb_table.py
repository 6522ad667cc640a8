"""Tables as the file that W&B keeps a `wandb.Table` in, written without its SDK."""

from __future__ import annotations

from typing import BinaryIO

import msgspec

from harness.export.facts import Kind
from harness.export.table import Table
from harness.export.text import as_json
from harness.types import Json

_NAMES = {Kind.INTEGER: "number", Kind.NUMBER: "number", Kind.TRUTH: "boolean"}
_ELEMENTS = {Kind.TEXTS: "string", Kind.INTEGERS: "number", Kind.NUMBERS: "number"}


def write_wandb_table(table: Table, file: BinaryIO) -> None:
    """One JSON object, its rows a line each; `NAME.table.json` in an artifact is the table `NAME`."""
    encode = msgspec.json.encode
    columns = table.columns
    file.write(b'{"_type":"table","columns":' + encode([column.name for column in columns]) + b',"data":[')
    for number, row in enumerate(table):
        cells = [as_json(column.kind, value) for column, value in zip(columns, row, strict=True)]
        file.write((b",\n" if number else b"\n") + encode(cells))
    types = {column.name: _type(column.kind) for column in columns}
    rest = {
        "ncols": len(columns),
        "nrows": table.rows,
        "column_types": {"wb_type": "typedDict", "params": {"type_map": types}},
        "log_mode": "IMMUTABLE",
    }
    file.write(b"\n]," + encode(rest)[1:] + b"\n")


def _type(kind: Kind) -> dict[str, Json]:
    """A column's type, any of whose values may be null."""
    own: dict[str, Json] = {"wb_type": _NAMES.get(kind, "string")}
    if kind in _ELEMENTS:
        own = {"wb_type": "list", "params": {"element_type": {"wb_type": _ELEMENTS[kind]}, "length": None}}
    return {"wb_type": "union", "params": {"allowed_types": [{"wb_type": "none"}, own]}}
