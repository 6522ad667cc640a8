"""How far the stages of a pipeline are, as it is shown, kept in the workspace, and reported."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness import GateFailed, HarnessError, Incomplete, Json
from training.jobs.task import LONGEST, tail

WAITING: Final = "waiting"
RUNNING: Final = "running"
AWAITED: Final = "awaited"
"""Another process carries it out."""
REUSED: Final = "reused"
DONE: Final = "done"
GATE_FAILED: Final = "gate failed"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "failed"
STOPPED: Final = "stopped"
"""Something that it depends on did not end well."""
INTERRUPTED: Final = "interrupted"
LEFT_OUT: Final = "left out"

GOOD: Final = (REUSED, DONE)
ENDED: Final = (*GOOD, GATE_FAILED, INCOMPLETE, FAILED, STOPPED, LEFT_OUT)
CODES: Final = {GATE_FAILED: GateFailed.exit_code, INCOMPLETE: Incomplete.exit_code, FAILED: HarnessError.exit_code}
SERIOUS: Final = (FAILED, INCOMPLETE, GATE_FAILED)
"""The first of these that a stage ended with says how the pipeline did: 1 is a failed gate's, and only that."""


@dataclass
class Progress:
    """One stage.

    Attributes:
        why: it is carried out, used again, or not carried out.
        began, ended: seconds since the epoch; of a stage that is used again, when it was carried out.
        tries: how often it was started.
        log: where its output goes.
        result: what it made and said.
    """

    name: str
    kind: str
    depends_on: tuple[str, ...]
    state: str = WAITING
    why: str = ""
    began: float | None = None
    ended: float | None = None
    tries: int = 0
    log: Path | None = None
    result: Mapping[str, Json] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        if self.began is None:
            return None
        return (self.ended or time.time()) - self.began

    def line(self) -> str:
        """The last line of its output, or what it made."""
        if self.state in GOOD:
            artifacts = ", ".join(output["reference"] for output in self.result["outputs"].values())
            scores = ", ".join(
                f"{row['name']} {row['value']:.3f}" for row in self.result["scores"] if row["value"] is not None
            )
            return "; ".join(filter(None, (artifacts, self.result.get("said", ""), scores)))
        if self.state == RUNNING and self.log is not None:
            # what begins with ` is advice for afterwards
            said = [line.strip() for line in tail(self.log) if not line.startswith(("{", "`"))]
            return said[-1][:LONGEST] if said else ""
        return self.why

    def document(self, home: Path) -> dict[str, Any]:
        """All of it as JSON values; the log from the workspace's folder."""
        log = None if self.log is None else str(self.log.relative_to(home))
        return {
            "stage": self.name, "kind": self.kind, "depends_on": list(self.depends_on), "state": self.state,
            "why": self.why, "began": self.began, "ended": self.ended, "seconds": self.seconds, "tries": self.tries,
            "log": log, "said": self.result.get("said", ""), "outputs": self.result.get("outputs", {}),
            "scores": self.result.get("scores", []),
        }  # fmt: skip


def exit_code(stages: Iterable[Progress]) -> int:
    """How a pipeline ends: 0 where nothing went wrong."""
    states = {stage.state for stage in stages}
    return next((CODES[state] for state in SERIOUS if state in states), 0)
