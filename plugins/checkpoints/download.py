"""A version of a W&B project, and its way into the cache."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import IntegrityError, StoreError, UnknownVersion
from plugins.checkpoints.cache import Cache, Known, Noted, key_of, server_key
from plugins.checkpoints.project import Project
from plugins.checkpoints.records import comparable, number_of, record_of

TRIES: Final = 3
"""How often a download is tried again of which nothing more came."""
PAUSE: Final = 0.5


@dataclass(slots=True)
class WandbCheckpoint:
    """A version that was found; picklable.

    Attributes:
        kept: the digest that W&B keeps of it.
        known: what its files are; None where others logged it, until it is downloaded.
        counts: whether W&B's digest is computed as ours are.
    """

    name: str
    number: int
    project: Project
    cache: Cache
    kept: str
    known: Known | None
    counts: bool = True

    @property
    def version(self) -> str:
        return f"v{self.number}"

    @property
    def digest(self) -> str:
        """Of a version that others logged with another kind of digest, only its files tell: they are downloaded."""
        if self.known is None and not self.counts:
            self.checkout()
        return self.kept if self.known is None else self.known.digest

    def checkout(self) -> Path:
        """A folder with the version's files and no others, verified at every call. Shared: not to be written to.

        Raises:
            IntegrityError: a file is not what was published.
            StoreError: the server does not answer, or the cache cannot be written. The same call goes on later.
        """
        where = f"{self.name}:{self.version}"
        folder, known = self.cache.checkout(key_of(self.kept, self.counts), self.known, self._download, where)
        if self.counts and known.digest != self.kept:
            raise IntegrityError(f"{where}: its digest is {known.digest} instead of {self.kept}; use another version")
        self.known = known
        place, noted = place_of(self.project, self.name, self.number), Noted(self.kept, self.counts, known)
        if place is not None and self.cache.noted(place) != noted:
            self.cache.note(place, noted)
        return folder

    def _download(self, folder: Path) -> None:
        artifact = self.project.artifact(self.name, self.version)
        if artifact is None or artifact.digest != self.kept:
            raise UnknownVersion(self.name, self.version, (), "it was deleted at the server")
        download(artifact, folder, self.project, f"{self.name}:{self.version}")


def found(artifact: Any, name: str, project: Project, cache: Cache) -> WandbCheckpoint:
    """An artifact as the checkpoint that it is, now that the server has said so."""
    record, counts = record_of(artifact), comparable(artifact)
    known = Known(record.digest, record.files) if record else cache.known(key_of(artifact.digest, counts))
    number = number_of(artifact)
    place = place_of(project, name, number)
    noted = None if place is None else cache.noted(place)
    if place is not None and noted is not None and (noted.kept, noted.counts) != (artifact.digest, counts):
        cache.forget(place)  # it was made anew
    return WandbCheckpoint(name, number, project, cache, artifact.digest, known, counts)


def remembered(name: str, number: int, project: Project, cache: Cache) -> WandbCheckpoint | None:
    """A version as the server has last told it; None where that was never."""
    place = place_of(project, name, number)
    noted = None if place is None else cache.noted(place)
    if noted is None:
        return None
    return WandbCheckpoint(name, number, project, cache, noted.kept, noted.known, noted.counts)


def download(artifact: Any, folder: Path, project: Project, where: str) -> None:
    """Complete a folder with an artifact's files; those that it has already are not loaded again.

    Raises:
        IntegrityError: what came is not what W&B says that it has.
        StoreError: it could not be loaded whole. What came is kept.
    """
    tries, there = 0, -1
    while True:
        try:
            with project.connection.asking(f"downloading {where}"):
                artifact.download(root=str(folder), skip_cache=True)
            break
        except StoreError:
            tries, there, before = tries + 1, sum(path.is_file() for path in folder.rglob("*")), there
            if there > before:  # some more of it came
                tries = 0
            if tries > TRIES:
                raise
            time.sleep(PAUSE)
    try:
        artifact.verify(root=str(folder))
    except ValueError as error:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        raise IntegrityError(
            f"{where}: what the server has is not what was published ({error}); nothing of it is used: publish the "
            "same folder again under another name, or use another version"
        ) from error


def place_of(project: Project, name: str, number: int) -> tuple[str, ...] | None:
    """Where the cache keeps what a version's files are; None where entity and project are the login's."""
    named = project.connection.named
    return None if named is None else (server_key(project.connection.server), *named, name, f"v{number}")
