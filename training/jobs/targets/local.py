"""Tasks as processes of this machine, which outlive whoever started them.

A shell stands above each. It holds a lock on a small file beside the log for as long as the task lives, and writes
the task's exit code there. So a later driver, which is no parent of the process, learns the same as the one that was
killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from harness import HarnessError, Json, UsageError
from training.jobs.task import VANISHED, Task

SHELL: Final = """
trap : TERM INT HUP
echo $$ >&0
"$@" </dev/null
code=$?
echo $code >&0
exit $code
"""
"""Standard input is the file beside the log. Signals reach the task, too; the shell outlives it to tell its end."""
LOCKING_SECONDS: Final = 0.5
"""Somebody who only looks whether a task is alive holds its lock for less."""


class LocalProcess:
    """A task with a process group of its own, so that what it starts ends with it.

    Args:
        state: the file beside its log: the task's key, the shell's number, then the exit code, a line each.
        child: the shell, where it is this process's child.
    """

    def __init__(self, state: Path, child: subprocess.Popen[bytes] | None = None) -> None:
        self._state = state
        self._child = child

    @property
    def note(self) -> Mapping[str, Json]:
        return {} if self._child is None else {"process": self._child.pid}

    def wait(self, seconds: float) -> int | None:
        """Its exit code as a shell says it: 128 and the signal's number where one ended it."""
        if self._child is not None:
            try:
                code = self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            return code if code >= 0 else 128 - code
        until = time.monotonic() + seconds
        while _is_held(self._state):
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, 0.05))
        said = _said(self._state)
        return said[1] if len(said) > 1 else VANISHED

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                _signal_group(self._child.pid, number)
        elif _is_held(self._state) and (said := _said(self._state)):
            _signal_group(said[0], number)


class LocalTarget:
    """Starts tasks here."""

    def start(self, task: Task) -> LocalProcess:
        """Start it.

        Raises:
            UsageError: a task with the same log is at work.
            HarnessError: the program or its folder is not there, or the log cannot be written.
        """
        path = _beside(task.log)
        environment = {**os.environ, **task.environment}
        try:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as state, task.log.open("ab") as log:
                if not _lock(state):
                    raise UsageError(f"{task.name}: is at work already; what it says goes to {task.log}")
                _end_leftovers(path)
                state.truncate(0)
                state.write(f"{task.key}\n".encode())
                state.flush()
                _check(task, environment)
                process = subprocess.Popen(
                    ["/bin/sh", "-c", SHELL, "sh", *task.command], cwd=task.folder,
                    env=environment, stdin=state, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise HarnessError(
                f"{task.name}: {task.command[0]!r} cannot be started in {task.folder} ({error.strerror}); correct the "
                "command or install what it needs"
            ) from error
        return LocalProcess(path, process)

    def find(self, task: Task, note: Mapping[str, Json]) -> LocalProcess | None:
        """A task that an earlier driver on this machine started, at work or ended; None where it never began."""
        path = _beside(task.log)
        if not path.exists() or not (_is_held(path) or _said(path)):
            return None
        return LocalProcess(path) if path.read_text(encoding="ascii").split("\n")[0] == task.key else None

    def close(self) -> None:
        """Nothing is held."""


def request(task: Task) -> dict[str, Json]:
    """What is started: the command, what is added to this environment, and where."""
    return {"command": list(task.command), "environment": dict(task.environment), "folder": str(task.folder)}


def _beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.process")


def _lock(state: IO[bytes]) -> bool:
    until = time.monotonic() + LOCKING_SECONDS
    while True:
        try:
            fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        else:
            return True


def _check(task: Task, environment: Mapping[str, str]) -> None:
    """The shell would say it, too, but only into the log.

    Raises:
        OSError: the program or the folder is not there.
    """
    program = task.command[0]
    if not task.folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder")
    if "/" in program:
        program = str(task.folder / program)
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such program")


def _is_held(state: Path) -> bool:
    """Whether the task's shell is alive: its lock ends with it, however it ends."""
    with state.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _said(state: Path) -> list[int]:
    return [int(line) for line in state.read_text(encoding="ascii").split("\n")[1:] if line]


def _end_leftovers(state: Path) -> None:
    """Where a shell was killed alone, what it had started goes on; it must not beside the next attempt.

    A group's number is given to nobody else as long as the group has a member.
    """
    if len(said := _said(state)) == 1 and not _is_there(said[0]):
        _signal_group(said[0], signal.SIGKILL)


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _signal_group(number: int, which: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(number, which)
