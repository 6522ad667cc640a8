"""What a target starts, and how it ends."""

from __future__ import annotations

import itertools
import json
import re
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
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
LONGEST: Final = 160
"""Characters of a line that are shown."""
TAIL: Final = 262_144
"""Bytes of a log's end that are looked at."""
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
    text = _read(log, start)
    words = {"verdict": "fail"} if _IN_WORDS.search(text) else None
    return next(_documents(text), words)


def documents(log: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """The JSON objects of a task's output that begin a line, on one line or on several; the last first.

    Args:
        start: as of `result_of`.
    """
    return _documents(_read(log, start))


def _read(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _documents(said: str) -> Iterator[dict[str, Any]]:
    text, decoder = f"\n{said}", json.JSONDecoder()
    place = text.rfind("\n{")
    while place >= 0:
        with suppress(ValueError):
            yield decoder.raw_decode(text, place + 1)[0]
        place = text.rfind("\n{", 0, place)


def tail(log: Path, lines: int = 20) -> list[str]:
    """The last lines of a log that say something; of a bar that was drawn over itself, what it showed last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    document = f"\n{text}".rfind("\n{\n")
    if document >= 0 and text.rstrip().endswith("}"):  # what it said with `--json` is told in other words
        text = text[:document]
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return [line for line in shown if line.strip()][-lines:]


def last_line(log: Path) -> str:
    """The last line of a log that says something and is no JSON."""
    said = [line for line in tail(log) if not line.startswith("{")]
    return said[-1].strip()[:LONGEST] if said else ""


def last_words(log: Path) -> str:
    """The last three lines of a log, in one, for whoever asks why it ended."""
    return " | ".join(line.strip() for line in tail(log, 3))[-600:] or "it said nothing"


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
