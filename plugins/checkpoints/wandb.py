"""Checkpoints as artifacts of Weights & Biases, through its SDK."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, Final

from harness import (
    LATEST,
    AliasMove,
    CheckpointError,
    Json,
    Resolved,
    StoreError,
    UsageError,
    Version,
    check_alias,
    check_publication,
    file_digest,
    folder_reference,
    list_files,
    moved_meanwhile,
    numbered,
    other_type,
)
from plugins.checkpoints.cache import Cache
from plugins.checkpoints.connection import PATIENCE, Connection
from plugins.checkpoints.download import found, place_of, remembered
from plugins.checkpoints.moves import Change, Log, Moved
from plugins.checkpoints.project import Project, add_alias, reserved
from plugins.checkpoints.publishing import upload
from plugins.checkpoints.records import Published, Record, now, number_of, version_of
from plugins.checkpoints.removing import removal

PROMOTED: Final = ("production",)
"""The aliases whose versions are linked to the Registry where nothing else is configured."""


class WandbStore:
    """A CheckpointStore on a W&B project: a name is a collection, a version an artifact.

    What it means is what the embedded registry means, except: a project holds no two versions of a name with equal
    files, so publishing what an older version holds moves `latest` back to that one; and `alias(expected=…)` cannot
    exclude movers that do not use the harness (see `plugins.checkpoints.moves`). Nothing is asked before it is needed.

    Args:
        entity, project: where; those of WANDB_ENTITY and WANDB_PROJECT, or the SDK's defaults, where None.
        registry: `NAME` or `ORGANIZATION/NAME` of a W&B Registry to which versions with certain aliases are linked.
        registry_aliases: those aliases.
        cache: the folder for what is downloaded; one in the user's cache folder where None.
        timeout: seconds that an answer of the server may take, its retries among them.
    """

    def __init__(
        self,
        entity: str | None = None,
        project: str | None = None,
        registry: str | None = None,
        registry_aliases: Sequence[str] = PROMOTED,
        cache: str | Path | None = None,
        timeout: float = PATIENCE,
    ) -> None:
        for option, text in {"entity": entity, "project": project, "registry": registry, "cache": cache}.items():
            if text is not None and (not isinstance(text, str | Path) or not str(text)):
                raise UsageError(f"checkpoints: {option}: {text!r} is no name; write it as text, or leave it out")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise UsageError(f"checkpoints: timeout: {timeout!r} is no number of seconds above 0")
        if isinstance(registry_aliases, str) or not all(isinstance(alias, str) for alias in registry_aliases):
            raise UsageError(f"checkpoints: registry_aliases: {registry_aliases!r} is no list of aliases")
        self._connection = Connection(entity, project, float(timeout))
        self._project = Project(self._connection)
        self._registry = registry
        self._registry_aliases = tuple(registry_aliases)
        self._cache = Cache(_cache_folder() if cache is None else Path(cache).expanduser().absolute())

    def __str__(self) -> str:
        return str(self._connection)

    def publish(
        self,
        directory: Path,
        name: str,
        type: str = "model",
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Json] | None = None,
        parents: Sequence[str] = (),
    ) -> Version:
        """A new version with the folder's files, or the one again that has equal files; `latest` moves to it.

        The files are read where they lie; they must not change meanwhile. Secrets and absolute paths in the metadata
        stay here. A version is committed when all of its files are on the server; what a lost connection leaves there
        nobody sees, and the same call goes on with it. Versions with these parents' digests become inputs of the W&B
        run that logs it.

        Raises:
            UsageError: a name, alias, type, parent or the metadata is malformed.
            CheckpointError: the folder is empty, holds what is no file, or the name is one of another type.
            StoreError: the server does not take it. Nothing is published.
            ConfigError: there is no login.
        """
        facts = json.loads(check_publication(name, type, aliases, metadata, parents))
        if reserved(type):
            raise UsageError(f"type {type!r}: Weights & Biases keeps it for itself; name another one")
        sources = list_files(directory, contained=True)
        files = {path: file_digest(source) for path, source in sources.items()}
        versions = self._project.versions(name)
        if versions and versions[0].type != type:
            raise CheckpointError(other_type(name, versions[0].type, type))
        by = Published(now(), self._connection.user, tuple(dict.fromkeys(aliases)))
        record = Record.of(files, facts, tuple(dict.fromkeys(parents)), by)
        wanted = list(dict.fromkeys((LATEST, *aliases)))
        same = [artifact for artifact in versions if version_of(artifact, name).digest == record.digest]
        if same:
            return self._move(name, wanted, f"v{number_of(same[0])}", "published")
        version = self.get(name, upload(self._project, name, type, sources, record, wanted))
        self._forget(name, version.number)
        return version

    def resolve(self, name: str, ref: str) -> Resolved:
        """What `vN`, an alias or a folder's path (which starts with `.`, `/` or `~`) stands for.

        Where the server does not answer, a `vN` is what it was when that was downloaded, if entity and project are
        configured.

        Raises:
            UnknownName: there is no such name, version or alias.
            CheckpointError: there is no such folder.
            StoreError: the server does not answer.
        """
        if (folder := folder_reference(name, ref)) is not None:
            return folder
        number = numbered(ref)
        cached = None if number is None else remembered(name, number, self._project, self._cache)
        if cached is not None and not self._connection.answers():
            return cached
        try:
            artifact = self._project.find(name, ref)
        except StoreError:
            if cached is None:
                raise
            return cached
        return found(artifact, name, self._project, self._cache)

    def get(self, name: str, ref: str) -> Version:
        """What is known of a version, its files apart. The digest of what others logged is W&B's.

        Raises:
            UnknownName: there is no such name, version or alias.
            StoreError: the server does not answer.
        """
        return version_of(self._project.find(name, ref), name)

    def alias(
        self, name: str, alias: str, ref: str, reason: str = "", expected: int | EllipsisType | None = ...
    ) -> Version:
        """Move an alias to a version; the name's log keeps who did it, when and why. Links it to the Registry.

        Of several who move aliases of a name through the harness, one goes first, and the others look again.

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
            StoreError: the server does not answer.
        """
        check_alias(alias)
        return self._move(name, [alias], ref, reason, expected)

    def delete(self, name: str, ref: str, *, aliased: Collection[str] = ()) -> Version:
        """Remove a version; what it was is returned. `latest` moves to the newest that is left.

        W&B removes files that no other artifact has; the cache keeps what was downloaded.

        Args:
            name: the checkpoint.
            ref: which version: `vN` or an alias.
            aliased: the aliases that may go with it.

        Raises:
            UnknownName: there is no such name, version or alias.
            CheckpointError: an alias other than `latest` and those is at it.
            StoreError: the server does not answer, or refuses it, as for a version that is linked elsewhere.
        """
        number = number_of(self._project.find(name, ref))
        removed: list[Version] = []

        def decide(versions: Sequence[Any]) -> Change:
            target = self._project.among(versions, name, f"v{number}")
            removed[:] = [version_of(target, name)]
            return removal(removed[0], target, versions, aliased)

        Log(self._project, name).change(decide, f"v{number} was deleted")
        self._forget(name, number)
        return removed[0]

    def history(self, name: str) -> list[AliasMove]:
        """All moves of a name's aliases, newest first; those of others than the harness as far as they can be seen.

        Raises:
            UnknownName: there is no such name.
            StoreError: the server does not answer.
        """
        return Log(self._project, name).history(self._project.all(name))

    def names(self) -> list[str]:
        """All names, sorted.

        Raises:
            StoreError: the server does not answer.
        """
        return self._project.names()

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, newest first.

        Raises:
            UnknownName: there is no such name.
            StoreError: the server does not answer.
        """
        return [version_of(artifact, name) for artifact in self._project.all(name)]

    def address(self, version: Version) -> str:
        """Where a version is: the server's URL, then the version's full name there."""
        return f"{self._connection.server}/{self._connection.path}/{version}"

    def _move(
        self, name: str, aliases: Sequence[str], ref: str, reason: str, expected: int | EllipsisType | None = ...
    ) -> Version:
        """Move aliases to a version, all that are not there."""
        found: list[Any] = []

        def decide(versions: Sequence[Any]) -> Change | None:
            target = self._project.among(versions, name, ref)
            found[:] = [target]
            holders = {alias: number_of(artifact) for artifact in versions for alias in artifact.aliases}
            for alias in aliases:
                if expected is not ... and holders.get(alias) != expected:
                    raise CheckpointError(moved_meanwhile(name, alias, holders.get(alias), expected))
            number = number_of(target)
            moves = tuple(Moved(a, holders.get(a), number) for a in aliases if holders.get(a) != number)
            if not moves:
                return None

            moving = [moved.alias for moved in moves]
            return Change(moves, lambda: add_alias(target, *moving), lambda: self._link(target, name, moving))

        log = Log(self._project, name)
        log.change(decide, reason)
        version = self.get(name, found[0].version)
        for alias in aliases:
            if alias != LATEST and alias not in version.aliases:  # somebody may have published meanwhile
                holder = self._project.artifact(name, alias)
                at = None if holder is None else number_of(holder)
                raise CheckpointError(moved_meanwhile(name, alias, at, version.number))
        return version

    def _forget(self, name: str, number: int) -> None:
        """What the cache knows of a version with this number is not true any more."""
        if (place := place_of(self._project, name, number)) is not None:
            self._cache.forget(place)

    def _link(self, artifact: Any, name: str, aliases: Sequence[str]) -> None:
        """Into the Registry, under the name of the checkpoint, where one of the aliases is configured for it."""
        wanted = [alias for alias in aliases if alias in self._registry_aliases]
        if self._registry is not None and wanted:
            organization, _, registry = self._registry.rpartition("/")
            prefix = f"{organization}/" if organization else ""
            artifact.link(f"{prefix}wandb-registry-{registry}/{name}", aliases=wanted)


def _cache_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("harness", appauthor=False), "wandb")
