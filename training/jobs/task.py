"""What a target starts, and how it ends."""

from __future__ import annotations

import itertools
import json
import re
import signal
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

STOPPED: Final = 128 + signal.SIGTERM
"""The exit code of a process that was asked to end."""
VANISHED: Final = 128 + signal.SIGKILL
"""That of one that was killed, or is gone with its machine."""
PREEMPTED = frozenset({STOPPED, VANISHED})
"""Exit codes of a process that was ended from outside: what it had saved is gone on with."""
GRACE_SECONDS: Final = 60.0
"""From the signal that asks a task to end until it is killed."""
_IN_WORDS: Final = re.compile(
    r"^(?:fail \(verdict \w+\)|error: .* fails policy .*verdict \w+\); it may not ship|\S+: gate failed\b.*)$",
    re.MULTILINE,
)
"""As `harness gate` and `eval`, `promote` and `deploy`, and `pipeline` tell of a failed gate without `--json`."""


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


def is_harness(words: Sequence[str]) -> bool:
    """Whether a command is one of ours, whose exit codes mean what ours do."""
    return list(words[:1]) == ["harness"] or ("-m", "harness") in itertools.pairwise(words)


def gate_failed(code: int, said: Mapping[str, Any] | None) -> bool:
    """Whether a command of ours ended because a gate failed.

    Python itself ends with 1, too, where it cannot even begin; so the command must have said a verdict.

    Args:
        code: its exit code.
        said: its `result_of`.
    """
    return code == 1 and _says_failure(said)


def result_of(log: Path, start: int = 0) -> dict[str, Any] | None:
    """What a task says in the end: the last JSON object of its output that begins a line.

    Where there is none, a verdict in words is `{"verdict": "fail"}`; None where there is nothing of the kind.

    Args:
        start: where its output begins, in bytes; what is before was another attempt's.
    """
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = "\n" + file.read().decode(errors="replace")
    except OSError:
        return None
    decoder, place = json.JSONDecoder(), text.rfind("\n{")
    while place >= 0:
        with suppress(ValueError):
            found: dict[str, Any] = decoder.raw_decode(text, place + 1)[0]
            return found
        place = text.rfind("\n{", 0, place)
    return {"verdict": "fail"} if _IN_WORDS.search(text) else None


def size_of(log: Path) -> int:
    """Its bytes so far."""
    return log.stat().st_size if log.exists() else 0


def _says_failure(said: object) -> bool:
    """Of `harness gate`; `eval`; `pipeline`; `launch`, which hands on what its job says."""
    if isinstance(said, list):
        return any(map(_says_failure, said))
    if not isinstance(said, Mapping):
        return False
    if said.get("verdict") == "fail" or said.get("state") == "gate failed":
        return True
    return any(_says_failure(said.get(key)) for key in ("verdicts", "stages", "result"))
