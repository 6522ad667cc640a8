"""Files by their content: each is kept once, read-only, under its sha256, and durable before anyone refers to it."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.digests import FileDigest, copy_file, file_sha256
from harness.errors import StoreError

_READ_ONLY: Final = 0o444
_STALE_SECONDS: Final = 24 * 3600


def damage(path: Path, expected: FileDigest) -> str:
    """What is wrong with the file at `path`; empty where it is as expected, read whole."""
    if path.is_symlink() or not path.is_file():
        return "it is missing"
    size = path.stat().st_size
    if size != expected.size:
        return f"it has {size} bytes instead of {expected.size}"
    found = file_sha256(path)
    if found != expected.sha256:
        return f"its sha256 is {found} instead of {expected.sha256}"
    return ""


@dataclass(frozen=True, slots=True)
class Freed:
    """Files that were removed, and the bytes that they took."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.files + other.files, self.size + other.size)


@dataclass(frozen=True, slots=True)
class Blobs:
    """The files that the workspace folder `home` keeps by their content."""

    home: Path

    def path(self, sha256: str) -> Path:
        """Where the file of that content lies, if it is kept."""
        return self.home / "blobs" / sha256[:2] / sha256

    def keep(self, source: Path) -> FileDigest:
        """Keep a copy of a file; one that is there but damaged is mended.

        Raises:
            StoreError: it cannot be written.
        """
        with self._writing(source) as temporary:
            with temporary.open("xb") as copy:
                digest = copy_file(source, copy)
                target = self.path(digest.sha256)
                fresh = damage(target, digest) != ""
                if fresh:
                    copy.flush()
                    os.fchmod(copy.fileno(), _READ_ONLY)
                    os.fsync(copy.fileno())
            _make_folder(target.parent)
            if fresh:
                temporary.replace(target)
            _sync_folder(target.parent)
        return digest

    def place(self, sha256: str, target: Path) -> None:
        """Put the file of that content, which must be kept, at `target`: the same file where the disk can link it.

        Raises:
            StoreError: it cannot be written.
        """
        blob = self.path(sha256)
        with self._writing(blob) as temporary:
            try:
                temporary.hardlink_to(blob)
            except OSError:  # links across file systems, to another user's files, or too many of them
                shutil.copyfile(blob, temporary)
                temporary.chmod(_READ_ONLY)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)

    def all(self) -> Iterator[str]:
        """The sha256 of every file that is kept."""
        return (path.name for path in (self.home / "blobs").glob("??/*"))

    def checkouts(self) -> Iterator[str]:
        """The digest of every version that was checked out."""
        return (path.name for path in (self.home / "checkouts").glob("*"))

    def remove(self, contents: Collection[str]) -> Freed:
        """Remove kept files, which nobody may need any more.

        Raises:
            StoreError: one cannot be removed.
        """
        return sum((_unlink(self.path(sha256)) for sha256 in contents), Freed())

    def remove_checkouts(self, digests: Collection[str]) -> Freed:
        """Remove the folders of checked out versions; their bytes count only where they were copies.

        Raises:
            StoreError: one cannot be removed.
        """
        files = [path for digest in digests for path in (self.home / "checkouts" / digest).rglob("*")]
        freed = sum((_unlink(path) for path in files if not path.is_dir()), Freed())
        for digest in digests:
            shutil.rmtree(self.home / "checkouts" / digest, ignore_errors=True)
        return freed

    def remove_stale(self) -> Freed:
        """Remove unfinished files that nobody has written to for a day.

        Raises:
            StoreError: one cannot be removed.
        """
        freed = Freed()
        for path in (self.home / "tmp").glob("*"):
            with suppress(FileNotFoundError):  # its writer may finish
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    freed += _unlink(path)
        return freed

    @contextmanager
    def _writing(self, source: Path) -> Iterator[Path]:
        """A name for a file that is still being written; what the block leaves there is removed."""
        temporary = self.home / "tmp" / uuid.uuid4().hex
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.home}: {source} cannot be kept there ({error.strerror}); free some space or make the folder "
                "writable, and try again"
            ) from error


def _unlink(path: Path) -> Freed:
    """Remove a file if it is there. Another name of the same file keeps its bytes."""
    try:
        stat = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return Freed()
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed ({error.strerror})") from error
    return Freed(1, stat.st_size if stat.st_nlink == 1 else 0)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    # A file's name survives a power failure only once its folder is synced.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
