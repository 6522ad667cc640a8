"""Versions of one checkpoint store, copied to another with equal digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import IntegrityError, UnknownName
from harness.protocols import CheckpointStore
from harness.publication import LATEST
from harness.types import Version


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A version, and the one in the other store that has the same files; `copied` unless it was there before."""

    source: Version
    target: Version
    copied: bool


def mirror(
    source: CheckpointStore,
    target: CheckpointStore,
    name: str,
    ref: str | None = None,
    *,
    aliases: bool = False,
    report: Callable[[Mirrored], None] = lambda mirrored: None,
) -> list[Mirrored]:
    """Copy a version, or all versions of a name oldest first, with what is known of them; those that are there stay.

    Each is verified when it is taken out, and its digest when it has arrived. Numbers are each store's own. `latest` is
    in the end where it is in the source; where one version is copied that is not it, it stays. The same call after an
    interruption goes on with what is left.

    Args:
        aliases: whether the versions' other aliases move to the copies as well.
        report: is given each as soon as it is there.

    Raises:
        UnknownName: the source has no such name, version or alias.
        IntegrityError: a file is not what was published.
        StoreError: a store does not answer, or cannot be written.
    """
    wanted = source.versions(name)[::-1] if ref is None else [source.get(name, ref)]
    known = {version.digest: version for version in _versions(target, name)}
    latest = next((version for version in known.values() if LATEST in version.aliases), None)
    done = []
    for version in wanted:
        mirrored = _mirror(source, target, version, known)
        known[mirrored.target.digest] = mirrored.target
        report(mirrored)
        done.append(mirrored)
    heir = next((item.target for item in done if LATEST in item.source.aliases), latest)
    if heir is not None and target.get(name, LATEST).number != heir.number:
        target.alias(name, LATEST, f"v{heir.number}", _reason(source))
    for item in done if aliases else ():
        _move_aliases(source, target, item)
    return done


def _move_aliases(source: CheckpointStore, target: CheckpointStore, item: Mirrored) -> None:
    copy = item.target
    for alias in item.source.aliases:
        if alias not in target.get(copy.name, f"v{copy.number}").aliases:
            target.alias(copy.name, alias, f"v{copy.number}", _reason(source))


def _mirror(source: CheckpointStore, target: CheckpointStore, version: Version, known: dict[str, Version]) -> Mirrored:
    # What others put into a store may have another digest there than the files have; this one is of the files.
    found = source.resolve(version.name, f"v{version.number}")
    if found.digest in known:
        return Mirrored(version, known[found.digest], copied=False)
    copy = target.publish(
        found.checkout(), version.name, version.type, metadata=version.metadata, parents=version.parents
    )
    if copy.digest != found.digest:
        raise IntegrityError(
            f"{version} has the digest {found.digest} and its copy {copy} in {target} {copy.digest}; delete the copy "
            "and mirror it again"
        )
    return Mirrored(version, copy, copied=True)


def _versions(store: CheckpointStore, name: str) -> list[Version]:
    try:
        return list(store.versions(name))
    except UnknownName:
        return []


def _reason(source: CheckpointStore) -> str:
    return f"mirrored from {source}"
