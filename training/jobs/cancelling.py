"""Cancels jobs of a queue, whoever carries them out."""

from __future__ import annotations

from collections.abc import Callable, Collection

from harness import HarnessError, Session, Work, WorkItem
from training.jobs.carrying import Carrier, Stopping


def cancel(session: Session, queue: Work, names: Collection[str] | None, tell: Callable[[str], object]) -> int:
    """Cancel jobs that wait or run; how many is returned.

    One that runs is stopped by its agent. Where that is gone, the job is stopped here, and waited for until it has
    saved.

    Args:
        names: only these.
        tell: takes what a person should know.

    Raises:
        HarnessError: a job whose agent is gone cannot be stopped; it and those after it are not cancelled.
    """
    for item in session.work.items(queue):
        if item.status == "running" and (names is None or item.name in names):
            # Given to this process only if its own is gone.
            claimed = session.work.claim(queue, {item.name})
            if claimed is not None:
                _end(session, claimed, tell)
    return session.work.cancel(queue, names)


def _end(session: Session, item: WorkItem, tell: Callable[[str], object]) -> None:
    try:
        carrier = Carrier(session, item, Stopping(), lambda text: None, tell)
    except HarnessError as error:  # nothing says where it is
        tell(str(error))
        return
    carrier.end()
