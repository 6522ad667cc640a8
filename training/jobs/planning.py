"""A job as the task of a target, and what the target cannot express."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import CheckpointError, Session, UnknownName, UsageError
from training.jobs.arguments import with_arguments
from training.jobs.settings import CHECKPOINT, RESUME, STRATEGY, JobSettings
from training.jobs.task import Task

LOCAL: Final = "local"
RAY: Final = "ray"
WANDB: Final = "wandb"
TARGETS_OF_RESOURCE: Final = {None: LOCAL, "local-process": LOCAL, "ray": RAY}
"""`resource` -> where it runs if nothing else says; all others are kinds of W&B's queues."""
PROCESS: Final = "local-process"
ACCELERATOR_SHARE: Final = 0.001
"""Ray marks a machine's kind of GPU by a resource of which every job takes a little."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A key that a target cannot express.

    Attributes:
        key: as the job file has it.
        instead: what happens.
        matters: whether what comes out may be another because of it.
    """

    key: str
    instead: str
    matters: bool = False


def target_of(job: JobSettings) -> str:
    """Where a job runs if nobody says."""
    return TARGETS_OF_RESOURCE.get(job.resource, WANDB)


def losses(job: JobSettings, on: str) -> list[Loss]:
    """What the target cannot express of the job.

    Raises:
        UsageError: it cannot run the job at all.
    """
    process = on in (LOCAL, RAY) or (job.resource or PROCESS) == PROCESS
    if job.job_type == "image" and process:
        raise UsageError(
            f"{job.name}: a container image runs through W&B Launch, on a queue of another kind than a process; set "
            "`resource: local-container` or `kubernetes`"
        )
    found = [*_environment(job, process), *_places(job, on), *_amounts(job, on)]
    if job.distributed_strategy is not None and not (job.is_training or job.mentions(STRATEGY)):
        instead = f"the command is not told; write {STRATEGY} where it says so"
        found.append(Loss("distributed_strategy", instead, matters=True))
    return found


def _environment(job: JobSettings, process: bool) -> Iterator[Loss]:
    here = ".".join(platform.python_version_tuple()[:2])
    if process and job.runtime not in (None, here):
        yield Loss("runtime", f"the Python there is used; it is {here} here", matters=True)
    if process and job.build is not None:
        yield Loss("build", "nothing is built; the packages that are installed there are used", matters=True)


def _places(job: JobSettings, on: str) -> Iterator[Loss]:
    if on != WANDB and TARGETS_OF_RESOURCE.get(job.resource) != on and job.resource is not None:
        yield Loss("resource", "it runs here" if on == LOCAL else "it runs on the Ray cluster")
    if on != WANDB and job.resource_args:
        yield Loss("resource_args", "they are W&B Launch's; nothing is told")
    if job.spot_instance:
        instead = {
            LOCAL: "this machine is what it is",
            RAY: "any machine may be taken; ask for a resource of the cluster's with resources.custom",
            WANDB: "the queue's configuration decides",
        }
        yield Loss("spot_instance", f"{instead[on]}; retries are as max_retries says")
    if on != LOCAL and job.secrets:
        there = "where the cluster was started" if on == RAY else "where the agent runs"
        yield Loss("secrets", f"nothing is sent; they must be set {there}")


def _amounts(job: JobSettings, on: str) -> Iterator[Loss]:
    needs = job.resources
    asked = {"gpus": needs.gpus, "memory": needs.memory, "accelerator": needs.accelerator, "custom": needs.custom}
    if on == WANDB and needs.cpus is not None:
        asked = {"cpus": needs.cpus, **asked}
    said = [name for name, value in asked.items() if value]
    if on == LOCAL:
        instead = "nothing is reserved; it sees all of this machine"
    elif on == WANDB and job.resource == "kubernetes":
        said = [name for name in said if name in ("accelerator", "custom")]
        instead = "the queue's configuration decides; resource_args can say it in Kubernetes' words"
    elif on == WANDB:
        instead = "the queue's configuration decides"
    else:
        said = []
    for name in said:
        yield Loss(f"resources.{name}", instead)


def pinned(job: JobSettings, session: Session) -> JobSettings:
    """The job with the version that it starts from as NAME:vN, looked up before anything starts.

    Raises:
        UnknownName: the registry has no such name or version.
    """
    if job.resume_from_artifact is not None and ":" in job.resume_from_artifact:
        name, _, ref = job.resume_from_artifact.partition(":")
        job = job.model_copy(update={"resume_from_artifact": str(session.checkpoints.get(name, ref))})
    if job.checkpoint_artifact is None:
        return job
    name, _, ref = job.checkpoint_artifact.partition(":")
    version = session.checkpoints.get(name, ref or "latest")
    return job.model_copy(update={"checkpoint_artifact": str(version)})


def resume_from(job: JobSettings, session: Session, *, again: bool) -> str | None:
    """What it goes on from: as the job says at first, the newest version of the name after an interruption.

    Args:
        again: it was started before.
    """
    if job.resume_from_artifact is None:
        return None
    name, _, ref = job.resume_from_artifact.partition(":")
    try:
        return str(session.checkpoints.get(name, ref if ref and not again else "latest"))
    except (UnknownName, CheckpointError):
        if ref and not again:
            raise
        return None


def words(job: JobSettings, resume: str | None) -> list[str]:
    """The command with its arguments, everything filled in."""
    fills = {CHECKPOINT: job.checkpoint_artifact, RESUME: resume, STRATEGY: job.distributed_strategy}
    parameters = {name: _filled(value, fills) for name, value in job.parameters.items()}
    kept = {name: value for name, value in parameters.items() if value is not _LEFT_OUT}
    if job.is_training and job.distributed_strategy is not None and not job.mentions(STRATEGY):
        kept = {**kept, "scale.strategy": job.distributed_strategy}
    command = [_filled(word, fills) for word in job.entry_point]
    return with_arguments([word for word in command if word is not _LEFT_OUT], kept, settings=job.is_training)


def task_of(
    job: JobSettings, command: list[str], *, folder: Path, log: Path, key: str, home: Path, source: Path | None
) -> Task:
    """What a target starts.

    Args:
        folder: the current folder of whoever asked.
        log: for its output.
        key: the attempt's.
        home: the workspace.
        source: where its code lies, if it is sent along.
    """
    needs = job.resources
    variables = {"HARNESS_HOME": str(home.absolute()), **job.environment}
    if needs.cpus is not None:
        variables.setdefault("OMP_NUM_THREADS", str(max(1, int(needs.cpus / needs.processes))))
    resources = needs.resources()
    if needs.accelerator is not None:
        custom = {**resources.custom, f"accelerator_type:{needs.accelerator}": ACCELERATOR_SHARE}
        resources = dataclasses.replace(resources, custom=custom)
    return Task(
        name=job.name, command=_program(command, needs.processes), folder=source or folder, log=log,
        environment=variables, resources=resources, key=key, ship=source,
    )  # fmt: skip


def _program(command: list[str], processes: int) -> list[str]:
    """The command by this Python, which need not be on the PATH; several processes by what starts them."""
    if command[0] == "harness":
        # -P, so that a folder of the user's that is called `training` or `plugins` does not stand for ours.
        command = [sys.executable, "-P", "-m", "harness", *command[1:]]
    elif command[0] in ("python", "python3"):
        command = [sys.executable, *command[1:]]
    if processes == 1:
        return command
    return [sys.executable, "-P", "-m", "training.jobs.several", str(processes), *command]


class _LeftOut:
    """Stands for what mentions something that is not there."""


_LEFT_OUT: Final = _LeftOut()


def _filled(value: Any, fills: dict[str, str | None]) -> Any:
    """A value with everything filled in; `_LEFT_OUT` where something is not there."""
    if isinstance(value, dict):
        items = {key: _filled(item, fills) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _LEFT_OUT}
    if isinstance(value, list):
        return [found for item in value if (found := _filled(item, fills)) is not _LEFT_OUT]
    if not isinstance(value, str):
        return value
    for mark, text in fills.items():
        if mark in value:
            if text is None:
                return _LEFT_OUT
            value = value.replace(mark, text)
    return value
