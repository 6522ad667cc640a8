"""Digests of files and folders."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from harness.errors import CheckpointError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# A line break in a name would make two manifests read the same; half a surrogate pair is a name that is not UTF-8.
_UNUSABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's content, by two hashes: sha256 (hex) names it, md5 (base64) is W&B's."""

    sha256: str
    md5: str
    size: int


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> FileDigest:
    """The digests of a file's content, read once."""
    with Path(os.devnull).open("wb") as nothing:
        return copy_file(path, nothing)


def copy_file(source: Path, copy: BinaryIO) -> FileDigest:
    """Write a file's content to `copy`; the digest is of what was written, even if the file changes meanwhile."""
    sha, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with source.open("rb") as file:
        while chunk := file.read(1 << 20):
            copy.write(chunk)
            sha.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return FileDigest(sha.hexdigest(), base64.b64encode(md5.digest()).decode(), size)


def list_files(directory: Path, *, contained: bool = False) -> dict[str, Path]:
    """The files of a folder by their relative POSIX names, sorted. Links are followed.

    Args:
        directory: the folder.
        contained: whether a link that leads out of the folder is an error.

    Raises:
        CheckpointError: there is no such folder, it holds no files, or something in it cannot be taken for a file.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such folder")
    root = directory.resolve()
    try:
        files = dict(sorted(_walk(directory, "", (root,))))
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not files:
        raise CheckpointError(f"{directory}: the folder holds no files")
    for name, path in files.items():
        if _UNUSABLE.search(name):
            raise CheckpointError(f"{directory}: the file name {name!r} cannot be used in a checkpoint; rename it")
        if contained and not path.resolve().is_relative_to(root):
            raise CheckpointError(
                f"{path}: a link that leads out of the folder; put files in the place of links (`cp -rL`)"
            )
        if not os.access(path, os.R_OK):
            raise CheckpointError(f"{path}: cannot be read (Permission denied)")
    return files


def _walk(folder: Path, prefix: str, trail: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    for path in folder.iterdir():
        if path.is_dir():
            inner = path.resolve()
            if inner in trail:
                raise CheckpointError(f"{path}: a link to a folder that holds it; remove the link")
            yield from _walk(path, f"{prefix}{path.name}/", (*trail, inner))
        elif path.is_file():
            yield prefix + path.name, path
        else:
            raise CheckpointError(f"{path}: neither a file nor a folder, or a broken link; remove it")


def manifest_digest(md5s: Mapping[str, str]) -> str:
    """The digest of named contents (name -> md5 in base64), equal to `wandb.Artifact.digest` of the same files.

    It is the md5 of W&B's manifest, version 1: a header and a line `name:md5` a file, sorted by name.
    """
    digest = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for name in sorted(md5s):
        digest.update(f"{name}:{md5s[name]}\n".encode())
    return digest.hexdigest()


def digest_directory(directory: Path) -> str:
    """The digest of a folder's files, the same as that of the version that publishing it makes.

    Raises:
        CheckpointError: the folder is missing or empty, or something in it cannot be read.
    """
    files = list_files(directory)
    return manifest_digest(dict(zip(files, in_threads(_md5, files.values()), strict=True)))


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    return base64.b64encode(digest.digest()).decode()


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in the order of the items. Hashing and file operations let other threads run meanwhile."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, items)
