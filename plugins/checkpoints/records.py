"""What an artifact says of the version that it is: ours under one key of its metadata, and what W&B knows itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from harness import FileDigest, Json, Privacy, Version, manifest_digest

KEY: Final = "harness"
"""Under which all of ours lies in an artifact's metadata."""
MD5: Final = "MANIFEST_MD5"
"""The algorithm by which W&B's digest of an artifact is the same as ours."""
UNKNOWN: Final = "unknown"


class Content(msgspec.Struct, frozen=True):
    """A file's content: its sha256 (hex), and its size in bytes."""

    sha256: str
    size: int


class Published(msgspec.Struct, frozen=True):
    """How a version came to be: when (ISO 8601, UTC), by whom, and which aliases moved to it then, beside `latest`."""

    when: str
    who: str
    aliases: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True):
    """What the harness keeps with an artifact.

    Attributes:
        digest: of the files' names and contents, as the embedded registry computes it.
        files: name -> content.
        parents: digests of what it was made from.
        metadata: the publisher's, without secrets and places on its machine.
    """

    digest: str
    files: dict[str, Content]
    parents: tuple[str, ...]
    metadata: dict[str, Any]
    published: Published

    @classmethod
    def of(
        cls, files: Mapping[str, FileDigest], metadata: Mapping[str, Json], parents: tuple[str, ...], by: Published
    ) -> Record:
        """The record of a version that is about to be published."""
        contents = {name: Content(file.sha256, file.size) for name, file in files.items()}
        digest = manifest_digest({name: file.md5 for name, file in files.items()})
        return cls(digest, contents, parents, Privacy().said(metadata), by)

    def metadata_of_artifact(self) -> dict[str, Json]:
        """The artifact's metadata."""
        return {KEY: msgspec.to_builtins(self)}


def record_of(artifact: Any) -> Record | None:
    """The record in an artifact's metadata; None where others logged it, or changed what it says of its content."""
    try:
        record = msgspec.convert(artifact.metadata.get(KEY), Record)
    except msgspec.ValidationError:
        return None
    # Metadata can be edited at any time, W&B's own digest cannot.
    return record if not comparable(artifact) or record.digest == artifact.digest else None


def comparable(artifact: Any) -> bool:
    """Whether W&B's digest of it is one of our kind."""
    return str(getattr(artifact.digest_algorithm, "value", artifact.digest_algorithm)) == MD5


def number_of(artifact: Any) -> int:
    """The N of its version `vN`."""
    return int(artifact.version.removeprefix("v"))


def version_of(artifact: Any, name: str) -> Version:
    """An artifact as the version that it is. Without a record its digest is W&B's own."""
    record = record_of(artifact)
    return Version(
        name=name,
        number=number_of(artifact),
        digest=record.digest if record else artifact.digest,
        type=artifact.type,
        aliases=tuple(sorted(artifact.aliases)),
        created=moment(artifact.created_at),
        size=sum(file.size for file in record.files.values()) if record else int(artifact.size),
        metadata=record.metadata if record else artifact.metadata,
        parents=record.parents if record else (),
    )


def moment(text: str) -> str:
    """W&B's time as the embedded registry writes times."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat(timespec="seconds")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
