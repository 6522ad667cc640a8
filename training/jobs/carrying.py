"""Carries out one job: start, follow, retry after an interruption; what a killed driver had begun is gone on with."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from harness import HarnessError, Incomplete, Json, LostClaim, Session, UsageError, WorkItem
from training.jobs.elsewhere import ELSEWHERE, Elsewhere, is_elsewhere
from training.jobs.order import Order, source_place
from training.jobs.planning import LOCAL, losses
from training.jobs.settings import JobSettings
from training.jobs.source import fetch
from training.jobs.targets import Running, Target, choose_target
from training.jobs.task import GRACE_SECONDS, PREEMPTED, gate_failed, result_of, size_of

BEAT_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.2
LOST: Final = 3
"""So often it is started again after it was lost together with its driver."""
USAGE, INCOMPLETE = 2, 3


class Stopped(Exception):
    """Somebody asked for the end before the job was done."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """How whoever started jobs asks for their end.

    Attributes:
        asked: they are to save what they have, and end.
        now: they have no more time for it.
    """

    asked: threading.Event = field(default_factory=threading.Event)
    now: threading.Event = field(default_factory=threading.Event)


class Carrier:
    """Carries out the job of one claimed item.

    Args:
        stopping: tells when the job is to be stopped and given back.
        said: takes what the job's log has new.
        tell: takes what a person should know.
    """

    def __init__(
        self,
        session: Session,
        item: WorkItem,
        stopping: Stopping,
        said: Callable[[bytes], object],
        tell: Callable[[str], object],
    ) -> None:
        self.item = item
        self.order = Order.of(item)
        self._session = session
        self._work = session.work
        self._stopping = stopping
        self._said = said
        self._tell = tell
        self._note = dict(item.note)
        self._read = 0

    @property
    def log(self) -> Path:
        """What the job says, all attempts of it."""
        return log_of(self._session, self.item)

    def carry(self) -> int:
        """The job's exit code on our scale: 0 done, 1 a gate failed, 2 an error, 3 interrupted too often.

        Raises:
            Stopped: by `stopping`; the item waits again.
            Elsewhere: another process is at it; the item waits again.
            LostClaim: somebody cancelled it; the job was stopped.
            HarnessError: it could not be started, and has failed; or its target does not answer any more: the job may
                go on, and the item waits for somebody who looks again.
        """
        target = None
        try:
            target = self._target()
            running = self._find(target)
            lost = running is not None and running.wait(0) is not None
        except HarnessError as error:
            if target is not None:
                target.close()
            if self._has_begun:  # and may go on, where it cannot be asked about now
                self._work.give_back(self.item, str(error))
            else:
                self._work.failed(self.item, str(error))
            raise
        try:
            if running is not None:
                self._tell(f"{self.item.name}: goes on from where its driver was")
            return self._conclude(self._attempts(target, running, lost=lost))
        finally:
            target.close()

    def end(self) -> None:
        """Ends what an earlier driver started and nobody follows any more.

        Raises:
            HarnessError: its target cannot be asked, or does not end it; the item waits for somebody who tries again.
        """
        if not self._has_begun:
            return
        try:
            with closing(self._target()) as target:
                running = self._find(target)
                if running is not None and running.wait(0) is None and self._stop(running) is None:
                    raise Incomplete(f"{self.item.name}: could not be stopped and may go on; cancel it again")
        except HarnessError as error:
            self._work.give_back(self.item, str(error))
            raise
        self._keep(over=True)

    @property
    def _has_begun(self) -> bool:
        """Whether an earlier driver started it, and did not see its end."""
        return "key" in self._note and not self._note.get("over")

    def _target(self) -> Target:
        losses(self.order.job, self.order.on)
        return choose_target(self.order.on, **self.order.target_options)

    def _attempts(self, target: Target, running: Running | None, *, lost: bool) -> int:
        """The exit code of the last one.

        Args:
            lost: the first ended while nobody followed it.
        """
        if running is None:
            self._read = size_of(self.log)
        while True:
            code = self._follow(running or self._start(target))
            if code not in PREEMPTED or not self._may_again(code, lost=lost):
                return code
            running, lost = None, False

    def _find(self, target: Target) -> Running | None:
        """What an earlier driver began and could not see through."""
        if not self._has_begun:
            return None
        return target.find(self.order.trace(self._note["key"], self.log), self._note.get("target", {}))

    def _start(self, target: Target) -> Running:
        starts = self._note.get("starts", 0) + 1
        key = f"{self.item.name}-{self.order.id}-{starts}"
        # Before it starts, so that whoever comes after a kill right here knows what to look for.
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._keep(starts=starts, key=key, over=False, target={}, log=size_of(self.log), began=began)
        try:
            if self.order.on == LOCAL:
                _check_secrets(self.order.job)
            if self.order.copies:
                fetch(self.order.job, source_place(self.log))
            running = target.start(self.order.task(self._session, key, self.log, again=starts > 1))
        except Incomplete as error:  # it may have begun
            self._work.give_back(self.item, str(error))
            raise
        except HarnessError as error:
            self._keep(over=True)
            self._work.failed(self.item, str(error))
            raise
        try:
            self._keep(target=dict(running.note))
        except LostClaim:
            self._stop(running)
            raise
        return running

    def _follow(self, running: Running) -> int:
        """Its exit code, when it has ended."""
        heard = time.monotonic()
        try:
            while (code := running.wait(LOOK_SECONDS)) is None:
                self._pass_on()
                if self._stopping.asked.is_set():
                    return self._give_back(running)
                if time.monotonic() - heard > BEAT_SECONDS:
                    heard = time.monotonic()
                    self._work.beat(self.item)
        except LostClaim:
            self._stop(running)
            raise
        except HarnessError as error:
            self._work.give_back(self.item, str(error))
            raise
        self._pass_on()
        return code

    def _give_back(self, running: Running) -> int:
        """0 where it was done before it could be stopped."""
        code = self._stop(running)
        if code == 0:
            return 0
        if code is None:
            self._work.give_back(self.item, "could not be stopped and may go on; whoever claims it looks for it")
        else:
            self._keep(over=True)
            self._work.give_back(self.item, "stopped")
        raise Stopped

    def _stop(self, running: Running) -> int | None:
        """Its exit code, where it is known."""
        self._tell(f"{self.item.name}: is asked to end, and has {GRACE_SECONDS:.0f} s for it")
        running.stop()
        until = time.monotonic() + GRACE_SECONDS
        while (code := running.wait(LOOK_SECONDS)) is None:
            if self._stopping.now.is_set() or time.monotonic() > until:
                running.kill()
                code = running.wait(GRACE_SECONDS)
                break
        self._pass_on()
        return code

    def _may_again(self, code: int, *, lost: bool) -> bool:
        """Whether it is started again after it was ended from outside; counts it.

        Args:
            lost: it ended while nobody followed it.
        """
        counted, limit = ("lost", LOST) if lost else ("retries", self.order.job.max_retries)
        so_far = self._note.get(counted, 0)
        if so_far >= limit:
            return False
        self._keep(**{counted: so_far + 1, "over": True})
        self._tell(f"{self.item.name}: was ended from outside ({code}); starts again, {so_far + 1} of {limit}")
        return True

    def _conclude(self, code: int) -> int:
        begin = self._note.get("log", 0)
        if code == INCOMPLETE and self.order.job.is_harness and is_elsewhere(self.log, begin):
            self._keep(over=True)
            self._work.give_back(self.item, ELSEWHERE)
            raise Elsewhere
        said = result_of(self.log, begin)
        ours = _ours(code, self.order.job, said)
        result = {"code": code, "exit_code": ours, "value": said}
        self._keep(over=True, retries=0, lost=0)
        if ours == 0:
            self._work.done(self.item, result)
        elif code in PREEMPTED:
            self._work.failed(self.item, f"was ended from outside ({code}) once more than max_retries says", result)
        else:
            self._work.failed(self.item, f"ended with exit code {code}", result)
        return ours

    def _keep(self, **values: Json) -> None:
        self._note.update(values)
        self._work.beat(self.item, self._note)

    def _pass_on(self) -> None:
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        if new:
            self._said(new)


def log_of(session: Session, item: WorkItem) -> Path:
    """The file with what a job says."""
    return session.home.absolute() / "jobs" / f"{item.name}-{item.document['id']}" / "log.txt"


def _ours(code: int, job: JobSettings, said: Mapping[str, Json] | None) -> int:
    """A job's exit code in the words of our own."""
    if code in PREEMPTED or code == 130:
        return INCOMPLETE
    if code in (0, USAGE, INCOMPLETE) or (job.is_harness and gate_failed(code, said)):
        return code
    return USAGE


def _check_secrets(job: JobSettings) -> None:
    missing = [name for name in job.secrets if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"{job.name}: the variable {missing[0]} is not set, which secrets: names; set it and try again"
        )
