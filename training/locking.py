"""One training is carried out by one command at a time: two would remove what the other is just saving."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness import Incomplete, StoreError
from training.job import Job
from training.jobs.elsewhere import ELSEWHERE
from training.processes import shared


@contextmanager
def alone(job: Job) -> Iterator[None]:
    """Keeps other commands from the job meanwhile. However the first process ends, the job is free again.

    Raises:
        Incomplete: another command carries it out.
        StoreError: the workspace cannot be written.
    """
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(_locked(job))

        shared(hold)
        yield


@contextmanager
def _locked(job: Job) -> Iterator[None]:
    path = job.folder.with_name(f"{job.folder.name}.lock")  # what is in the folder itself may be published
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        _lock(descriptor, path, job.settings.name)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, name: str) -> None:
    try:
        # Not flock: processes that prepare batches would hold it on after the one that they work for was killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode())
    except (BlockingIOError, PermissionError) as error:
        raise Incomplete(
            f"{name}: {ELSEWHERE} ({path.read_text(encoding='utf-8')}); wait for it, or stop it"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be locked ({error.strerror})") from error
