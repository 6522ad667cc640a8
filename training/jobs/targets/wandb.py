"""Tasks through W&B Launch: a job and a launch config of ours in a queue of W&B's, run by `wandb launch-agent`.

https://docs.wandb.ai/platform/launch. The SDK and its command line do it, so that what is sent is what they send.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Incomplete, Json, UsageError
from training.jobs.launching import QUEUE, destination, request
from training.jobs.targets import reason
from training.jobs.targets.wandb_calls import code_of, connect, push, run_wandb, told
from training.jobs.task import PREEMPTED, STOPPED, VANISHED, Task

LOOK_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 120.0
"""After so long without an answer of the server, waiting is given up."""
LATE_SECONDS: Final = 60.0
"""A run that has ended may say its exit code so much later."""
CANCELLED: Final = 130
"""The exit code of a run that somebody took out of the queue: as of Ctrl-C, after which nothing is tried again."""
CODES: Final = {"finished": 0, "killed": STOPPED, "preempted": STOPPED, "crashed": VANISHED, "failed": 2}
"""A run's last state -> the exit code of which nothing else is known."""


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
        self.api = connect()
        with told("the queue"):
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
        with told(task.name), tempfile.TemporaryDirectory() as folder:
            code = code_of(task, Path(folder)) if wanted["job_type"] == "code" else Path(folder)
            run_wandb(wanted["create"], code)
            place = f"{wanted['entity']}/{wanted['project']}"
            version = self.api.artifact(f"{place}/{task.slug}:latest", type="job").version
            item = push(f"{place}/{task.slug}:{version}", wanted)
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
                    raise HarnessError(f"the queue {queue['name']}: W&B says: {reason(error)}") from error
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
        code = said.get("exit_code")
        requeued = self._is_requeued(state, code)
        if code is not None and not requeued:
            self._say(json.loads(said["result"]))
            return int(code)
        if state not in CODES or requeued:
            self._ended = None
            if self._is_to_stop:
                with told(self._run_id):
                    run.stop()
                self._is_to_stop = False
            return None
        self._ended = self._ended or time.monotonic()
        late = time.monotonic() - self._ended < LATE_SECONDS
        return None if late and self._wanted["wrapped"] else CODES[state]

    def _is_requeued(self, state: str, code: int | None) -> bool:
        """Whether W&B starts it again by itself, under the same id: what it said when it was preempted is no end."""
        if self._wanted["queue"]["type"] != "kubernetes":
            return False
        return state == "preempted" or (code in PREEMPTED and state not in CODES)

    def _look_at_queue(self) -> int | None:
        state = self._state()
        if state == "failed":
            self._say({"error": "W&B's agent could not start the run; its own log says why"})
            return HarnessError.exit_code
        if state is None and not self._is_to_stop:
            self._say({"error": "somebody took the run out of W&B's queue"})
            return CANCELLED
        if state is None:
            return STOPPED
        if state == "pending" and self._is_to_stop:
            with told(self._run_id):
                self._queued().delete()
        return None

    def _run(self) -> Any:
        import wandb

        with told(self._run_id):
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
        with told(self._run_id):
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
