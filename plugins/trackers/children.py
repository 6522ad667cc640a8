"""The SDK in processes of its own, which end in time whatever it does, and leave nothing behind.

In this process it would keep threads and a service, end a run that the user has open here, and take as long as its
server does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import Incomplete
from plugins.wandb_sdk import server

SDK: Final = "sdk"
"""The folder, within a run's, of all that the SDK writes."""
_OWN_FOLDERS: Final = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")
_ABOUT_OTHERS: Final = (
    "WANDB_ENTITY", "WANDB_JOB_TYPE", "WANDB_LAUNCH", "WANDB_MODE", "WANDB_NAME", "WANDB_NOTES", "WANDB_PROJECT",
    "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH",
    "WANDB_TAGS", "WANDB_X_SHARED_MODE",
)  # fmt: skip
"""What the environment says of a run that is open in this process, or of the sweep that it belongs to."""


AGAIN: Final = "again"
"""What `stage` is given of a run that is at the server already."""
UNREACHABLE: Final = 4
"""The exit code of a process that got no answer from the server."""


class Unreachable(Incomplete):
    """The server gave no answer, or none in time: others that are sent to it now would wait in vain too."""


class Patience:
    """How long a process waits in vain for a server that fails: so many seconds, for all that it tries together."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self.reason = ""

    @contextmanager
    def trying(self) -> Iterator[float]:
        """Gives the seconds that the block may take to send something.

        Raises:
            Unreachable: nothing more is worth a try; says why.
        """
        if self.reason:
            raise Unreachable(self.reason)
        began = time.monotonic()
        try:
            yield self._left
        except Incomplete as error:
            self._left -= time.monotonic() - began
            if isinstance(error, Unreachable) or self._left <= 0:
                self.reason = str(error)
            raise


def call(action: str, folder: Path, seconds: float, *arguments: str) -> Any:
    """What `plugins.trackers.courier ACTION` answers.

    Args:
        folder: where all that the SDK writes goes, into `sdk`.
        seconds: after which it is killed, with all processes that it has started.

    Raises:
        Unreachable: the server gave no answer, or the process had to be killed.
        Incomplete: it failed; the message is the last line that it said.
    """
    command = [sys.executable, "-P", "-m", "plugins.trackers.courier", action, str(folder), *arguments]
    with tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True) as scratch:
        code, answer, said = _run(command, {**_environment(folder), "TMPDIR": scratch}, seconds)
    if code:
        lines = said.decode(errors="replace").strip().splitlines()
        kind = Unreachable if code == UNREACHABLE else Incomplete
        raise kind(lines[-1] if lines else f"the SDK's process ended with {code}")
    return msgspec.json.decode(answer)


def _run(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> tuple[int, bytes, bytes]:
    """The exit code, stdout and stderr of a command; nothing that it has started outlives it, or this process.

    Raises:
        Unreachable: it had to be killed.
    """
    life, end = os.pipe()  # closed by the system if this process is killed, which ends the child
    try:
        child = subprocess.Popen(
            command, stdin=life, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(end)
        raise
    finally:
        os.close(life)
    try:
        answer, said = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"no answer in {seconds:.0f} seconds") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        os.close(end)
    return child.returncode, answer, said


def _environment(folder: Path) -> Mapping[str, str]:
    own = {name: str(folder / SDK / name.removeprefix("WANDB_").removesuffix("_DIR").lower()) for name in _OWN_FOLDERS}
    for place in own.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in _ABOUT_OTHERS}
    return {
        **kept,
        **own,
        "WANDB_BASE_URL": server(),  # the settings of the current folder and of WANDB_DIR are not the child's
        "WANDB_ERROR_REPORTING": "false",  # to the makers of the SDK, whom it would reach for even offline
        "WANDB_SILENT": "true",
        "PYTHONWARNINGS": "ignore",
    }
