"""Versions, their files, aliases and the aliases' moves, as rows of the workspace database.

Each function works inside the transaction of its caller.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from harness.digests import FileDigest, manifest_digest
from harness.errors import CheckpointError, UnknownName, UnknownVersion
from harness.publication import numbered, other_type
from harness.types import AliasMove, Version


def names(connection: sqlite3.Connection) -> list[str]:
    """All names that have a version, sorted."""
    return [name for (name,) in connection.execute("SELECT DISTINCT name FROM versions ORDER BY name")]


def check_name(connection: sqlite3.Connection, name: str) -> None:
    """Raises UnknownName where there is no such name."""
    known = names(connection)
    if name not in known:
        raise UnknownName("checkpoint", name, known, "`harness checkpoints log` lists them")


def numbers(connection: sqlite3.Connection, name: str) -> list[int]:
    """The numbers of all versions of a name, newest first."""
    rows = connection.execute("SELECT number FROM versions WHERE name = ? ORDER BY number DESC", (name,))
    return [number for (number,) in rows]


def find(connection: sqlite3.Connection, name: str, ref: str) -> int:
    """The number of the version that `vN` or an alias stands for; raises UnknownVersion where there is none."""
    check_name(connection, name)
    existing = numbers(connection, name)
    aliases = dict(connection.execute("SELECT alias, number FROM aliases WHERE name = ?", (name,)).fetchall())
    if ref in aliases:
        return int(aliases[ref])
    number = numbered(ref)
    if number is not None and number in existing:
        return number
    known = [*aliases, *(f"v{number}" for number in existing[:5])]
    raise UnknownVersion(name, ref, known, f"`harness checkpoints log {name}` lists them")


def version(connection: sqlite3.Connection, name: str, number: int) -> Version:
    """What is known of a version that exists."""
    row = connection.execute(
        "SELECT c.type, v.digest, v.created, v.metadata, v.parents, (SELECT sum(size) FROM version_files"
        " WHERE version = v.id) FROM versions v JOIN checkpoints c ON c.name = v.name"
        " WHERE v.name = ? AND v.number = ?",
        (name, number),
    ).fetchone()
    aliases = connection.execute(
        "SELECT alias FROM aliases WHERE name = ? AND number = ? ORDER BY alias", (name, number)
    )
    type_, digest, created, metadata, parents, size = row
    return Version(
        name, number, digest, type_, tuple(alias for (alias,) in aliases), created, size,
        json.loads(metadata), tuple(json.loads(parents)),
    )  # fmt: skip


def files(connection: sqlite3.Connection, name: str, number: int) -> dict[str, FileDigest]:
    """The files of a version that exists, by their names, sorted."""
    rows = connection.execute(
        "SELECT f.path, f.sha256, f.md5, f.size FROM versions v JOIN version_files f ON f.version = v.id"
        " WHERE v.name = ? AND v.number = ? ORDER BY f.path",
        (name, number),
    )
    return {path: FileDigest(*content) for path, *content in rows}


def stored_files(
    connection: sqlite3.Connection, name: str | None, number: int | None
) -> list[tuple[str, str, FileDigest]]:
    """(version, file's name, content) of a version's files, of those of all a name's versions, or of all."""
    rows = connection.execute(
        "SELECT v.name || ':v' || v.number, f.path, f.sha256, f.md5, f.size"
        " FROM versions v JOIN version_files f ON f.version = v.id"
        " WHERE v.name = coalesce(?, v.name) AND v.number = coalesce(?, v.number)"
        " ORDER BY v.name, v.number, f.path",
        (name, number),
    )
    return [(version, path, FileDigest(*content)) for version, path, *content in rows]


def newest(connection: sqlite3.Connection, name: str, type: str) -> int | None:
    """The number of a name's newest version; a name that is new is entered.

    Raises:
        CheckpointError: the name is one of another type.
    """
    connection.execute("INSERT OR IGNORE INTO checkpoints (name, type, next) VALUES (?, ?, 0)", (name, type))
    (kept,) = connection.execute("SELECT type FROM checkpoints WHERE name = ?", (name,)).fetchone()
    if kept != type:
        raise CheckpointError(other_type(name, kept, type))
    (number,) = connection.execute("SELECT max(number) FROM versions WHERE name = ?", (name,)).fetchone()
    return None if number is None else int(number)


def add(
    connection: sqlite3.Connection,
    name: str,
    contents: Mapping[str, FileDigest],
    metadata: str,
    parents: Sequence[str],
) -> int:
    """Enter a new version of a name that is entered; its number."""
    (number,) = connection.execute("SELECT next FROM checkpoints WHERE name = ?", (name,)).fetchone()
    connection.execute("UPDATE checkpoints SET next = next + 1 WHERE name = ?", (name,))
    digest = manifest_digest({path: file.md5 for path, file in contents.items()})
    row = connection.execute(
        "INSERT INTO versions (name, number, digest, created, metadata, parents) VALUES (?, ?, ?, ?, ?, ?)",
        (name, number, digest, _now(), metadata, json.dumps(parents)),
    )
    connection.executemany(
        "INSERT INTO version_files (version, path, sha256, md5, size) VALUES (?, ?, ?, ?, ?)",
        ((row.lastrowid, path, file.sha256, file.md5, file.size) for path, file in contents.items()),
    )
    return int(number)


def alias_holder(connection: sqlite3.Connection, name: str, alias: str) -> int | None:
    """The number of the version that an alias is at."""
    row = connection.execute("SELECT number FROM aliases WHERE name = ? AND alias = ?", (name, alias)).fetchone()
    return None if row is None else int(row[0])


def move_alias(connection: sqlite3.Connection, name: str, alias: str, number: int, reason: str) -> None:
    """Put an alias at a version that exists, and note the move if it is one."""
    before = alias_holder(connection, name, alias)
    if before == number:
        return
    connection.execute("INSERT OR REPLACE INTO aliases (name, alias, number) VALUES (?, ?, ?)", (name, alias, number))
    _note_move(connection, name, alias, before, number, reason)


def remove_alias(connection: sqlite3.Connection, name: str, alias: str, reason: str) -> None:
    """Take an alias from the version that it is at, and note it."""
    before = alias_holder(connection, name, alias)
    connection.execute("DELETE FROM aliases WHERE name = ? AND alias = ?", (name, alias))
    _note_move(connection, name, alias, before, None, reason)


def delete(connection: sqlite3.Connection, name: str, number: int) -> None:
    """Remove a version that no alias is at, and the list of its files; its number is never given again."""
    connection.execute("DELETE FROM versions WHERE name = ? AND number = ?", (name, number))


def digests(connection: sqlite3.Connection) -> set[str]:
    """Those of all versions."""
    return {digest for (digest,) in connection.execute("SELECT DISTINCT digest FROM versions")}


def contents(connection: sqlite3.Connection) -> set[str]:
    """The sha256 of every file that a version has."""
    return {sha256 for (sha256,) in connection.execute("SELECT DISTINCT sha256 FROM version_files")}


def moves(connection: sqlite3.Connection, name: str) -> list[AliasMove]:
    """All moves of a name's aliases, newest first."""
    rows = connection.execute(
        "SELECT alias, before, after, moved, who, reason FROM alias_moves WHERE name = ? ORDER BY id DESC", (name,)
    )
    return [AliasMove(*row) for row in rows]


def _note_move(
    connection: sqlite3.Connection, name: str, alias: str, before: int | None, after: int | None, reason: str
) -> None:
    connection.execute(
        "INSERT INTO alias_moves (name, alias, before, after, moved, who, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, alias, before, after, _now(), _user(), _utf8(reason)),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return _utf8(getpass.getuser())
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def _utf8(text: str) -> str:
    # Bytes of the command line or the environment that are not UTF-8 arrive as lone surrogates.
    return text.encode("utf-8", "replace").decode("utf-8")
