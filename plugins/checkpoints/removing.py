"""How a version is removed from a W&B project."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from harness import LATEST, CheckpointError, Version, still_named
from plugins.checkpoints.moves import Change, Moved
from plugins.checkpoints.project import add_alias
from plugins.checkpoints.records import number_of


def removal(version: Version, target: Any, versions: Sequence[Any], aliased: Collection[str]) -> Change:
    """What removes a version, and moves `latest` to the newest that is left.

    Args:
        version: as it is known.
        target: its artifact.
        versions: all artifacts of the name, newest first.
        aliased: the aliases that may go with it.

    Raises:
        CheckpointError: an alias other than `latest` and those is at it.
    """
    if named := [alias for alias in version.aliases if alias != LATEST and alias not in aliased]:
        raise CheckpointError(still_named(version, named))
    left = [artifact for artifact in versions if artifact is not target]
    heir = left[0] if left and LATEST in version.aliases else None
    moves = tuple(
        Moved(alias, version.number, number_of(heir) if heir is not None and alias == LATEST else None)
        for alias in version.aliases
    )

    def remove() -> None:
        if heir is not None:
            add_alias(heir, LATEST)
        target.aliases = [alias for alias in version.aliases if alias == LATEST]
        target.save()
        # W&B refuses to remove what somebody gave an alias meanwhile. The last one cannot lose its `latest`.
        target.delete(delete_aliases=not left)

    return Change(moves, remove, deleted=target)
