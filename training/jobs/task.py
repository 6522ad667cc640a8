"""What a target starts, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREEMPTED = frozenset({128 + signal.SIGTERM, 128 + signal.SIGKILL})
"""Exit codes of a process that was ended from outside: what it had saved is gone on with."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task needs of a machine.

    Attributes:
        cpus, gpus: how many; a part of one where machines share.
        memory: bytes.
        custom: names of a cluster's own resources -> how much of each.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One process to be started.

    Attributes:
        name: for people; also of its log.
        command: program and arguments.
        folder: where it works.
        environment: what is added to the environment that it inherits.
        log: the file that all its output goes to; what was there stays. No other task that is at work has it.
        key: unique to this attempt, of letters, digits, '.', '_' and '-': by it the target finds a task again whose
            driver was killed before it could keep a note. Empty where that does not matter.
        ship: a folder that is sent along and is where it works on another machine, in the place of `folder`.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    key: str = ""
    ship: Path | None = None

    @property
    def id(self) -> str:
        """By which a cluster or a server knows it: its key, or its name and something that no other has."""
        return self.key or f"{self.slug}-{uuid.uuid4().hex[:8]}"

    @property
    def slug(self) -> str:
        """Its name in letters, digits, '.', '_' and '-'."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)


def result_of(log: Path) -> dict[str, Any] | None:
    """What a task says in the end: the last JSON object of its output that begins a line; None where there is none."""
    try:
        text = "\n" + log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    decoder, start = json.JSONDecoder(), text.rfind("\n{")
    while start >= 0:
        with suppress(ValueError):
            found: dict[str, Any] = decoder.raw_decode(text, start + 1)[0]
            return found
        start = text.rfind("\n{", 0, start)
    return None
