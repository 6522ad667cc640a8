"""What the SDK wrote down of a run that is to be sent: the log of an offline run's folder, read as it is.

The log is one of LevelDB's kind (blocks of 32 KiB; records cut at their ends), whose records are W&B's protocol
buffers. See https://github.com/google/leveldb/blob/main/doc/log_format.md.
"""

from __future__ import annotations

import importlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

_MARK: Final = 7
_HEADER: Final = 7
_BLOCK: Final = 32 * 1024
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class LoggedArtifact:
    """An artifact that is to be sent.

    Attributes:
        files: path in it -> its digest, MD5 in base64, and where it is kept until it is sent.
    """

    name: str
    type: str
    digest: str
    files: dict[str, tuple[str, str]]


@dataclass(slots=True)
class Transcript:
    """A run as it was written down.

    Attributes:
        rows: its history: what was logged, by name.
        files: paths within the folder `files`.
        ended: whether it was finished, whatever its outcome.
    """

    id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    artifacts: list[LoggedArtifact] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def read(cls, folder: Path) -> Transcript:
        """The run of an offline run's folder.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        (path,) = folder.glob("*.wandb")
        found = cls()
        for content in _records(path.read_bytes()):
            found._hear(_protocol().Record.FromString(content))
        return found

    def lost(self, folder: Path, base: Path) -> list[str]:
        """What was to be sent and is not on this machine any more.

        Args:
            base: what the places of artifacts' files are relative to.
        """
        files = [name for name in self.files if not (folder / "files" / name).is_file()]
        staged = [
            f"{artifact.name}/{name}"
            for artifact in self.artifacts
            for name, (_, place) in artifact.files.items()
            if place and not (base / place).is_file()
        ]
        return [*files, *staged]

    def _hear(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            self.id, self.entity, self.project, self.name = run.run_id, run.entity, run.project, run.display_name
            _change(self.config, run.config.update, run.config.remove)
        elif kind == "config":
            _change(self.config, record.config.update, record.config.remove)
        elif kind == "history":
            row: dict[str, Any] = {}
            _change(row, record.history.item, ())
            self.rows.append(row)
            self.summary |= row
        elif kind == "summary":
            _change(self.summary, record.summary.update, record.summary.remove)
        elif kind == "files":
            self.files += [item.path for item in record.files.files]
        elif kind == "artifact":
            item = record.artifact
            files = {entry.path: (entry.digest, entry.local_path) for entry in item.manifest.contents}
            self.artifacts.append(LoggedArtifact(item.name, item.type, item.digest, files))
        elif kind == "exit":
            self.ended = True


def make_relative(folder: Path, base: Path) -> None:
    """Name the places of artifacts' files relative to `base`: the SDK uploads these names within the manifests."""
    (path,) = folder.glob("*.wandb")
    log = path.read_bytes()
    records = []
    for content in _records(log):
        record = _protocol().Record.FromString(content)
        if record.WhichOneof("record_type") == "artifact":
            for entry in record.artifact.manifest.contents:
                if entry.local_path:
                    entry.local_path = os.path.relpath(entry.local_path, base)
            content = record.SerializeToString()
        records.append(content)
    path.write_bytes(log[:_MARK] + _as_log(records))


def _protocol() -> Any:
    return importlib.import_module("wandb.proto.wandb_internal_pb2")


def _change(target: dict[str, Any], update: Iterable[Any], remove: Iterable[Any]) -> None:
    for item in remove:
        _place(target, item)[0].pop(_place(target, item)[1], None)
    for item in update:
        where, key = _place(target, item)
        where[key] = _value(item.value_json)


def _place(target: dict[str, Any], item: Any) -> tuple[dict[str, Any], str]:
    """The mapping and the key that an item is about."""
    path = [item.key] if item.key else list(item.nested_key)
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    return target, path[-1]


def _value(text: str) -> Any:
    """JSON, in which Python also writes NaN and infinities."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import json

        return json.loads(text)


def _records(content: bytes) -> Iterator[bytes]:
    """The records; a last one that was cut off with its process is left out."""
    place, parts = _MARK, b""
    while place + _HEADER <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + _HEADER])
        place += _HEADER
        if place + length > len(content):
            return
        parts += content[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""


def _as_log(records: Iterable[bytes]) -> bytes:
    """The records as the log holds them, after its mark."""
    log = bytearray()
    for record in records:
        rest, begun = record, False
        while rest or not begun:
            left = _BLOCK - (_MARK + len(log)) % _BLOCK
            if left < _HEADER:
                log += bytes(left)
                continue
            part, rest = rest[: left - _HEADER], rest[left - _HEADER :]
            kind = (_MIDDLE if rest else _LAST) if begun else (_FIRST if rest else _WHOLE)
            log += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            begun = True
    return bytes(log)
