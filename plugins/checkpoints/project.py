# mypy: allow-untyped-calls
# Parts of wandb carry no annotations.

"""The artifacts of a project, as they are looked up and logged."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from harness import CheckpointError, Json, UnknownName, UnknownVersion, numbered
from plugins.checkpoints.connection import Connection, is_absence, is_race, neutral_folder
from plugins.checkpoints.records import number_of

LOG: Final = "harness-alias-log"
"""The type of the artifacts that hold how aliases were moved."""
INTERNAL: Final = ("job", "code", "run_table", LOG)
RACES: Final = 4
"""How often what threads have spoilt is asked again."""
Asked = TypeVar("Asked")
_WORD: Final = re.compile(r"[\w.-]{1,128}", re.ASCII)
_LIKE_A_NUMBER: Final = re.compile(r"[vV][0-9]+")
RESERVED: Final = "wandb-"
"""What types begin with that W&B keeps for itself."""


def reserved(type: str) -> bool:
    """Whether artifacts of a type are none of ours to publish or list: W&B's own, and the logs of aliases."""
    return type in INTERNAL or type.startswith(RESERVED)


class Project:
    """Looks up and logs artifacts; what a name's versions are the type of is remembered, since it never changes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._types: dict[str, str] = {}

    def names(self) -> list[str]:
        """All names that have a version, sorted."""
        names = self.collections()
        with ThreadPoolExecutor(8) as pool:
            held = list(pool.map(lambda name: bool(self._pages(self._types[name], name, 1, 1)), names))
        return [name for name, holds in zip(names, held, strict=True) if holds]

    def collections(self) -> list[str]:
        """All names, those as well whose versions were all deleted; sorted."""
        with self.connection.asking("listing what there is"):
            try:
                pages = self.connection.api.project(self.connection.project, self.connection.entity).collections()
                found = [collection for collection in pages]  # noqa: C416 - a list would ask for a length that it lacks
            except Exception as error:
                if is_absence(error):  # the project is made with its first artifact
                    return []
                raise
        types = {item.name: item.type for item in found if item.is_sequence() and not reserved(item.type)}
        self._types |= types
        return sorted(types)

    def type(self, name: str) -> str | None:
        """The type of a name's versions; None where there is no such name."""
        if name not in self._types:
            if (newest := self.artifact(name, "latest")) is not None:
                self._types[name] = newest.type
            else:
                self.collections()  # a name can be without `latest`
        return self._types.get(name)

    def artifact(self, name: str, ref: str) -> Any | None:
        """The version that `vN` or an alias stands for; None where there is none."""
        with self.connection.asking(f"looking for {name}:{ref}"):
            try:
                return _unraced(lambda: self.connection.api.artifact(f"{self.connection.path}/{name}:{ref}"))
            except Exception as error:
                if is_absence(error):
                    return None
                raise

    def versions(self, name: str) -> list[Any]:
        """All versions of a name, newest first; empty where there is no such name."""
        type_ = self.type(name)
        return [] if type_ is None else self.logged(type_, name)

    def all(self, name: str) -> list[Any]:
        """All versions of a name, newest first.

        Raises:
            UnknownName: there is no such name.
        """
        versions = self.versions(name) if _WORD.fullmatch(name) else []
        if not versions:
            raise UnknownName("checkpoint", name, self.names(), "`harness checkpoints log` lists them")
        return versions

    def find(self, name: str, ref: str) -> Any:
        """The version that `vN` or an alias stands for.

        Raises:
            UnknownName: there is no such name, version or alias.
        """
        usable = numbered(ref) is not None or not _LIKE_A_NUMBER.fullmatch(ref)
        if usable and _WORD.fullmatch(name) and _WORD.fullmatch(ref):
            artifact = self.artifact(name, ref)
            if artifact is not None and not reserved(artifact.type):
                return artifact
        return self.among(self.all(name), name, ref)

    def among(self, versions: Sequence[Any], name: str, ref: str) -> Any:
        """The same among the versions of a name, newest first, as they were found."""
        if not versions:
            raise UnknownName("checkpoint", name, self.names(), "`harness checkpoints log` lists them")
        for artifact in versions:
            if ref in artifact.aliases or numbered(ref) == number_of(artifact):
                return artifact
        aliases = [alias for artifact in versions for alias in artifact.aliases]
        known = [*aliases, *(artifact.version for artifact in versions[:5])]
        raise UnknownVersion(name, ref, known, f"`harness checkpoints log {name}` lists them")

    def logged(self, type: str, name: str) -> list[Any]:
        """All artifacts of a collection, newest first; empty where there is none."""
        return sorted(self._pages(type, name, 50), key=number_of, reverse=True)

    def _pages(self, type: str, name: str, size: int, most: int | None = None) -> list[Any]:
        with self.connection.asking(f"listing the versions of {name}"):
            try:
                path = f"{self.connection.path}/{name}"
                return _unraced(
                    lambda: list(itertools.islice(self.connection.api.artifacts(type, path, per_page=size), most))
                )
            except Exception as error:
                if is_absence(error):
                    return []
                raise

    def log(
        self,
        name: str,
        type: str,
        files: Mapping[str, Path],
        metadata: Mapping[str, Json],
        *,
        aliases: Sequence[str] = (),
        digest: str | None = None,
        inputs: Iterable[str] = (),
        run: tuple[str, str],
    ) -> Any:
        """Log an artifact, and wait until it is committed: until then, nobody sees anything of it.

        Args:
            digest: what W&B's must be, where that is known.
            inputs: full names of versions that it was made from.
            run: job type and name of the W&B run that logs it.

        Raises:
            CheckpointError: the files are not what the digest is of; they changed meanwhile.
            StoreError: the server does not take it.
        """
        largest = max(source.stat().st_size for source in files.values())
        with (
            neutral_folder() as links,
            self.connection.run(*run, largest) as opened,
            self.connection.asking(f"uploading a version of {name}"),
        ):
            for used in inputs:
                opened.use_artifact(used)
            artifact = _artifact(name, type, files, metadata, links)
            if digest is not None and artifact.digest != digest:
                raise CheckpointError(
                    f"{name}: files changed while they were read; publish them once they are finished"
                )
            opened.log_artifact(artifact, aliases=list(aliases) or None).wait()
            return artifact


def add_alias(artifact: Any, *aliases: str) -> None:
    """Aliases are at a version now, beside those that it has."""
    artifact.aliases = list(dict.fromkeys((*artifact.aliases, *aliases)))
    artifact.save()


def _unraced(ask: Callable[[], Asked]) -> Asked:
    """What the SDK gives, asked again where threads were in each other's way.

    It keeps the last hundred artifacts in a dictionary that is not made for threads: of two that remove the oldest at
    once, one fails with a KeyError.
    """
    for _ in range(RACES):
        try:
            return ask()
        except Exception as error:
            if not is_race(error):
                raise
    return ask()


def _artifact(name: str, type: str, files: Mapping[str, Path], metadata: Mapping[str, Json], links: Path) -> Any:
    """An artifact of files that are read where they lie: a copy would cost as much disk again, and can be lost.

    The manifest that is sent names the files that were read: links that say nothing of this machine.
    """
    import wandb

    artifact = _unraced(lambda: wandb.Artifact(name, type, metadata=dict(metadata)))
    for index, (path, source) in enumerate(files.items()):
        link = links / str(index)
        link.symlink_to(source.absolute())
        artifact.add_file(str(link), name=path, policy="immutable", skip_cache=True)
    return artifact
