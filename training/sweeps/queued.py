"""Trials as jobs of a queue: agents take them, on whichever machine and target the queue has."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness import HarnessError, Json, Session, WorkItem
from training.jobs.carrying import log_of
from training.jobs.order import Order
from training.jobs.planning import LOCAL
from training.jobs.queues import Queue, item_of, submit
from training.jobs.settings import JobNeeds, JobSettings
from training.jobs.task import Task
from training.sweeps.results import BEGINS

LOOK: Final = 0.5
STOPPED: Final = 143
ENDED: Final = ("done", "failed", "cancelled")


class QueuedTrials:
    """Puts tasks into a queue.

    Args:
        name: the queue's.

    Raises:
        UnknownName: there is no such queue.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._queue = Queue.named(session, name)

    def start(self, task: Task) -> QueuedTrial:
        """Put it into the queue.

        Raises:
            HarnessError: it cannot be a job; says why.
        """
        needs = task.resources
        try:
            job = JobSettings(
                name=task.key, entry_point=tuple(task.command), environment=dict(task.environment),
                resources=JobNeeds(
                    cpus=needs.cpus or None, gpus=needs.gpus, custom=dict(needs.custom),
                    memory=None if needs.memory is None else str(needs.memory),
                ),
            )  # fmt: skip
        except ValueError as error:
            raise HarnessError(f"{task.name}: cannot be a job of a queue: {error}") from error
        order = Order.new(job, self._queue.on or LOCAL, self._queue.options)
        return self._trial(submit(self._session, self._queue.work, order), task.log)

    def find(self, task: Task, note: Mapping[str, Json]) -> QueuedTrial | None:
        """The job that an earlier driver put there."""
        for item in self._session.work.items(self._queue.work):
            if item.name.rpartition("-")[0] == task.key:
                return self._trial(item, task.log)
        return None

    def _trial(self, item: WorkItem, log: Path) -> QueuedTrial:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        log.symlink_to(log_of(self._session, item))
        return QueuedTrial(self._session, self._queue, item.name)

    def close(self) -> None:
        """Nothing is held."""


class QueuedTrial:
    """A job in a queue, or with an agent."""

    def __init__(self, session: Session, queue: Queue, name: str) -> None:
        self._session, self._queue, self._name = session, queue, name

    @property
    def note(self) -> Mapping[str, Json]:
        note = item_of(self._session, self._queue.work, self._name).note
        return {"job": self._name, BEGINS: note.get("log", 0)}

    def wait(self, seconds: float) -> int | None:
        """Its exit code, once an agent has carried it out."""
        until = time.monotonic() + seconds
        while (item := item_of(self._session, self._queue.work, self._name)).status not in ENDED:
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, LOOK))
        if item.status == "cancelled":
            return STOPPED
        code = (item.result or {}).get("exit_code")
        return int(code) if code is not None else 0 if item.status == "done" else HarnessError.exit_code

    def stop(self) -> None:
        """Cancel it: an agent that has it ends it."""
        self._session.work.cancel(self._queue.work, {self._name}, "its sweep was stopped")

    def kill(self) -> None:
        """A job knows no other end than `stop`."""
        self.stop()
