"""What is installed here. Hundreds of files say it: they are read again only where something was installed since."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

State = tuple[tuple[str, int], ...]


def entry_points(group: str) -> metadata.EntryPoints:
    """Those of a group, of all installed distributions."""
    return _entry_points(_state(), group)


def versions() -> dict[str, str]:
    """Those of all installed distributions, by name."""
    return dict(_versions(_state()))


@lru_cache(maxsize=64)
def described(distribution: metadata.Distribution) -> tuple[str, str]:
    """Its name and version."""
    about = distribution.metadata  # parsed anew each time
    return about["Name"], about["Version"]


def _state() -> State:
    """The folders in which distributions are looked for, and when something was last put there or taken away."""
    return tuple((entry, _changed(entry or ".")) for entry in sys.path)


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=16)
def _entry_points(state: State, group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


@lru_cache(maxsize=4)
def _versions(state: State) -> dict[str, str]:
    found = [item.metadata for item in metadata.distributions()]
    return dict(sorted((item["Name"], item["Version"]) for item in found))
