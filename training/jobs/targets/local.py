"""Tasks as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from harness import HarnessError, Json
from training.jobs.task import Task


class LocalProcess:
    """A child with a process group of its own, so that what it starts ends with it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def note(self) -> Mapping[str, Json]:
        return {"process": self._process.pid}

    def wait(self, seconds: float) -> int | None:
        """Its exit code as a shell says it: 128 and the signal's number where one ended it."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class LocalTarget:
    """Starts tasks here, as children."""

    def start(self, task: Task) -> LocalProcess:
        """Start it.

        Raises:
            HarnessError: the program or its folder is not there.
        """
        task.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with task.log.open("ab") as log:
                process = subprocess.Popen(
                    list(task.command), cwd=task.folder, env={**os.environ, **task.environment},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise HarnessError(
                f"{task.name}: {task.command[0]!r} cannot be started in {task.folder} ({error.strerror}); correct the "
                "command or install what it needs"
            ) from error
        return LocalProcess(process)

    def find(self, task: Task, note: Mapping[str, Json]) -> None:
        """A process of an earlier driver is not this one's child: its end could not be learnt."""

    def close(self) -> None:
        """Nothing is held."""
