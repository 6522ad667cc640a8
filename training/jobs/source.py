"""Where a job's code lies on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from harness import HarnessError, UsageError
from training.jobs.settings import JobSettings

LEFT_BEHIND: Final = (".git", ".harness", ".venv", "__pycache__", "wandb")
"""Of a folder that is sent along, what nobody needs elsewhere."""

GIT_SECONDS: Final = 900.0
UNASKED: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
"""Nobody is there to be asked for a password."""


def source_of(job: JobSettings, folder: Path, place: Path) -> Path | None:
    """The folder with the code; None where it works in the current one.

    Args:
        folder: the current folder of whoever asked.
        place: for a copy of a repository, which `fetch` makes.

    Raises:
        UsageError: there is no such folder.
    """
    if job.uri is None or job.job_type == "image":
        return None
    if job.job_type == "git":
        return place
    path = folder / Path(job.uri).expanduser()
    if not path.is_dir():
        raise UsageError(f"{job.name}: uri: there is no folder {path}; a repository needs `job_type: git`")
    return path


def fetch(job: JobSettings, place: Path) -> None:
    """Copy a job's repository, where it has one that was not copied before.

    Raises:
        HarnessError: it cannot be copied; says what git said.
    """
    if job.job_type != "git" or job.uri is None or place.exists():
        return
    url, _, revision = job.uri.partition("#")
    fresh = place.with_name(f"{place.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    _git("clone", "--quiet", "--", url, str(fresh))
    if revision:
        _git("-C", str(fresh), "checkout", "--quiet", "--detach", revision)
    fresh.rename(place)


def _git(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["git", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={**UNASKED, **os.environ}, timeout=GIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HarnessError(
            f"git {arguments[0]}: gave no answer for {GIT_SECONDS:.0f} s; see whether the place answers"
        ) from error
    except OSError as error:
        raise HarnessError(f"git cannot be started ({error.strerror}); install it") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise HarnessError(f"git {arguments[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
