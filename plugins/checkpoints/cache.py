"""Versions that were downloaded: folders on this machine, complete and verified or not there at all.

checkouts/KEY/              a version's files, read-only; appears by a rename when all of them are verified
contents/KEY.json           what they are, where they were ever verified
unfinished/KEY/             a download under way; what a cut leaves there is not loaded again
versions/SERVER/…/vN.json   which of them a version was when the server last said so: for when it does not answer
locks/                      one process at a time downloads a version

A key is the digest that the server keeps of a version, so that a number that is given anew finds other files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from harness import CheckpointError, IntegrityError, StoreError, file_digest, file_sha256, list_files, manifest_digest
from plugins.checkpoints.records import Content

READ_ONLY: Final = 0o444

Kept = TypeVar("Kept")


class Known(msgspec.Struct, frozen=True):
    """What a version's files are."""

    digest: str
    files: dict[str, Content]


class Noted(msgspec.Struct, frozen=True):
    """What a version was: the digest that W&B keeps of it, whether that is computed as ours are, and its files."""

    kept: str
    counts: bool
    known: Known


class Cache:
    """A folder of downloaded versions; any number of processes may use it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def noted(self, place: tuple[str, ...]) -> Noted | None:
        """What a version was; its place is the server, entity, project, name and `vN`."""
        return _read(self._note(place), Noted)

    def note(self, place: tuple[str, ...], noted: Noted) -> None:
        """Remember what a version is."""
        self._write(self._note(place), noted)

    def forget(self, place: tuple[str, ...]) -> None:
        """The version is another one now, or none."""
        note = self._note(place)
        with self._writing(note):
            note.unlink(missing_ok=True)

    def known(self, key: str) -> Known | None:
        """What the files of a key are; None where they were never verified here."""
        return _read(self._contents(key), Known)

    def checkout(
        self, key: str, expected: Known | None, download: Callable[[Path], None], where: str
    ) -> tuple[Path, Known]:
        """A folder with a version's files and no others, verified at every call; and what its files are.

        Args:
            key: of the version.
            expected: what the files must be; None where only the server can tell, or what was verified here.
            download: completes a folder that may hold some of the files, and checks them against the server's digests.
            where: the version's name, for messages.

        Raises:
            IntegrityError: what the server has is not what was published. Nothing of it can be seen.
            StoreError: the folder cannot be written; or what `download` raises.
        """
        folder = self.root / "checkouts" / key
        if (known := self._there(key, expected)) is not None:
            return folder, known
        with self._alone(key):
            if (known := self._there(key, expected)) is not None:  # another process has made it meanwhile
                return folder, known
            unfinished = self.root / "unfinished" / key
            with self._writing(unfinished):
                if folder.exists():
                    shutil.rmtree(unfinished, ignore_errors=True)
                    unfinished.parent.mkdir(parents=True, exist_ok=True)
                    folder.rename(unfinished)
                unfinished.mkdir(parents=True, exist_ok=True)
                _keep_only(unfinished, {} if expected is None else expected.files)
            download(unfinished)
            found = self._verified(unfinished, expected, where)
            self._write(self._contents(key), found)
            with self._writing(folder):
                _make_durable(unfinished)
                folder.parent.mkdir(parents=True, exist_ok=True)
                unfinished.rename(folder)
            return folder, found

    def _there(self, key: str, expected: Known | None) -> Known | None:
        """What a key's files are, where the folder holds them and nothing else."""
        known = expected or self.known(key)
        return None if known is None or _problems(self.root / "checkouts" / key, known.files) else known

    def _verified(self, folder: Path, expected: Known | None, where: str) -> Known:
        files = list_files(folder)
        with ThreadPoolExecutor() as pool:
            digests = dict(zip(files, pool.map(file_digest, files.values()), strict=True))
        found = Known(
            manifest_digest({name: file.md5 for name, file in digests.items()}),
            {name: Content(file.sha256, file.size) for name, file in digests.items()},
        )
        if expected is not None and found != expected:
            both = {**expected.files, **found.files}
            names = [name for name in both if expected.files.get(name) != found.files.get(name)]
            for name in names:
                (folder / name).unlink(missing_ok=True)
            raise IntegrityError(
                f"{where}: {', '.join(sorted(names)) or 'the list of its files'} is not what was published; nothing of "
                "it is used: publish the same folder again under another name, or use another version"
            )
        return found

    def _note(self, place: tuple[str, ...]) -> Path:
        return self.root.joinpath("versions", *(quote(part, safe="") for part in place)).with_suffix(".json")

    def _contents(self, key: str) -> Path:
        return self.root / "contents" / f"{key}.json"

    def _write(self, path: Path, content: Known | Noted) -> None:
        with self._writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
            unfinished.write_bytes(msgspec.json.encode(content))
            unfinished.replace(path)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        lock = self.root / "locks" / key
        with self._writing(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # of this opening alone: threads exclude each other, too
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written ({error.strerror}); free some space, or set `cache` of [checkpoints] to "
                "another folder"
            ) from error


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _problems(folder: Path, files: Mapping[str, Content]) -> bool:
    """Whether the folder holds anything else than these files."""
    try:
        found = list_files(folder)
        if found.keys() != files.keys() or any(path.is_symlink() for path in found.values()):
            return True
        if any(path.stat().st_size != files[name].size for name, path in found.items()):
            return True
        with ThreadPoolExecutor() as pool:
            return any(
                sha256 != files[name].sha256
                for name, sha256 in zip(found, pool.map(file_sha256, found.values()), strict=True)
            )
    except (CheckpointError, OSError):  # no such folder, or one whose files vanish
        return True


def _keep_only(folder: Path, files: Mapping[str, Content]) -> None:
    """Remove from a download what is not of it, or not whole."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # it holds something
                path.rmdir()
        elif path.is_symlink() or name not in files or file_sha256(path) != files[name].sha256:
            path.unlink()
        else:
            path.chmod(0o644)


def _make_durable(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_file():
            path.chmod(READ_ONLY)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def key_of(kept: str, counts: bool) -> str:
    """Under which the files of a version are kept of which W&B keeps that digest, computed as ours are or not."""
    return kept if counts else f"other-{kept}"


def server_key(server: str) -> str:
    """A short name for a server."""
    return f"{server.partition('://')[2][:64]}-{hashlib.sha256(server.encode()).hexdigest()[:8]}"
