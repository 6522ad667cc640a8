"""The embedded registry: `name:ref` -> an immutable, verified folder.

A version is a manifest in the workspace database over files that are kept by their content (`harness.blobs`). The
files are durable before one transaction gives the version its number and moves the aliases: a version is there whole,
or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

from harness import ledger
from harness.blobs import Blobs, Freed, damage
from harness.checkouts import StoredCheckpoint, folder_reference
from harness.database import Database, make_home
from harness.digests import FileDigest, in_threads, list_files
from harness.errors import CheckpointError
from harness.protocols import Resolved
from harness.publication import LATEST, check_alias, check_publication, moved_meanwhile, still_named
from harness.types import AliasMove, Json, Version


@dataclass(frozen=True, slots=True)
class FileCheck:
    """How a stored file was found. `problem` is empty where it is what was published."""

    version: str
    path: str
    size: int
    problem: str


class EmbeddedStore:
    """A CheckpointStore in the workspace: SQLite for names, files by their content. Safe under concurrent writers."""

    def __init__(self, database: Database, home: Path) -> None:
        self._database = database
        self._blobs = Blobs(home.absolute())

    def __str__(self) -> str:
        return f"the embedded registry in {self._blobs.home}"

    def publish(
        self,
        directory: Path,
        name: str,
        type: str = "model",
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Json] | None = None,
        parents: Sequence[str] = (),
    ) -> Version:
        """A new version with the folder's files, or the newest again where its files are equal; `latest` moves to it.

        Raises:
            UsageError: a name, alias, type, parent or the metadata is malformed.
            CheckpointError: the folder is empty, holds what is no file, or the name is one of another type.
            StoreError: the workspace cannot be written. Nothing is published.
        """
        facts = check_publication(name, type, aliases, metadata, parents)
        sources = list_files(directory, contained=True)
        make_home(self._blobs.home)
        while True:
            files = dict(zip(sources, in_threads(self._blobs.keep, sources.values()), strict=True))
            with self._database.transaction(durable=True) as connection:
                # Nothing is collected while this transaction lasts; what was collected before it is kept again.
                if not all(self._blobs.path(file.sha256).is_file() for file in files.values()):
                    continue
                number = ledger.newest(connection, name, type)
                if number is None or ledger.files(connection, name, number) != files:
                    number = ledger.add(connection, name, files, facts, list(dict.fromkeys(parents)))
                for alias in dict.fromkeys((LATEST, *aliases)):
                    ledger.move_alias(connection, name, alias, number, "published")
                return ledger.version(connection, name, number)

    def resolve(self, name: str, ref: str) -> Resolved:
        """What `vN`, an alias or a folder's path (which starts with `.`, `/` or `~`) stands for.

        Raises:
            UnknownName: there is no such name, version or alias.
            CheckpointError: there is no such folder.
        """
        if (folder := folder_reference(name, ref)) is not None:
            return folder
        with self._database.reading() as connection:
            number = ledger.find(connection, name, ref)
            digest = ledger.version(connection, name, number).digest
            return StoredCheckpoint(name, number, digest, ledger.files(connection, name, number), self._blobs)

    def get(self, name: str, ref: str) -> Version:
        """What is known of a version, its files apart.

        Raises:
            UnknownName: there is no such name, version or alias.
        """
        with self._database.reading() as connection:
            return ledger.version(connection, name, ledger.find(connection, name, ref))

    def alias(
        self, name: str, alias: str, ref: str, reason: str = "", expected: int | EllipsisType | None = ...
    ) -> Version:
        """Move an alias to a version; its history keeps who did it, when and why.

        Args:
            name: the checkpoint.
            alias: what moves.
            ref: where to: `vN` or an alias.
            reason: why.
            expected: the number of the version that the alias must be at, None where it must be new.

        Raises:
            UsageError: the alias is malformed.
            UnknownName: there is no such name, version or alias.
            CheckpointError: the alias is not at the expected version (any more).
        """
        check_alias(alias)
        with self._database.transaction(durable=True) as connection:
            number = ledger.find(connection, name, ref)
            holder = ledger.alias_holder(connection, name, alias)
            if expected is not ... and holder != expected:
                raise CheckpointError(moved_meanwhile(name, alias, holder, expected))
            ledger.move_alias(connection, name, alias, number, reason)
            return ledger.version(connection, name, number)

    def delete(self, name: str, ref: str, *, aliased: Collection[str] = ()) -> Version:
        """Remove a version and the files that no other has; what it was is returned.

        `latest` moves to the newest version that is left. The history of the name's aliases stays, and a number is
        never given twice.

        Args:
            name: the checkpoint.
            ref: which version: `vN` or an alias.
            aliased: the aliases that may go with it.

        Raises:
            UnknownName: there is no such name, version or alias.
            CheckpointError: an alias other than `latest` and those is at it.
            StoreError: the workspace cannot be written.
        """
        self.get(name, ref)  # looking creates no workspace
        with self._database.transaction(durable=True) as connection:
            number = ledger.find(connection, name, ref)
            version = ledger.version(connection, name, number)
            named = [alias for alias in version.aliases if alias != LATEST and alias not in aliased]
            if named:
                raise CheckpointError(still_named(version, named))
            reason = f"v{number} was deleted"
            left = [other for other in ledger.numbers(connection, name) if other != number]
            for alias in version.aliases:
                if alias == LATEST and left:
                    ledger.move_alias(connection, name, LATEST, left[0], reason)
                else:
                    ledger.remove_alias(connection, name, alias, reason)
            files = ledger.files(connection, name, number)
            ledger.delete(connection, name, number)
        # Only now is it certain that they are not needed. A kill in between leaves them to `collect`.
        self._sweep({file.sha256 for file in files.values()}, {version.digest})
        return version

    def collect(self) -> Freed:
        """Remove the files that no version has: what killed commands left behind.

        Raises:
            StoreError: the workspace cannot be written.
        """
        freed = self._sweep(set(self._blobs.all()), set(self._blobs.checkouts()))
        return freed + self._blobs.remove_stale()

    def _sweep(self, contents: set[str], digests: set[str]) -> Freed:
        if not contents and not digests:
            return Freed()
        # Whoever publishes looks for its files inside a transaction of its own, so before this one or after it.
        with self._database.transaction() as connection:
            checkouts = self._blobs.remove_checkouts(digests - ledger.digests(connection))
            return checkouts + self._blobs.remove(contents - ledger.contents(connection))

    def history(self, name: str) -> list[AliasMove]:
        """All moves of a name's aliases, newest first.

        Raises:
            UnknownName: there is no such name.
        """
        with self._database.reading() as connection:
            ledger.check_name(connection, name)
            return ledger.moves(connection, name)

    def names(self) -> list[str]:
        """All names, sorted."""
        with self._database.reading() as connection:
            return ledger.names(connection)

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, newest first.

        Raises:
            UnknownName: there is no such name.
        """
        with self._database.reading() as connection:
            ledger.check_name(connection, name)
            numbers = ledger.numbers(connection, name)
            return [ledger.version(connection, name, number) for number in numbers]

    def verify(self, name: str | None = None, ref: str | None = None) -> Iterator[FileCheck]:
        """Read every file of a version, of all versions of a name, or of all that there are, and compare.

        Raises:
            UnknownName: there is no such name, version or alias.
        """
        with self._database.reading() as connection:
            number = None if name is None or ref is None else ledger.find(connection, name, ref)
            if name is not None:
                ledger.check_name(connection, name)
            stored = ledger.stored_files(connection, name, number)
        users: dict[FileDigest, list[tuple[str, str]]] = {}
        for version, path, content in stored:
            users.setdefault(content, []).append((version, path))
        problems = in_threads(lambda content: damage(self._blobs.path(content.sha256), content), users)
        for (content, places), problem in zip(users.items(), problems, strict=True):
            for version, path in places:
                text = f"{self._blobs.path(content.sha256)}: {problem}" if problem else ""
                yield FileCheck(version, path, content.size, text)
