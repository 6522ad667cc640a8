"""Carrying a pipeline out: what is ready goes on, what was done is used again, and a failure stops what follows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from harness import HarnessError, Incomplete, LostClaim, Session, WorkItem
from training.pipelines import progress
from training.pipelines.deciding import Choice, Decider, Decision, Outcome
from training.pipelines.finishing import Attempt, Finisher
from training.pipelines.progress import ENDED, GOOD, Progress
from training.pipelines.reading import Pipeline
from training.pipelines.starting import Starter
from training.pipelines.state import State

POLL_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 1.0
"""Between two looks at a stage that another process carries out."""
GRACE_SECONDS: Final = 60.0
"""In which stages that are asked to stop may save what they have."""


class Watcher:
    """Who watches. This one does not."""

    def changed(self, stage: Progress) -> None:
        """A stage is in another state."""

    def tick(self) -> None:
        """Some time has passed."""


class Driver:
    """Carries one pipeline out, once.

    Args:
        starter: gives stages to where they are carried out.
        parallel: stages at once.
        cores: what stages at once may need together, where that is this machine's to say.
    """

    def __init__(
        self, pipeline: Pipeline, session: Session, starter: Starter, choice: Choice, *, parallel: int,
        cores: float | None = None, watcher: Watcher | None = None,
    ) -> None:  # fmt: skip
        self._pipeline = pipeline
        self._session = session
        self._starter = starter
        self._choice = choice
        self._parallel = parallel
        self._cores = cores
        self._watcher = watcher or Watcher()
        self._state = State(session, pipeline.name)
        self._decider = Decider(pipeline, session, self._state, choice)
        self._finisher = Finisher(pipeline, session, starter, self._state)
        self._made: dict[str, Outcome] = {}
        self._ready: dict[str, Decision] = {}
        self._attempts: dict[str, Attempt] = {}
        self._awaited: dict[str, tuple[WorkItem, Decision]] = {}
        self._last_beat = self._last_look = time.monotonic()
        self.stages = {
            name: Progress(name, stage.kind, tuple(pipeline.graph[name])) for name, stage in pipeline.stages.items()
        }

    def run(self) -> None:
        """Carries it out; how it went is in `stages`.

        Raises:
            UsageError: a stage that is not asked for is needed, and was not done.
            KeyboardInterrupt, or what else ends a process from outside: after stages were asked to stop.
        """
        for name in self.stages.keys() - self._choice.chosen - set(self._choice.taken):
            self._change(name, progress.LEFT_OUT)
        settings = self._pipeline.settings
        self._run = self._state.begin_run(
            {"file": self._pipeline.file.name, "parameters": settings.parameters, "engine": self._starter.engine}
        )
        try:
            while any(stage.state not in ENDED for stage in self.stages.values()):
                self._settle()
                self._start()
                self._poll()
                self._watcher.tick()
        except BaseException as error:
            self._stop(why := _reason(error))
            with suppress(HarnessError):  # the workspace may be what cannot be written
                self._state.failed(self._run, why, self._document())
            raise
        self._state.done(self._run, self._document())

    def _settle(self) -> None:
        """Decides about stages whose dependencies have ended; what is used again may let others be decided at once."""
        for name in self._waiting():
            before = [self.stages[other] for other in self.stages[name].depends_on]
            bad = [stage for stage in before if stage.state in ENDED and stage.state not in GOOD]
            if bad:
                self._change(name, progress.STOPPED, f"{bad[0].name}: {bad[0].state}")
            elif all(stage.state in GOOD for stage in before):
                self._decide(name)

    def _waiting(self) -> list[str]:
        waiting = (name for name, stage in self.stages.items() if stage.state == progress.WAITING)
        return [name for name in waiting if name not in self._ready]

    def _decide(self, name: str) -> None:
        try:
            decision = self._decider.decide(name, self._made)
        except HarnessError as error:
            if name not in self._choice.chosen:
                raise
            self._fail(name, error)
            return
        if decision.done is None:
            self._ready[name] = decision
            return
        assert decision.item is not None
        self._reuse(name, decision.item, decision.done, decision.why)

    def _reuse(self, name: str, item: WorkItem, outcome: Outcome, why: str) -> None:
        self._finisher.tidy(name, item)  # whoever carried it out may have been killed before
        self._recall(name, item.note)
        self._made[name] = outcome
        self.stages[name].result = outcome.result
        self._change(name, progress.REUSED, why)

    def _recall(self, name: str, note: Mapping[str, Any]) -> None:
        """What is shown of a stage that was started, by whomever."""
        if "log" in note:
            stage = self.stages[name]
            stage.began, stage.ended = note["began"], note.get("ended")
            stage.log, stage.tries = self._starter.log(note), note["starts"]

    def _start(self) -> None:
        for name, decision in list(self._ready.items()):
            if not self._has_room(name):
                continue
            del self._ready[name]
            item = decision.item or self._state.add(decision.name, decision.recipe)
            claimed = self._state.claim(item.name)
            if claimed is None:
                self._awaited[name] = item, decision
                self._state.refresh()
                self._change(name, progress.AWAITED, f"{self._state.named(item.name).carrier} carries it out")
            else:
                self._begin(name, decision, claimed)

    def _begin(self, name: str, decision: Decision, item: WorkItem) -> None:
        try:
            running, note = self._starter.start(self._pipeline, name, decision, item, self._state)
        except HarnessError as error:
            if error.exit_code != Incomplete.exit_code:  # else it may have been started, and is found again
                self._finisher.fail(item, progress.FAILED, str(error))
            self._fail(name, error)
            return
        self._attempts[name] = Attempt(decision, item, running, note)
        self._recall(name, note)
        self._change(name, progress.RUNNING, decision.why)

    def _has_room(self, name: str) -> bool:
        if not self._attempts:
            return True
        needed = [self._starter.resources(self._pipeline.stages[other]).cpus for other in (*self._attempts, name)]
        return len(self._attempts) < self._parallel and (self._cores is None or sum(needed) <= self._cores)

    def _poll(self) -> None:
        if not self._attempts:
            time.sleep(POLL_SECONDS if self._awaited else 0)
        for number, (name, attempt) in enumerate(list(self._attempts.items())):
            try:
                code = attempt.running.wait(POLL_SECONDS if number == 0 else 0)
                if code is not None:
                    del self._attempts[name]
                    self._ended(name, attempt, code)
            except Incomplete as error:  # its place does not answer; the item stays, so that it is found again
                self._attempts.pop(name, None)
                self._fail(name, error)
            except LostClaim:
                self._attempts.pop(name, None)
                self._lost(name, attempt)
        self._look()
        if time.monotonic() - self._last_beat > BEAT_SECONDS:
            self._last_beat = time.monotonic()
            self._beat()

    def _ended(self, name: str, attempt: Attempt, code: int) -> None:
        ending = self._finisher.finish(name, attempt, code)
        stage = self.stages[name]
        stage.result, stage.ended = ending.result, ending.ended
        if ending.state == progress.DONE:
            self._made[name] = Outcome(attempt.item.name, ending.result)
            self._decider.look_again()
        self._state.refresh()
        self._change(name, ending.state, ending.why)

    def _look(self) -> None:
        """How it stands with stages that other processes carry out."""
        if not self._awaited or time.monotonic() - self._last_look < LOOK_SECONDS:
            return
        self._last_look = time.monotonic()
        self._state.refresh()
        for name, (awaited, decision) in list(self._awaited.items()):
            item = self._state.named(awaited.name)
            if item.status in ("failed", "cancelled"):
                self._recall(name, item.note)
                result = dict(item.result or {})
                state = result.pop("state", progress.FAILED)
                self.stages[name].result = result
                self._change(name, state, f"{item.reason}; {item.carrier} carried it out")
            elif item.status == "done":
                self._decider.look_again()
                self._reuse(name, item, Outcome(item.name, item.result or {}), f"{item.carrier} carried it out")
            elif (claimed := self._state.claim(item.name)) is not None:  # its process has gone
                self._begin(name, decision, claimed)
            else:
                continue
            del self._awaited[name]

    def _lost(self, name: str, attempt: Attempt) -> None:
        attempt.running.stop()
        self._state.refresh()
        self._change(name, progress.WAITING, "another process carries it out by now")

    def _beat(self) -> None:
        for name, attempt in list(self._attempts.items()):
            try:
                self._state.beat(attempt.item)
            except LostClaim:
                del self._attempts[name]
                self._lost(name, attempt)
        self._state.beat(self._run, self._document())

    def _stop(self, why: str) -> None:
        """Asks all stages to stop, waits for them as long as that is sensible, and leaves them to who goes on."""
        try:
            for attempt in self._attempts.values():
                with suppress(HarnessError):
                    attempt.running.stop()
            until = time.monotonic() + GRACE_SECONDS
            while self._attempts and time.monotonic() < until:
                for name, attempt in list(self._attempts.items()):
                    self._leave(name, attempt, why)
                self._watcher.tick()
        finally:
            for name, attempt in list(self._attempts.items()):
                with suppress(HarnessError):
                    attempt.running.kill()
                self._leave(name, attempt, why)

    def _leave(self, name: str, attempt: Attempt, why: str) -> None:
        """Where a stage has ended, it waits for who goes on, or is done after all."""
        with suppress(HarnessError):
            code = attempt.running.wait(POLL_SECONDS)
            if code is None:
                return
            del self._attempts[name]
            if code == 0:
                self._ended(name, attempt, code)
                return
            self._finisher.give_back(attempt, why, attempt.note["preempted"])
            self._change(name, progress.INTERRUPTED, "" if why == progress.INTERRUPTED else why)

    def _fail(self, name: str, error: HarnessError) -> None:
        self._change(
            name, progress.INCOMPLETE if error.exit_code == Incomplete.exit_code else progress.FAILED, str(error)
        )

    def _change(self, name: str, state: str, why: str = "") -> None:
        stage = self.stages[name]
        stage.state, stage.why = state, why
        if state in ENDED and state not in GOOD and stage.began is not None:
            stage.ended = time.time()
        self._watcher.changed(stage)

    def _document(self) -> Mapping[str, Any]:
        return {"stages": [stage.document(self._session.home.absolute()) for stage in self.stages.values()]}


def _reason(error: BaseException) -> str:
    """What ended a pipeline before its time; Ctrl-C and signals are no mistakes of a program."""
    if isinstance(error, HarnessError):
        return str(error)
    return type(error).__name__ if isinstance(error, Exception) else progress.INTERRUPTED
