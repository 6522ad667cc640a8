"""Jobs in the workspace: those that wait in queues, and those that `harness launch` carries out itself."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import Json, Session, UnknownName, UsageError, Work, WorkItem
from training.jobs.carrying import log_of
from training.jobs.order import Order
from training.jobs.settings import JobSettings
from training.jobs.task import size_of

QUEUE: Final = "queue"
LAUNCH: Final = "launch"
TAIL: Final = 8192
"""Bytes of a log's end in which its last words are looked for."""
SHOWN: Final = 200
"""Characters of them."""
OPEN: Final = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and where its jobs run.

    Attributes:
        on: the target.
        options: the target's, such as a cluster's address.
    """

    work: Work
    on: str | None
    options: Mapping[str, Any]

    @classmethod
    def named(cls, session: Session, name: str) -> Queue:
        """The queue of that name.

        Raises:
            UnknownName: there is none.
        """
        known = [work.name for work in session.work.all(QUEUE)]
        if name not in known:
            raise UnknownName(QUEUE, name, known, f"`harness queue create {shlex.quote(name)}` makes it")
        work = session.work.get(QUEUE, name)
        return cls(work, work.document.get("on"), work.document.get("options", {}))


def submit(session: Session, queue: Work, order: Order) -> WorkItem:
    """Put a job into a queue; it waits there for an agent."""
    while True:
        taken = {item.name for item in session.work.items(queue)}
        name = next(name for n in range(1, len(taken) + 2) if (name := f"{order.job.name}-{n}") not in taken)
        if session.work.add(queue, {name: order.document}):
            return item_of(session, queue, name)


def open_launch(session: Session, job: JobSettings, order: Order) -> tuple[Work, WorkItem]:
    """The item of a job that is carried out at once: the one that the same command left open, or a new one.

    Args:
        job: as it was read, before anything in it was looked up, which may be another thing by now.
    """
    work = session.work.open(LAUNCH, "here")
    what = [job.model_dump_json(), order.on, order.options, str(order.folder)]
    same = f"{job.name}-{hashlib.sha256(msgspec.json.encode(what, order='sorted')).hexdigest()[:8]}"
    before = [item for item in session.work.items(work) if item.name.rpartition("-")[0] == same]
    if before and before[-1].status in OPEN:
        return work, before[-1]
    name = f"{same}-{len(before) + 1}"
    session.work.add(work, {name: order.document})
    return work, item_of(session, work, name)


def item_of(session: Session, work: Work, name: str) -> WorkItem:
    """An item as it is now."""
    return next(item for item in session.work.items(work) if item.name == name)


def document(session: Session, item: WorkItem) -> dict[str, Json]:
    """What `--json` says of a job."""
    result = item.result or {}
    return {
        "job": item.name, "status": item.status, "on": item.document["on"], "starts": item.note.get("starts", 0),
        "exit_code": result.get("exit_code"), "code": result.get("code"), "result": result.get("value"),
        "reason": item.reason, "created": item.created, "began": item.began, "ended": item.ended,
        "log": str(log_of(session, item)),
    }  # fmt: skip


def said_last(log: Path) -> str:
    """What a job said in the end, to be put after why it failed; empty where it said nothing in words."""
    with log.open("rb") as file:
        file.seek(max(0, size_of(log) - TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    words = [line for line in lines if line and line[0] not in '{}[]"']
    return f" ({words[-1][:SHOWN]})" if words else ""


def check_names(session: Session, queue: Work, names: Sequence[str]) -> None:
    """Raises:
    UsageError: the queue has no such job.
    """
    known = {item.name for item in session.work.items(queue)}
    for name in names:
        if name not in known:
            raise UsageError(f"{queue.name}: there is no job {name!r}; `harness queue show {queue.name}` lists them")
