"""A task in the words of W&B Launch: the job, the queue and the launch config that make it run there."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Json
from training.jobs.task import Task, is_harness

PROJECT: Final = "vlm-harness"
QUEUE: Final = "harness"
PROCESS: Final = "local-process"
WRAPPER: Final = ("python", "-P", "-m", "training.jobs.inside")
"""What stands before a command for which it opens W&B's run; see there."""


def request(
    task: Task,
    *,
    queue: str = QUEUE,
    entity: str | None = None,
    project: str | None = None,
    resource: str | None = None,
    resource_args: Mapping[str, Any] | None = None,
    job_type: str = "code",
    uri: str | None = None,
    runtime: str | None = None,
    build: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What is sent to W&B; `WandbTarget` says what the arguments are.

    Returns:
        `create`: the command that makes the job; `queue`; `config`: what `wandb launch -c` reads; `launch` and
        `agent`: the commands that do by hand what comes next.

    Raises:
        HarnessError: the command names a place on this machine, which an agent's may not have.
    """
    kind = resource or PROCESS
    entity, project = entity or os.environ.get("WANDB_ENTITY"), project or os.environ.get("WANDB_PROJECT") or PROJECT
    place = [*(["-e", entity] if entity else []), "-p", project]
    wrapped = kind == PROCESS or is_harness(task.command)
    words = _words(task, wrapped=wrapped, sent=job_type != "code" or task.ship is not None)
    config: dict[str, Any] = {
        "overrides": {"entry_point": words, "args": []},
        "resource": kind,
        "run_id": task.id,
    }
    if arguments := _arguments(task, kind, resource_args or {}):
        config["resource_args"] = {kind: arguments}
    job = f"{entity}/{project}/{task.slug}:latest" if entity else f"{project}/{task.slug}:latest"
    return {
        "entity": entity,
        "project": project,
        "queue": {"name": queue, "type": kind, "entity": entity},
        "job_type": job_type,
        "wrapped": wrapped,
        "create": _creation(task, words, place, job_type, uri, runtime, build or {}),
        "config": config,
        "launch": ["wandb", "launch", "-j", job, "-q", queue, *place, "-c", "launch.json"],
        "agent": ["wandb", "launch-agent", "-q", queue, *place[:-2]],
    }


def _creation(
    task: Task,
    words: Sequence[str],
    place: Sequence[str],
    job_type: str,
    uri: str | None,
    runtime: str | None,
    build: Mapping[str, str],
) -> list[str]:
    command = ["wandb", "job", "create", *place, "-n", task.slug]
    if job_type != "image":
        command += ["-E", shlex.join(words)]
        command += ["-r", runtime] if runtime else []
        for key, option in (("base_image", "-B"), ("dockerfile", "-D"), ("context", "-b")):
            command += [option, build[key]] if build.get(key) else []
    if job_type == "code" or uri is None:
        return [*command, "code", "."]
    url, _, revision = uri.partition("#")
    return [*command, *(["-g", revision] if revision else []), job_type, url]


def _words(task: Task, *, wrapped: bool, sent: bool) -> list[str]:
    """The command as it runs on any machine.

    Args:
        sent: code comes along; the command works in it.
    """
    inside = f"{task.folder.absolute()}{os.sep}"
    command = [word.replace(inside, "") for word in task.command]
    if command[0] == sys.executable:
        command[0] = "python"
    for word in command:
        if (part := word.rpartition("=")[2]).startswith(("/", "~")) and Path(part).expanduser().exists():
            raise HarnessError(
                f"{task.name}: {word!r} names a place on this machine, which others do not have; use a path within the "
                "current folder, or a name in the registry"
            )
    # Where the workspace lies is the agent's to say.
    variables = [f"{name}={value}" for name, value in task.environment.items() if name != "HARNESS_HOME"]
    command = [*(["env", *variables] if variables else []), *command]
    if not wrapped:
        return command
    return [*WRAPPER, *(["--sent"] if sent else []), "--", *command]


def _arguments(task: Task, kind: str, given: Mapping[str, Any]) -> dict[str, Json]:
    """`resource_args` of the launch config; what a task needs in Kubernetes' words, unless the job says that itself."""
    needs = task.resources
    if kind != "kubernetes" or "spec" in given:
        return dict(given)
    limits: dict[str, Json] = {"cpu": needs.cpus}
    if needs.memory is not None:
        limits["memory"] = needs.memory
    if needs.gpus:
        limits["nvidia.com/gpu"] = int(needs.gpus)
    container = {"resources": {"requests": limits, "limits": limits}}
    return {**given, "spec": {"template": {"spec": {"containers": [container]}}}}
