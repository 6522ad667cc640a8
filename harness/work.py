"""Work that is handed out: the jobs of a queue, the trials of a sweep, the stages of a pipeline.

Each item is carried out by one process at a time, which claims it in one transaction. An item whose process is gone is
claimed again; what its first process says later is refused, so that nothing is finished twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import Any, Final

import msgspec

from harness.database import Database
from harness.errors import LostClaim, UnknownName
from harness.processes import in_words, is_gone, this_process
from harness.types import Json

WAITING: Final = "waiting"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

LEASE_SECONDS: Final = 180.0
"""After so long without a word, a process of another machine counts as gone."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something made of items: a queue, a sweep, a pipeline.

    Attributes:
        kind: "queue", "sweep", "pipeline" …
        name: how people call it; unique among its kind.
        document: what it is.
        created: ISO 8601, UTC.
    """

    key: int
    kind: str
    name: str
    document: Mapping[str, Json]
    created: str


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One item, as it was when it was read.

    Attributes:
        work: the key of the work that it belongs to.
        name: unique in its work.
        document: what is to be done.
        status: waiting, running, done, failed or cancelled.
        attempt: how often it was claimed.
        process: who carries it out, or did last.
        result: what it gave; also of an attempt that failed, where it gave something.
        note: what whoever carries it out keeps for whoever goes on with it, such as how another system calls it.
        reason: why the last attempt ended before it was done.
        created, began, ended: when it was added, last claimed, and ended; ISO 8601, UTC.
    """

    key: int
    work: int
    name: str
    document: Mapping[str, Json]
    status: str
    attempt: int
    process: str | None
    result: Mapping[str, Json] | None
    note: Mapping[str, Json]
    reason: str | None
    created: str
    began: str | None
    ended: str | None

    @property
    def carrier(self) -> str:
        """Who carries it out, or did last, in words."""
        return "nobody" if self.process is None else in_words(self.process)


class WorkStore:
    """Reads and writes work in the workspace database. Safe under concurrent processes and threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, kind: str, name: str, document: Mapping[str, Json] | None = None) -> Work:
        """The work of that kind and name; made with the document where it is not there."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO work (kind, name, document, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (kind, name, _json(document or {}), _now()),
            )
            return _find(connection, kind, name)

    def get(self, kind: str, name: str) -> Work:
        """The work of that kind and name.

        Raises:
            UnknownName: there is none.
        """
        with self._database.reading() as connection:
            return _find(connection, kind, name)

    def all(self, kind: str) -> list[Work]:
        """All work of a kind, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM work WHERE kind = ? ORDER BY key DESC", (kind,)).fetchall()
        return [_work(row) for row in rows]

    def remove(self, work: Work) -> None:
        """Forget the work with its items."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM work WHERE key = ?", (work.key,))

    def add(self, work: Work, items: Mapping[str, Mapping[str, Json]]) -> int:
        """Add items by name, waiting, in this order; those that are there stay as they are.

        Returns:
            How many were added.
        """
        rows = [(work.key, name, _json(document), WAITING, _now()) for name, document in items.items()]
        query = (
            "INSERT INTO work_items (work, name, document, status, created) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING"
        )
        with self._database.transaction(durable=True) as connection:
            return connection.executemany(query, rows).rowcount

    def claim(self, work: Work, names: Collection[str] | None = None) -> WorkItem | None:
        """The next item for this process: the first that waits, or one whose process is gone; None where there is none.

        Args:
            names: only one of these.
        """
        with self._database.transaction() as connection:
            item = _first(connection, work, WAITING, names) or _abandoned(connection, work, names)
            if item is None:
                return None
            connection.execute(
                "UPDATE work_items SET status = ?, attempt = attempt + 1, process = ?, heard = ?, began = ?,"
                " ended = NULL WHERE key = ?",
                (RUNNING, this_process(), time.time(), _now(), item),
            )
            return _item(connection.execute("SELECT * FROM work_items WHERE key = ?", (item,)).fetchone())

    def beat(self, item: WorkItem, note: Mapping[str, Json] | None = None) -> None:
        """Say that the item is still being carried out, and keep a note with it where one is given.

        Raises:
            LostClaim: it is somebody else's, or was cancelled.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE work_items SET heard = ? WHERE key = ?", (time.time(), self._mine(connection, item))
            )
            if note is not None:
                connection.execute("UPDATE work_items SET note = ? WHERE key = ?", (_json(note), item.key))

    def done(self, item: WorkItem, result: Mapping[str, Json] | None = None) -> None:
        """It is done.

        Raises:
            LostClaim: it is somebody else's, or was cancelled.
        """
        self._end(item, DONE, result, None)

    def failed(self, item: WorkItem, reason: str, result: Mapping[str, Json] | None = None) -> None:
        """It failed, and is not tried again by itself.

        Raises:
            LostClaim: it is somebody else's, or was cancelled.
        """
        self._end(item, FAILED, result, reason)

    def give_back(self, item: WorkItem, reason: str) -> None:
        """It waits again, for this or another process.

        Raises:
            LostClaim: it is somebody else's, or was cancelled.
        """
        self._end(item, WAITING, None, reason)

    def again(self, work: Work, names: Collection[str] | None = None) -> int:
        """Items that failed or were cancelled wait again: all, or those of these names; how many is returned."""
        return self._set(work, names, (FAILED, CANCELLED), WAITING, None)

    def cancel(self, work: Work, names: Collection[str] | None = None, reason: str = "cancelled") -> int:
        """Items that wait or are carried out are cancelled; whoever carries one out learns it by its next word."""
        return self._set(work, names, (WAITING, RUNNING), CANCELLED, reason)

    def items(self, work: Work) -> list[WorkItem]:
        """All items, in the order in which they were added."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM work_items WHERE work = ? ORDER BY key", (work.key,)).fetchall()
        return [_item(row) for row in rows]

    def counts(self, work: Work) -> dict[str, int]:
        """Status -> how many items have it; statuses that none has are left out."""
        query = "SELECT status, count(*) FROM work_items WHERE work = ? GROUP BY status"
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query, (work.key,))}

    def _end(self, item: WorkItem, status: str, result: Mapping[str, Json] | None, reason: str | None) -> None:
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "UPDATE work_items SET status = ?, result = coalesce(?, result), reason = ?, ended = ? WHERE key = ?",
                (status, None if result is None else _json(result), reason, _now(), self._mine(connection, item)),
            )

    def _mine(self, connection: Connection, item: WorkItem) -> int:
        query = "SELECT status, attempt FROM work_items WHERE key = ?"
        row = connection.execute(query, (item.key,)).fetchone()
        if row is None or tuple(row) != (RUNNING, item.attempt):
            what = (
                "was removed"
                if row is None
                else "was claimed again"
                if row["status"] == RUNNING
                else f"is {row['status']}"
            )
            raise LostClaim(f"{item.name} {what} meanwhile; what this process made of it does not count")
        return item.key

    def _set(
        self, work: Work, names: Collection[str] | None, old: Collection[str], new: str, reason: str | None
    ) -> int:
        with self._database.transaction(durable=True) as connection:
            query = "SELECT key, name, status FROM work_items WHERE work = ?"
            chosen = [
                (new, reason, key)
                for key, name, status in connection.execute(query, (work.key,)).fetchall()
                if status in old and (names is None or name in names)
            ]
            connection.executemany("UPDATE work_items SET status = ?, reason = ? WHERE key = ?", chosen)
        return len(chosen)


def _first(connection: Connection, work: Work, status: str, names: Collection[str] | None) -> int | None:
    query = "SELECT key, name FROM work_items WHERE work = ? AND status = ? ORDER BY key"
    rows = connection.execute(query, (work.key, status))
    return next((key for key, name in rows if names is None or name in names), None)


def _abandoned(connection: Connection, work: Work, names: Collection[str] | None) -> int | None:
    query = "SELECT key, name, process, heard FROM work_items WHERE work = ? AND status = ? ORDER BY key"
    for key, name, process, heard in connection.execute(query, (work.key, RUNNING)).fetchall():
        silent = not _is_here(process) and time.time() - heard > LEASE_SECONDS
        if (names is None or name in names) and (is_gone(process) or silent):
            found: int = key
            return found
    return None


def _is_here(process: str) -> bool:
    return process.rsplit(" ", 2)[0] == this_process().rsplit(" ", 2)[0]


def _find(connection: Connection, kind: str, name: str) -> Work:
    row = connection.execute("SELECT * FROM work WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    if row is None:
        known = connection.execute("SELECT name FROM work WHERE kind = ? ORDER BY key DESC", (kind,)).fetchall()
        raise UnknownName(kind, name, [other for (other,) in known])
    return _work(row)


def _work(row: Mapping[str, Any]) -> Work:
    columns = {name: row[name] for name in Work.__dataclass_fields__}
    return Work(**{**columns, "document": msgspec.json.decode(columns["document"])})


def _item(row: Mapping[str, Any]) -> WorkItem:
    columns = {name: row[name] for name in WorkItem.__dataclass_fields__}
    for name in ("document", "result", "note"):
        columns[name] = None if columns[name] is None else msgspec.json.decode(columns[name])
    return WorkItem(**columns)


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
