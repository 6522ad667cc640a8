"""Tasks through W&B Launch: a job and a launch config of ours in a queue of W&B's, run by `wandb launch-agent`.

https://docs.wandb.ai/platform/launch. The SDK and its command line do it, so that what is sent is what they send.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Incomplete, Json, MissingExtra, UsageError
from training.jobs.launching import QUEUE, destination, request
from training.jobs.source import LEFT_BEHIND
from training.jobs.task import Task

LOOK_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 120.0
"""After so long without an answer of the server, waiting is given up."""
LATE_SECONDS: Final = 60.0
"""A run that has ended may say its exit code so much later."""
STOPPED, VANISHED = 143, 137
CODES: Final = {"finished": 0, "killed": STOPPED, "preempted": STOPPED, "crashed": VANISHED, "failed": 2}
"""A run's last state -> the exit code of which nothing else is known."""
QUIET: Final = {
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_HOST": " ",
    "WANDB_PROGRAM": "launch",
    "WANDB_SAVE_CODE": "false",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
}
"""With these the SDK sends nothing of a machine by itself: no command line, folder, source code or name."""
NEEDED: Final = "vlm-harness[train,wandb]\n"
"""requirements.txt of a job that sends no code along."""


class WandbTarget:
    """Puts tasks into a queue of W&B Launch.

    Args:
        queue: its name; made, of kind `resource`, where it is not there.
        entity, project: by default those of `WANDB_ENTITY` and `WANDB_PROJECT`, or the account's and `vlm-harness`.
        resource: what the queue's agents run jobs on.
        resource_args: arguments of that, in W&B's words.
        job_type, uri: a git repository or an image in the place of code, as `wandb job create` takes it.
        runtime, build: Python's version, and `base_image`, `dockerfile`, `context`, of the image that is built.

    Raises:
        MissingExtra: wandb is not installed.
        HarnessError: nobody is logged in, or the server does not answer.
    """

    def __init__(
        self, queue: str = QUEUE, entity: str | None = None, project: str | None = None, **options: Any
    ) -> None:  # fmt: skip
        self.api = _connect()
        with _told("the queue"):
            entity = entity or os.environ.get("WANDB_ENTITY") or self.api.default_entity
        self.options = {**options, "queue": queue, "entity": entity, "project": project}

    def start(self, task: Task) -> WandbJob:
        """Make the job, and put it into the queue.

        Raises:
            HarnessError: W&B does not take it; says why.
        """
        wanted = request(task, **self.options)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        self._make_queue(wanted)
        with _told(task.name), tempfile.TemporaryDirectory() as folder:
            code = _code(task, Path(folder)) if wanted["job_type"] == "code" else Path(folder)
            _wandb(wanted["create"], code)
            place = f"{wanted['entity']}/{wanted['project']}"
            version = self.api.artifact(f"{place}/{task.slug}:latest", type="job").version
            item = _push(f"{place}/{task.slug}:{version}", wanted)
        with task.log.open("a", encoding="utf-8") as log:
            log.write(f"W&B Launch: run {place}/{wanted['config']['run_id']} in the queue {wanted['queue']['name']}\n")
        return WandbJob(self.api, wanted, task.log, item)

    def find(self, task: Task, note: Mapping[str, Json]) -> WandbJob | None:
        """The run that an earlier driver put into the queue, waiting there, at work or ended."""
        wanted = destination(task, **self.options)
        wanted["config"]["run_id"] = note.get("run") or task.key
        found = WandbJob(self.api, wanted, task.log, note.get("item", ""))
        return found if found.is_known() else None

    def close(self) -> None:
        """Nothing is held."""

    def _make_queue(self, wanted: Mapping[str, Any]) -> None:
        queue = wanted["queue"]
        kind = self._kind(queue)
        if kind is None:
            try:
                self.api.create_run_queue(name=queue["name"], type=queue["type"], entity=queue["entity"])
            except Exception as error:
                kind = self._kind(queue)  # somebody else may just have made it
                if kind is None:
                    raise HarnessError(f"the queue {queue['name']}: W&B says: {_reason(error)}") from error
        if kind not in (None, queue["type"]):
            raise UsageError(f"the queue {queue['name']} is of kind {kind}, and the job wants {queue['type']}")

    def _kind(self, queue: Mapping[str, Any]) -> str | None:
        """The kind of resource that a queue is of; None where it is not there."""
        # Which error the SDK raises for a queue that is not there depends on what else is.
        with suppress(Exception):
            return str(self.api.run_queue(queue["entity"], queue["name"]).type)
        return None


class WandbJob:
    """A run in a queue.

    Args:
        wanted: what was sent.
        item: its place in the queue; empty where that is not known.
    """

    def __init__(self, api: Any, wanted: Mapping[str, Any], log: Path, item: str) -> None:
        self._api = api
        self._run_id: str = wanted["config"]["run_id"]
        self._place = f"{wanted['entity']}/{wanted['project']}"
        self._wanted = wanted
        self._log = log
        self._item = item
        self._next_look = 0.0
        self._heard = time.monotonic()
        self._ended: float | None = None
        self._is_to_stop = False

    @property
    def note(self) -> Mapping[str, Json]:
        return {"run": self._run_id, "item": self._item}

    def is_known(self) -> bool:
        """Whether the server has it."""
        return self._run() is not None or self._state() is not None

    def wait(self, seconds: float) -> int | None:
        """Its exit code: what it said, or what its last state means.

        Raises:
            Incomplete: the server has not answered for long; the run may go on.
        """
        until = time.monotonic() + seconds
        while True:
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_SECONDS
                try:
                    code = self._look()
                except (HarnessError, OSError) as error:
                    if time.monotonic() - self._heard > PATIENCE_SECONDS:
                        raise Incomplete(f"{error}; the run may go on, and the same command finds it again") from error
                else:
                    self._heard = time.monotonic()
                    if code is not None:
                        return code
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, 0.2))

    def stop(self) -> None:
        """Take it out of the queue, or have the run stop; where it has just left the queue, as soon as it is there."""
        self._is_to_stop = True
        self._next_look = 0.0

    def kill(self) -> None:
        """W&B knows no other end than `stop`."""

    def _look(self) -> int | None:
        run = self._run()
        if run is None:
            return self._look_at_queue()
        state = run.state
        said = run.summary.get("harness") or {}
        if "exit_code" in said:
            self._say(json.loads(said["result"]))
            return int(said["exit_code"])
        requeued = state == "preempted" and self._wanted["queue"]["type"] == "kubernetes"  # by W&B, under the same id
        if state not in CODES or requeued:
            self._ended = None
            if self._is_to_stop:
                with _told(self._run_id):
                    run.stop()
                self._is_to_stop = False
            return None
        self._ended = self._ended or time.monotonic()
        late = time.monotonic() - self._ended < LATE_SECONDS
        return None if late and self._wanted["wrapped"] else CODES[state]

    def _look_at_queue(self) -> int | None:
        state = self._state()
        if state == "failed":
            self._say({"error": "W&B's agent could not start the run; its own log says why"})
            return HarnessError.exit_code
        if state is None:  # somebody took it out of the queue
            return STOPPED
        if state == "pending" and self._is_to_stop:
            with _told(self._run_id):
                self._queued().delete()
        return None

    def _run(self) -> Any:
        import wandb

        with _told(self._run_id):
            self._api.flush()
            try:
                return self._api.run(f"{self._place}/{self._run_id}")
            except (wandb.errors.CommError, ValueError) as error:
                if "not find run" in str(error) or "not found" in str(error).lower():
                    return None
                raise

    def _state(self) -> str | None:
        if not self._item:
            return None
        with _told(self._run_id):
            found = self._queued()._get_item()
        return None if found is None else str(found["state"]).lower()

    def _queued(self) -> Any:
        from wandb.sdk.launch.utils import LAUNCH_DEFAULT_PROJECT

        queue = self._wanted["queue"]
        return self._api.queued_run(
            queue["entity"], self._wanted["project"], queue["name"], self._item, LAUNCH_DEFAULT_PROJECT
        )  # fmt: skip

    def _say(self, result: Json) -> None:
        if result:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(result) + "\n")


def _connect() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise MissingExtra("wandb is not installed: pip install 'vlm-harness[wandb]'") from error
    try:
        return wandb.Api(timeout=30)
    except Exception as error:
        raise HarnessError(
            f"W&B: {_reason(error)}; log in with `wandb login` or WANDB_API_KEY, and name your own server in "
            "WANDB_BASE_URL"
        ) from error


def _code(task: Task, folder: Path) -> Path:
    """What is sent along: the task's code, or what says which packages it needs."""
    if task.ship is None:
        (folder / "requirements.txt").write_text(NEEDED, encoding="utf-8")
        return folder
    shutil.copytree(task.ship, folder / "code", ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    return folder / "code"


def _wandb(command: Sequence[str], folder: Path) -> None:
    """A command of W&B's, told to send nothing of this machine.

    The SDK notes in what it uploads where it keeps its own copy: in a folder that says nothing.
    """
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, "-P", "-m", *command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, env={**os.environ, **QUIET, "WANDB_DATA_DIR": data, "WANDB_DIR": data},
        )  # fmt: skip
    if done.returncode != 0:
        raise HarnessError(f"`{' '.join(command[:3])}`: {_reason(done.stderr or done.stdout)}")


def _push(job: str, wanted: Mapping[str, Any]) -> str:
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
def _told(name: str) -> Iterator[None]:
    """Says of an error of the SDK's whose it is."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(f"{name}: W&B says: {_reason(error)}") from error


def _reason(error: object) -> str:
    """The last line of what somebody says."""
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalpha, line))]
    return lines[-1][:300] if lines else type(error).__name__
