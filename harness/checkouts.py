"""What a checkpoint's reference stands for: a version of the embedded registry, or a folder as it is."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from harness.blobs import Blobs, damage
from harness.digests import FileDigest, digest_directory, in_threads, list_files, manifest_digest
from harness.errors import CheckpointError, IntegrityError, StoreError, UsageError
from harness.protocols import Resolved


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A version of the embedded registry."""

    name: str
    number: int
    digest: str
    files: Mapping[str, FileDigest]
    blobs: Blobs

    @property
    def version(self) -> str:
        return f"v{self.number}"

    def checkout(self) -> Path:
        """A folder with the version's files and no others, verified at every call. Shared: not to be written to.

        Raises:
            IntegrityError: a file is not what was published, and cannot be mended.
            StoreError: the workspace cannot be written.
        """
        where = f"{self.name}:{self.version}"
        if manifest_digest({path: file.md5 for path, file in self.files.items()}) != self.digest:
            raise _damaged(where, "the list of its files", "it is not the one that was published")
        folder = self.blobs.home / "checkouts" / self.digest
        try:
            _remove_strangers(folder, self.files)
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be removed ({error.strerror})") from error

        def mend(path: str) -> str:
            expected, target = self.files[path], folder / path
            if damage(target, expected):
                blob = self.blobs.path(expected.sha256)
                if not blob.is_file():
                    return f"{blob}: it is missing"
                self.blobs.place(expected.sha256, target)
                if problem := damage(target, expected):
                    return f"{blob}: {problem}"
            return ""

        for path, problem in zip(self.files, in_threads(mend, self.files), strict=True):
            if problem:
                raise _damaged(where, path, problem)
        return folder


class FolderCheckpoint:
    """A folder that is used as it is. Its digest is that of the version that publishing it would make."""

    version: Final = None

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def digest(self) -> str:
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[str, dict[str, tuple[int, int]]]:
        stamps = self._stamps()
        return digest_directory(self.path), stamps

    def _stamps(self) -> dict[str, tuple[int, int]]:
        try:
            stats = {name: path.stat() for name, path in list_files(self.path).items()}
        except OSError as error:
            raise CheckpointError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

    def checkout(self) -> Path:
        """The folder itself.

        Raises:
            IntegrityError: it changed since its digest was taken.
        """
        if self._stamps() != self._read[1]:
            raise IntegrityError(
                f"{self.path}: the folder changed while it was in use; start again when it is finished"
            )
        return self.path


def folder_reference(name: str, ref: str) -> FolderCheckpoint | None:
    """What a reference stands for that is a folder's path (it starts with `.`, `/` or `~`); None where it is none.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not ref.startswith((".", "/", "~")):
        return None
    folder = Path(ref).expanduser().absolute()
    if not folder.is_dir():
        raise CheckpointError(f"{name}:{ref}: there is no folder {folder}")
    return FolderCheckpoint(folder)


def copy_out(resolved: Resolved, out: Path) -> None:
    """Write a checkpoint's files to a folder of the caller's own, which is there whole or not at all.

    Raises:
        UsageError: the folder is there already.
        IntegrityError: a file is not what was published.
        StoreError: the folder cannot be written.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UsageError(f"{out}: is there already; name a folder that is not, or remove it first")
    source = resolved.checkout()
    out = out.absolute()
    unfinished = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, unfinished, copy_function=shutil.copyfile)
            unfinished.rename(out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:  # copytree's own error holds a list
        reason = error.strerror or error.args[0][-1][-1]
        raise StoreError(f"{out}: cannot be written ({reason}); free some space or name another folder") from error


def _damaged(version: str, path: str, problem: str) -> IntegrityError:
    return IntegrityError(
        f"{version}: {path} is not what was published: {problem}; publish the same folder again to mend it, or use "
        "another version (`harness checkpoints verify` lists all damage)"
    )


def _remove_strangers(root: Path, files: Mapping[str, FileDigest]) -> None:
    """Remove what is not of the checkout: a loader could pick it up."""
    if root.is_symlink():
        root.unlink()
    folders = {parent.as_posix() for path in files for parent in PurePosixPath(path).parents}

    def sweep(folder: Path) -> None:
        for path in folder.iterdir():
            name = path.relative_to(root).as_posix()
            if path.is_dir() and not path.is_symlink():
                if name in folders:
                    sweep(path)
                else:
                    shutil.rmtree(path)
            elif name not in files:
                path.unlink(missing_ok=True)

    if root.is_dir():
        sweep(root)
