"""What model references and options have in common. Light: a model without a framework needs it too."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness import CheckpointError, CheckpointStore, Resolved, UnknownName, UnknownVersion


def is_folder(ref: str) -> bool:
    """Whether a reference is a folder's path, not a version or an alias."""
    return ref.startswith((".", "/", "~"))


def refuse_unknown(options: Mapping[str, str], known: Collection[str]) -> None:
    """Every option must be known.

    Raises:
        UnknownName: one is not.
    """
    for name in options:
        if name not in known:
            raise UnknownName("option", name, [*known, "image"])


def find_trained(name: str, ref: str, checkpoints: CheckpointStore, recipe: str) -> Resolved:
    """A checkpoint that `harness train` makes from the config `recipe`, or a folder with one.

    Raises:
        CheckpointError: none was ever made, or there is no such folder.
        UnknownName: there is no such version or alias.
    """
    try:
        return checkpoints.resolve(name, ref)
    except UnknownVersion:
        raise
    except UnknownName as error:
        raise CheckpointError(
            f"{name}:{ref}: there is no such checkpoint yet; make one: harness train {recipe}"
        ) from error
