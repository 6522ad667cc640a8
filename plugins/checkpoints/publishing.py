"""How a version gets to a W&B project: uploaded again where the connection was lost, with its parents as inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harness import StoreError
from plugins.checkpoints.project import Project
from plugins.checkpoints.records import Record, version_of

PAUSE: Final = 0.5
"""Seconds before an upload is tried again."""


def upload(
    project: Project, name: str, type: str, sources: Mapping[str, Path], record: Record, aliases: Sequence[str]
) -> str:
    """Log an artifact, again where the connection was lost; `vN` that it is.

    Raises:
        CheckpointError: the files changed meanwhile.
        StoreError: the server does not take it.
    """
    inputs, began = parents(project, record), time.monotonic()
    while True:
        try:
            artifact = project.log(
                name, type, sources, record.metadata_of_artifact(), aliases=aliases, digest=record.digest,
                inputs=inputs, run=("publish", f"publish {name}"[:128]),
            )  # fmt: skip
            return str(artifact.version)
        except StoreError:
            if time.monotonic() - began > project.connection.timeout:
                raise
            time.sleep(PAUSE)
            for artifact in project.versions(name):  # what was lost may have been the last answer
                if version_of(artifact, name).digest == record.digest:
                    return str(artifact.version)


def parents(project: Project, record: Record) -> list[str]:
    """The full names of the project's versions with the parents' digests: W&B's lineage."""
    wanted, names = set(record.parents), []
    hinted = [str(key).partition(":")[0] for key in record.metadata.get("parents") or ()]
    known = project.collections() if wanted else []
    for name in sorted(known, key=lambda name: name not in hinted):
        for artifact in project.versions(name) if wanted else ():
            digest = version_of(artifact, name).digest
            if digest in wanted:
                wanted.discard(digest)
                names.append(f"{project.connection.path}/{artifact.name}")
    return names
