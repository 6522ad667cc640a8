"""Tasks as jobs of a Ray cluster, by its Job Submission API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness import HarnessError, Incomplete, Json, MissingExtra, holds_token, names_secret
from training.jobs.source import LEFT_BEHIND
from training.jobs.targets import reason
from training.jobs.task import GRACE_SECONDS, STOPPED, VANISHED, Task, size_of

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

T = TypeVar("T")
PATIENCE_SECONDS: Final = 120.0
"""After so long without an answer of the cluster, waiting is given up."""
PASSED: Final = ("WANDB_BASE_URL", "WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT", "HF_HOME", "HF_HUB_OFFLINE")
"""What a job is told of this environment, beside all that begins with HARNESS_. Ray shows it to everybody: no keys."""
ADDRESS: Final = "RAY_API_SERVER_ADDRESS"


class RayTarget:
    """Submits tasks to a cluster whose machines see the same folders as this one, or are sent what a task ships.

    Args:
        address: of the cluster or its dashboard; by default what `RAY_ADDRESS` says, or the cluster of this machine.

    Raises:
        MissingExtra: ray is not installed.
        HarnessError: no cluster answers.
    """

    def __init__(self, address: str | None = None) -> None:
        self.client = _connect(address)

    def start(self, task: Task) -> RayJob:
        """Submit it.

        Raises:
            HarnessError: the cluster does not take it; says why.
            Incomplete: the cluster does not answer any more; it may have taken it.
        """
        task.log.parent.mkdir(parents=True, exist_ok=True)
        wanted = request(task)
        try:
            self.client.submit_job(**wanted)
        except Exception as error:
            # An answer may be lost of a submission that was not.
            if (
                "already exists" in str(error)
                or _ask(lambda: self.client.get_job_info(wanted["submission_id"])) is None
            ):
                raise HarnessError(f"{task.name}: Ray does not take the job ({reason(error)})") from error
        return RayJob(self.client, wanted["submission_id"], task.log, size_of(task.log))

    def find(self, task: Task, note: Mapping[str, Json]) -> RayJob | None:
        """The job that an earlier driver submitted, at work or ended; its log is written anew."""
        name = note.get("job") or task.key
        if not name or _ask(lambda: self.client.get_job_info(name)) is None:
            return None
        return RayJob(self.client, name, task.log, note.get("log", size_of(task.log)))

    def close(self) -> None:
        """Nothing is held."""


class RayJob:
    """A submitted job.

    Args:
        name: its submission id.
        before: the log's size when it began, in bytes: what comes after is this job's.
    """

    def __init__(self, client: JobSubmissionClient, name: str, log: Path, before: int) -> None:
        self._client = client
        self._name = name
        self._log = log
        self._before = before
        self._next_look = 0.0
        self._kept = -1

    @property
    def note(self) -> Mapping[str, Json]:
        return {"job": self._name, "log": self._before}

    def wait(self, seconds: float) -> int | None:
        """Its exit code as a shell says it; that of SIGKILL where its machine or its record is gone.

        Raises:
            Incomplete: the cluster has not answered for long; the job may go on.
        """
        until = time.monotonic() + seconds
        while True:
            info = _ask(lambda: self._client.get_job_info(self._name))
            if info is None:
                return VANISHED
            ended = info.status.is_terminal()
            if ended or time.monotonic() >= self._next_look:
                self._keep_log()
            if ended:
                return _code(info)
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, 0.25))

    def stop(self) -> None:
        """Ray sends SIGTERM to all its processes, and SIGKILL after `GRACE_SECONDS`."""
        _ask(lambda: self._client.stop_job(self._name))

    def kill(self) -> None:
        """Ray knows no other end than `stop`."""
        self.stop()

    def _keep_log(self) -> None:
        """Writes to the log what is new; the cluster can only tell all of it, so it is asked less as it grows."""
        said = (_ask(lambda: self._client.get_job_logs(self._name)) or "").encode()
        if self._kept < 0:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.touch()
            os.truncate(self._log, min(self._before, size_of(self._log)))
            self._kept = 0
        with self._log.open("ab") as file:
            file.write(said[self._kept :])
        self._kept = max(self._kept, len(said))
        self._next_look = time.monotonic() + max(0.5, len(said) / 2e6)


def request(task: Task) -> dict[str, Any]:
    """What is sent to Ray, as the arguments of `JobSubmissionClient.submit_job`.

    A program of this Python is looked for under the same path, and on the cluster's PATH where that is not there.
    """
    words = list(task.command)
    here = ""
    if words[0] == sys.executable:
        words[0] = "python"
        here = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    folder = "" if task.ship is not None else f"cd {shlex.quote(str(task.folder.absolute()))} && "
    passed = {name: value for name, value in os.environ.items() if _is_passed(name, value)}
    if "HARNESS_HOME" in passed:
        passed["HARNESS_HOME"] = str(Path(passed["HARNESS_HOME"]).expanduser().absolute())
    # Ray's own 3 seconds are less than a checkpoint takes.
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": f"{GRACE_SECONDS:.0f}", **passed, **task.environment}
    needs = task.resources
    wanted: dict[str, Any] = {
        "submission_id": task.id,
        "entrypoint": f"{folder}{here}exec {shlex.join(words)}",
        "runtime_env": {"env_vars": variables},
        "metadata": {"name": task.name},
        "entrypoint_num_cpus": needs.cpus,
        "entrypoint_num_gpus": needs.gpus,
        "entrypoint_memory": needs.memory,
        "entrypoint_resources": dict(needs.custom),
    }
    if task.ship is not None:
        wanted["runtime_env"] |= {"working_dir": str(task.ship), "excludes": list(LEFT_BEHIND)}
    return {name: value for name, value in wanted.items() if value}


def _is_passed(name: str, value: str) -> bool:
    """Whether a job is told of a variable of this environment."""
    if names_secret(name) or holds_token(value):
        return False
    return name.startswith("HARNESS_") or name in PASSED


def _code(info: JobDetails) -> int:
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        return STOPPED
    if info.driver_exit_code is None:
        # Its supervisor died with the machine or by the memory's end; what could not even begin is an error, ours.
        return VANISHED if info.error_type == "JOB_SUPERVISOR_ACTOR_DIED" else HarnessError.exit_code
    code: int = info.driver_exit_code
    return code if code >= 0 else 128 - code


def _ask(question: Callable[[], T]) -> T | None:
    """An answer of the cluster; None where it does not know the job. Pauses of the network are sat out.

    Raises:
        Incomplete: it has not answered for long.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return question()
        except Exception as error:
            if "does not exist" in str(error) or "status code 404" in str(error):
                return None
            if time.monotonic() > until:
                raise Incomplete(
                    f"the Ray cluster has not answered for {PATIENCE_SECONDS:.0f} s ({reason(error)}); the job may go "
                    "on, and the same command finds it again"
                ) from error
        time.sleep(1)


def _connect(address: str | None) -> JobSubmissionClient:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise MissingExtra("Ray is not installed: pip install 'vlm-harness[ray]'") from error
    _take_token()
    try:
        with _addressed(address):
            return JobSubmissionClient(address)
    except Exception as error:
        place = f"at {address}" if address else "here"
        raise HarnessError(
            f"no Ray cluster answers {place} ({reason(error)}); give its dashboard's address, such as "
            "http://127.0.0.1:8265, or start one with `ray start --head`"
        ) from error


def _take_token() -> None:
    """Lets the client use the token that is there for clusters that want one, as `ray.init` does and it does not."""
    with suppress(ImportError):  # Ray before 2.52
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        logging.getLogger(maybe_enable_token_auth_if_token_available.__module__).setLevel(logging.ERROR)
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


@contextmanager
def _addressed(address: str | None) -> Iterator[None]:
    """By itself Ray's client lets the environment override the address that it is given."""
    before = os.environ.get(ADDRESS)
    if address is not None:
        os.environ[ADDRESS] = address
    try:
        yield
    finally:
        if address is not None:
            os.environ.pop(ADDRESS)
            if before is not None:
                os.environ[ADDRESS] = before
