"""Every error that a user may meet, and the exit code that it ends with.

    HarnessError                     2
    ├── UsageError                   2   a wrong argument or name
    │   └── UnknownName              2   no such thing in the catalog; carries suggestions
    │       └── UnknownVersion       2   a checkpoint that is there has no such version or alias
    ├── ConfigError                  2   a configuration file; carries file and line
    ├── PluginError                  2   a plugin that cannot be imported, or that breaks its contract
    │   └── MissingExtra             2   an optional dependency; carries what to install
    ├── DataError                    2   a benchmark's data: absent, malformed, of another layout
    │   └── ImageError               2   one picture that cannot be read (inside a run: a Failure, not the end)
    ├── CheckpointError              2   a checkpoint: unknown, incomplete
    │   └── IntegrityError           2   stored bytes are not what was published
    ├── LostClaim                    2   a piece of work that somebody else carries out by now
    ├── GateFailed                   1   a verdict that is a failure
    ├── StoreError                   3   the workspace: a full disk, a database of another version
    └── Incomplete                   3   work that ended without all of its results

Exit code 1 belongs to a failed gate alone. 130 and 143 are SIGINT and SIGTERM.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

SHOWN = 12
"""Of the names that are known, so many are listed where none is near."""


class HarnessError(Exception):
    """An error with a message for the user: the thing, the place and the next step."""

    exit_code: ClassVar[int] = 2


class UsageError(HarnessError):
    """An argument that cannot be used as it is."""


class UnknownName(UsageError):
    """A name that nothing answers to.

    Attributes:
        kind: what was looked for, such as "benchmark".
        name: the name as given.
        suggestions: near names that exist, nearest first.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        self.kind = kind
        self.name = name
        self.suggestions = near(name, known)
        if self.suggestions:
            tail = f"did you mean {' or '.join(map(repr, self.suggestions))}?"
        elif known:
            tail = f"known: {', '.join(known[:SHOWN])}" + (", …" if len(known) > SHOWN else "")
        else:
            tail = "there is none"
        super().__init__(f"unknown {kind} {name!r} ({tail})" + (f"; {hint}" if hint else ""))


class UnknownVersion(UnknownName):
    """A checkpoint that exists has no such version or alias.

    Attributes:
        checkpoint: its name; `name` is the version or alias.
    """

    def __init__(self, checkpoint: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.checkpoint = checkpoint
        super().__init__(f"{checkpoint} version", name, known, hint)


class ConfigError(HarnessError):
    """A configuration file that cannot be used; the message starts with `file:line:` where known."""

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = path
        self.line = line
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(place + message)


class PluginError(HarnessError):
    """A plugin that cannot be imported or does not keep its contract."""


class MissingExtra(PluginError):
    """An optional dependency is not installed."""


class DataError(HarnessError):
    """A benchmark's data is absent, malformed or of another layout."""


class ImageError(DataError):
    """One picture cannot be read or decoded."""


class CheckpointError(HarnessError):
    """A checkpoint that does not exist or cannot be used."""


class IntegrityError(CheckpointError):
    """Stored bytes differ from what was published."""


class LostClaim(HarnessError):
    """A piece of work is another process's by now, or was cancelled; what this one made of it does not count."""


class GateFailed(HarnessError):
    """A checkpoint that its policy does not let pass."""

    exit_code = 1


class StoreError(HarnessError):
    """The workspace cannot be read or written."""

    exit_code = 3


class Incomplete(HarnessError):
    """The work ended, but not with all of its results."""

    exit_code = 3


def near(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The names in `known` that a typing error could have turned into `name`, nearest first."""
    by_lower = {other.lower(): other for other in known}
    return tuple(by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6))
