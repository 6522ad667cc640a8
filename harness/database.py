"""The workspace's SQLite file: opening it, its transactions, and what can go wrong with it.

Write-ahead logging lets others read while one writes; writers of all threads and processes queue up. A killed process
leaves what it had committed, and nothing of what it had not.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from harness.errors import StoreError
from harness.schema import MIGRATIONS

_BUSY_SECONDS: Final = 30.0

_SPACE: Final = "free some space and run the same command again: what was committed is kept"
_PERMISSION: Final = "make the folder writable, or set HARNESS_HOME to one that is"
_DAMAGED: Final = "restore the file from a backup, or move it away to begin with an empty workspace"
_NEXT_STEP: Final = {
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: _SPACE,
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_CANTOPEN: _PERMISSION,
    sqlite3.SQLITE_PERM: _PERMISSION,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "another process is writing to it for too long: wait for it, or end it, and try again",
    sqlite3.SQLITE_PROTOCOL: "set HARNESS_HOME to a folder on a local disk: network disks lack the locks it needs",
}


class Database:
    """The workspace database, for all threads of a process.

    The file is created by the first transaction: reading a workspace that is not there finds it empty. Each
    transaction has a connection to itself while it lasts, so that one may read and write at once.

    Every method raises StoreError where the file cannot be read or written; the message names it and the next step.
    """

    def __init__(self, home: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.home = home.absolute()
        self.path = self.home / "workspace.db"
        self._migrations = migrations
        self._idle: list[sqlite3.Connection] = []
        self._process = os.getpid()
        # SQLite lets processes queue by polling; the threads of one need not.
        self._writer = threading.RLock()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All of its statements or, where an exception leaves it, none. Not to be nested.

        What it commits outlives the process; where it is `durable`, a power failure too, for the price of a sync.
        """
        with self._writer, self._connection() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For reading: all of its statements see the same state, whatever others commit meanwhile."""
        if not self.path.exists():
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
                self._prepare(empty)
                yield empty
            return
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield connection

    def close(self) -> None:
        """Close the file; it opens again when it is used."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._process != os.getpid():  # a fork's connections are its parent's
            self._idle, self._process = [], os.getpid()
        with _errors_of(self.path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        make_home(self.home)
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._check_version(connection)
        _use_wal(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        if self._check_version(connection) < len(self._migrations):
            self._migrate(connection)

    def _check_version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(self._migrations):
            raise StoreError(
                f"{self.path}: written by a newer version of the harness (schema {version}, this one knows "
                f"{len(self._migrations)}); upgrade vlm-harness, or set HARNESS_HOME to another folder"
            )
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been quicker.
            version = self._check_version(connection)
            if 0 < version < len(self._migrations):
                self._back_up(version)
            for script in self._migrations[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _back_up(self, version: int) -> None:
        copy = self.path.with_name(f"workspace.schema{version}.db")
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)


def make_home(home: Path) -> None:
    """Create the workspace's folder where it is not there.

    Raises:
        StoreError: it cannot be created.
    """
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            home.mkdir()
        except FileExistsError:
            if not home.is_dir():
                raise
        else:
            # A folder of ours inside somebody's repository is not to be committed.
            (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StoreError(f"{home}: the workspace cannot be created ({error.strerror}); {_PERMISSION}") from error


def _use_wal(connection: sqlite3.Connection) -> None:
    # The busy timeout does not hold for the change of the mode itself, which two openers of a new file may race for.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the transaction that it runs in.
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        next_step = _NEXT_STEP.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF)
        if next_step is None:  # a fault of ours, not of the file's
            raise
        raise StoreError(f"{path}: {error}; {next_step}") from error
