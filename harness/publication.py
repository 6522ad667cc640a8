"""What may be published, and under which names: the same in each checkpoint store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from harness.errors import UsageError
from harness.types import Json

LATEST: Final = "latest"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LIKE_A_NUMBER: Final = re.compile(r"[vV][0-9]+")
_NUMBER: Final = re.compile(r"v(0|[1-9][0-9]{0,8})")
_DIGEST: Final = re.compile(r"[0-9a-f]{32,128}")


def check_publication(
    name: str, type: str, aliases: Sequence[str], metadata: Mapping[str, Json] | None, parents: Sequence[str]
) -> str:
    """The metadata as JSON text, where a version could be published with all of this.

    Raises:
        UsageError: a name, alias, type, parent or the metadata is malformed.
    """
    check_word("checkpoint name", name)
    check_word("type", type)
    for alias in aliases:
        check_alias(alias)
    for parent in parents:
        if not _DIGEST.fullmatch(parent):
            raise UsageError(f"parent {parent!r}: not a digest (32 hex digits or more), such as `Version.digest`")
    try:
        return json.dumps(dict(metadata or {}), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metadata: only what JSON can hold is kept ({error})") from error


def check_alias(alias: str) -> None:
    """Raises UsageError where an alias is malformed, or reads like a version's number."""
    check_word("alias", alias)
    if _LIKE_A_NUMBER.fullmatch(alias):
        raise UsageError(f"alias {alias!r}: it reads like a version's number; name what it stands for")


def check_word(kind: str, word: str) -> None:
    """Raises UsageError where a name is malformed.

    Args:
        kind: what is so named, for the message.
    """
    if not _NAME.fullmatch(word):
        usable = re.sub(r"[^A-Za-z0-9._-]+", "-", word).lstrip("._-")[:128]
        raise UsageError(
            f"{kind} {word!r}: it is made of at most 128 letters, digits, '.', '_' and '-', and starts with a "
            "letter or digit" + (f" (did you mean {usable!r}?)" if usable else "")
        )


def numbered(ref: str) -> int | None:
    """The number N of a reference `vN`; None where it is none."""
    match = _NUMBER.fullmatch(ref)
    return int(match[1]) if match else None


def moved_meanwhile(name: str, alias: str, holder: int | None, expected: int | None) -> str:
    """What is said where an alias is not at the version that it was expected at."""
    return (
        f"{name}:{alias} is {_at(holder)}, not {_at(expected)} as expected: it was moved meanwhile; see "
        f"`harness checkpoints log {name}` and decide again"
    )


def still_named(version: object, aliases: Sequence[str]) -> str:
    """What is said where a version is to be deleted that aliases stand for."""
    return (
        f"{version}: {', '.join(aliases)} stands for it; move it to another version first, or ask for the version to "
        "be deleted with its aliases"
    )


def other_type(name: str, kept: str, wanted: str) -> str:
    """What is said where a name is one of versions of another type."""
    return f"{name}: holds versions of type {kept!r}, not {wanted!r}; publish under another name"


def _at(number: int | None) -> str:
    return "at no version" if number is None else f"at v{number}"
