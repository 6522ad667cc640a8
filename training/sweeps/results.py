"""What a trial said: its last JSON document, and the values of the metric on the way there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness import Json
from training.jobs.task import documents

BEGINS: Final = "log"
"""The key of a target's note that says where in its log a trial's last attempt begins, in bytes."""
PARTS: Final = ("value", "low", "high", "stderr", "n", "clusters")
"""What is kept of a score."""
STEP: Final = "step"
"""A line of JSON with this key is a point of a curve, and not what a trial says in the end."""


def said_last(log: Path, start: int = 0) -> dict[str, Any] | None:
    """The last JSON object that a trial printed and that is no point of a curve; None where there is none.

    Args:
        start: where its output begins, in bytes; what is before was another attempt's.
    """
    return next((found for found in documents(log, start) if STEP not in found), None)


def scores_of(document: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    """Name -> value with its interval, of whatever a trial's document says.

    What `harness train --json` and `harness eval --json` print is known; of another program's document every number is
    one, within mappings by a dotted name, and a mapping with a `value` is a number with its interval.
    """
    if isinstance(stages := document.get("stages"), list) and stages:
        return _kept(stages[-1].get("scores") or {})
    if isinstance(runs := document.get("runs"), list):
        return {
            f"{run['benchmark']['name']}.{name}": score
            for run in runs
            for name, score in _kept(run.get("scores") or {}).items()
        }
    found = dict(_numbers(document, ""))
    return {**found, **(_kept(document["scores"]) if isinstance(document.get("scores"), dict) else {})}


def made_by(document: Mapping[str, Any]) -> dict[str, Json]:
    """Which checkpoint a trial made, and which runs."""
    made: dict[str, Json] = {}
    if isinstance(stages := document.get("stages"), list) and stages:
        made["checkpoint"] = stages[-1].get("checkpoint")
    if isinstance(runs := document.get("runs"), list):
        made["runs"] = [run.get("run") for run in runs]
    return made


def _kept(scores: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    return {
        name: {part: score[part] for part in PARTS if part in score}
        for name, score in scores.items()
        if isinstance(score, Mapping) and finite(score.get("value")) is not None
    }


def _numbers(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Json]]]:
    for name, value in document.items():
        if finite(value) is not None:
            yield prefix + name, {"value": finite(value)}
        elif isinstance(value, Mapping):
            if finite(value.get("value")) is not None:
                yield prefix + name, {part: value[part] for part in PARTS if part in value}
            else:
                yield from _numbers(value, f"{prefix}{name}.")


def finite(value: Any) -> float | None:
    """A number that is one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None


class Curve:
    """The values of one metric in the order in which a trial prints them, read while it does.

    Args:
        log: the trial's output.
        name: the metric, a key of the lines of JSON that have a `step`.
        begins: gives where the output of the attempt that is at work begins; what was before does not count.
    """

    def __init__(self, log: Path, name: str, begins: Callable[[], int] = int) -> None:
        self.values: list[float] = []
        self.name, self._log = name, log
        self.start, self._begins = begins(), begins
        self._read = self.start

    def update(self) -> list[float]:
        """All values until now."""
        if (start := self._begins()) != self.start:
            self.start = self._read = start
            self.values.clear()
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return self.values
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{") and (value := self._value(line)) is not None:
                self.values.append(value)
        return self.values

    def _value(self, line: bytes) -> float | None:
        try:
            point = json.loads(line)
        except ValueError:
            return None
        return finite(point.get(self.name)) if STEP in point else None
