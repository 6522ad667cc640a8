"""What a job of W&B Launch asks of the SDK and its command line."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, MissingExtra
from training.jobs.source import LEFT_BEHIND
from training.jobs.targets import reason
from training.jobs.task import Task
from training.wandb_sdk import UNSAID_VARIABLES

NEEDED: Final = "vlm-harness[train,wandb]\n"
"""requirements.txt of a job that sends no code along."""


def connect() -> Any:
    """The SDK's interface to the server.

    Raises:
        MissingExtra: wandb is not installed.
        HarnessError: nobody is logged in, or the server does not answer.
    """
    try:
        import wandb
    except ImportError as error:
        raise MissingExtra("wandb is not installed: pip install 'vlm-harness[wandb]'") from error
    try:
        return wandb.Api(timeout=30)
    except Exception as error:
        raise HarnessError(
            f"W&B: {reason(error)}; log in with `wandb login` or WANDB_API_KEY, and name your own server in "
            "WANDB_BASE_URL"
        ) from error


def code_of(task: Task, folder: Path) -> Path:
    """What is sent along: the task's code, or what says which packages it needs."""
    if task.ship is None:
        (folder / "requirements.txt").write_text(NEEDED, encoding="utf-8")
        return folder
    shutil.copytree(task.ship, folder / "code", ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    return folder / "code"


def run_wandb(command: Sequence[str], folder: Path) -> None:
    """A command of W&B's, told to send nothing of this machine.

    The SDK notes in what it uploads where it keeps its own copy: in a folder that says nothing.
    """
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, "-P", "-m", *command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, env={**os.environ, **UNSAID_VARIABLES, "WANDB_DATA_DIR": data, "WANDB_DIR": data},
        )  # fmt: skip
    if done.returncode != 0:
        raise HarnessError(f"`{' '.join(command[:3])}`: {reason(done.stderr or done.stdout)}")


def push(job: str, wanted: Mapping[str, Any]) -> str:
    """What `wandb launch -j JOB -q QUEUE -c FILE` does; the place in the queue, which that would not tell."""
    from wandb.sdk.launch import launch_add

    with contextlib.redirect_stderr(io.StringIO()):  # it prints all that it sends
        queued = launch_add(
            job=job, config=dict(wanted["config"]), project=wanted["project"], entity=wanted["entity"],
            queue_name=wanted["queue"]["name"], run_id=wanted["config"]["run_id"],
            resource=wanted["config"]["resource"],
        )  # fmt: skip
    return str(queued.id)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Says of an error of the SDK's whose it is."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(f"{name}: W&B says: {reason(error)}") from error
