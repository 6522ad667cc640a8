"""Tables as text: JSON lines, and CSV that no spreadsheet takes for a program."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from harness.export.facts import Kind
from harness.export.table import Table
from harness.types import Json

# What makes a spreadsheet run a cell: its first character, in either width, or what is skipped before it. The
# quotes are there so that what is put before such a cell can be told from what a cell began with.
_ACTIVE = re.compile(r"'*[=+\-@\t\r\n\0＝＋－＠]")
_NUMBER = re.compile(r"[+-][0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def write_jsonl(table: Table, file: BinaryIO) -> None:
    """An object a row, a key a column; null where there is no value."""
    names = [column.name for column in table.columns]
    for row in table:
        file.write(msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n")


def write_csv(table: Table, file: BinaryIO) -> None:
    """RFC 4180 in UTF-8; empty cells where there is no value, lists and what is deeper as JSON, texts made harmless."""
    writer = csv.writer(_Encoding(file))
    writer.writerow(column.name for column in table.columns)
    kinds = [column.kind for column in table.columns]
    for row in table:
        writer.writerow(_cell(kind, value) for kind, value in zip(kinds, row, strict=True))


def harmless(text: str) -> str:
    """The text with a `'` before it where a spreadsheet would run it: OWASP's advice against CSV injection.

    To undo it, take the first `'` away where `'`s and then one of `= + - @`, a tab, a line break or a NUL follow on it.
    """
    return "'" + text if _ACTIVE.match(text) and not _NUMBER.fullmatch(text) else text


def as_json(kind: Kind, value: Json) -> Json:
    """The value for formats whose columns are of one kind each: text in place of any JSON."""
    return value if kind is not Kind.JSON or value is None else msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class _Encoding:
    """A file that takes text. Unlike a `TextIOWrapper` it leaves the file alone when something fails."""

    file: BinaryIO

    def write(self, text: str) -> int:
        return self.file.write(text.encode())


def _cell(kind: Kind, value: Json) -> str:
    if value is None:
        return ""
    if kind is Kind.TEXT:
        return harmless(value)
    return msgspec.json.encode(value).decode()
