"""What becomes of a stage whose process has ended: what it made is published, or it is kept why it failed.

Until a stage is done, its note leads to the process that ended, and what that made stays in its folder. So whoever is
killed here, or finds that the registry does not answer, leaves it to the next, who only collects it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness import HarnessError, Incomplete, Json, Session, WorkItem
from training.jobs.targets import Running
from training.jobs.task import PREEMPTED, gate_failed, result_of
from training.pipelines import progress
from training.pipelines.artifacts import Ended, collect, failure
from training.pipelines.deciding import Decision
from training.pipelines.reading import Pipeline
from training.pipelines.settings import Stage
from training.pipelines.starting import Starter
from training.pipelines.state import State

GATES: Final = ("gate", "promote", "deploy")
"""Kinds of stages that a verdict may stop."""


@dataclass
class Attempt:
    """A stage's process."""

    decision: Decision
    item: WorkItem
    running: Running
    note: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stage is left.

    Attributes:
        result: what it made and said.
        ended: when that was, in seconds since the epoch; None where it goes on.
    """

    state: str
    why: str
    result: Mapping[str, Json] = field(default_factory=dict)
    ended: float | None = None


class Finisher:
    """Finishes the stages of one pipeline."""

    def __init__(self, pipeline: Pipeline, session: Session, starter: Starter, state: State) -> None:
        self._pipeline = pipeline
        self._session = session
        self._starter = starter
        self._state = state

    def finish(self, name: str, attempt: Attempt, code: int) -> Ending:
        """How it stands with a stage whose process has ended with this exit code.

        Raises:
            LostClaim: another process has the stage by now.
        """
        stage, log = self._pipeline.stages[name], self._starter.log(attempt.note)
        if code == 0:
            return self._collect(name, attempt)
        preempted = attempt.note["preempted"] + (code in PREEMPTED)
        reason, said = failure(stage, code, log)
        if code in PREEMPTED:
            if preempted <= stage.retries:
                reason = f"was ended from outside (exit code {code})"
                self.give_back(attempt, reason, preempted)
                return Ending(progress.WAITING, f"{reason}; goes on, {preempted} of {stage.retries} times")
            reason = f"was ended from outside {preempted} times; {reason}"
        return self.fail(attempt.item, _state(stage, code, result_of(log)), reason, said)

    def fail(self, item: WorkItem, state: str, reason: str, said: Mapping[str, Json] | None = None) -> Ending:
        """The stage failed, and is not tried again by itself; whoever waits for it learns in which state it ended."""
        said = said or {}
        self._state.failed(item, reason, {**said, "state": state})
        return Ending(state, reason, said, time.time())

    def give_back(self, attempt: Attempt, why: str, preempted: int) -> None:
        """The stage waits, for a process of its own: the one that ended is not looked for."""
        self._state.beat(attempt.item, {"preempted": preempted, "starts": attempt.note["starts"]})
        self._state.give_back(attempt.item, why)

    def tidy(self, name: str, item: WorkItem) -> None:
        """Removes what a stage made, which was published."""
        self._starter.clear(self._pipeline, name, item)

    def _collect(self, name: str, attempt: Attempt) -> Ending:
        item = attempt.item
        ended = Ended(
            self._starter.log(attempt.note), self._starter.folder(self._pipeline, name, item), attempt.decision.inputs,
            {"pipeline": self._pipeline.name, "stage": name},
        )  # fmt: skip
        now = attempt.note.setdefault("ended", time.time())
        self._state.beat(item, attempt.note)
        try:
            result = collect(self._pipeline.stages[name], ended, self._session)
        except HarnessError as error:
            if error.exit_code != Incomplete.exit_code:
                return self.fail(item, progress.FAILED, str(error))
            self._state.give_back(item, str(error))
            return Ending(
                progress.INCOMPLETE, f"{error}; what it made is kept, and the same command publishes it", {}, now
            )
        self._state.done(item, result)
        self.tidy(name, item)
        return Ending(progress.DONE, attempt.decision.why, result, now)


def _state(stage: Stage, code: int, said: Mapping[str, Any] | None) -> str:
    """In which state a failure leaves a stage. Its exit code alone says no verdict: Python's own errors are 1, too."""
    if stage.kind in GATES and gate_failed(code, said):
        return progress.GATE_FAILED
    return progress.INCOMPLETE if code == Incomplete.exit_code else progress.FAILED
