"""A task in the words of W&B Launch: the job, the queue and the launch config that make it run there."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Json, Privacy, holds_token
from training.jobs.task import Task, is_harness
from training.wandb_sdk import PROJECT

QUEUE: Final = "harness"
PROCESS: Final = "local-process"
WRAPPER: Final = ("python", "-P", "-m", "training.jobs.inside")
"""What stands before a command for which it opens W&B's run; see there."""
_EVERYWHERE: Final = re.compile(
    r"(?<![\w/.~-])/(?:dev/(?:null|stdin|stdout|stderr|shm)|(?:usr/)?bin/[\w.-]+)(?![\w/.-])"
)
"""Places that every machine has."""
_NAMES_PLACE: Final = (
    "names a place on this machine, which others do not have; use a path within the current folder, a name in the "
    "registry, or a variable that the agent's environment sets"
)


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
    told = destination(task, queue=queue, entity=entity, project=project, resource=resource)
    entity, project, kind = told["entity"], told["project"], told["queue"]["type"]
    place = [*(["-e", entity] if entity else []), "-p", project]
    words = _words(task)
    check(task, words, uri if job_type == "git" else None, resource_args or {}, in_image=job_type == "image")
    if told["wrapped"]:
        sent = job_type != "code" or task.ship is not None
        words = [*WRAPPER, *(["--sent"] if sent else []), "--", *words]
    config = {**told["config"], "overrides": {"entry_point": words, "args": []}, "resource": kind}
    if arguments := _arguments(task, kind, resource_args or {}):
        config["resource_args"] = {kind: arguments}
    job = f"{entity}/{project}/{task.slug}:latest" if entity else f"{project}/{task.slug}:latest"
    return {
        **told,
        "job_type": job_type,
        "create": _creation(task, words, place, job_type, uri, runtime, build or {}),
        "config": config,
        "launch": ["wandb", "launch", "-j", job, "-q", queue, *place, "-c", "launch.json"],
        "agent": ["wandb", "launch-agent", "-q", queue, *place[:-2]],
    }


def destination(
    task: Task,
    *,
    queue: str = QUEUE,
    entity: str | None = None,
    project: str | None = None,
    resource: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Where `request` puts a task, by which it is found there again: nothing that it started from is looked at."""
    entity, project = entity or os.environ.get("WANDB_ENTITY"), project or os.environ.get("WANDB_PROJECT") or PROJECT
    kind = resource or PROCESS
    return {
        "entity": entity,
        "project": project,
        "queue": {"name": queue, "type": kind, "entity": entity},
        "wrapped": kind == PROCESS or is_harness(task.command),
        "config": {"run_id": task.id},
    }


def check(
    task: Task, words: Sequence[str], uri: str | None, resource_args: Mapping[str, Any], *, in_image: bool
) -> None:  # fmt: skip
    """Everything here is sent to W&B, kept there and shown.

    Args:
        words: the command with its variables.
        in_image: the command's paths are an image's, and only folders of this user's are known not to be.

    Raises:
        HarnessError: a word names a place on this machine, which an agent's may not have, or holds a secret.
    """
    privacy = Privacy()
    for word in words:
        if holds_token(word):
            key = word.partition("=")[0]
            which = f"what {key} is set to" if not holds_token(key) else "a word of the command"
            raise HarnessError(
                f"{task.name}: {which} holds a secret; name a variable under secrets: that has it instead"
            )
        plain = _EVERYWHERE.sub("", word)
        if privacy.data(plain) != plain or (not in_image and (privacy.names_place(plain) or _is_here(plain))):
            raise HarnessError(f"{task.name}: {word!r} {_NAMES_PLACE}")
    if uri is not None and (privacy.names_place(uri) or _is_here(uri)):
        raise HarnessError(f"{task.name}: uri: {uri!r} {_NAMES_PLACE}")
    if privacy.data(dict(resource_args)) != resource_args:
        raise HarnessError(f"{task.name}: a value of resource_args {_NAMES_PLACE}")


def _is_here(word: str) -> bool:
    part = word.rpartition("=")[2]
    return part.startswith(("/", "~")) and Path(part).expanduser().exists()


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


def _words(task: Task) -> list[str]:
    """The command with its variables, as it runs on any machine."""
    inside = f"{task.folder.absolute()}{os.sep}"
    # Where the workspace lies is the agent's to say.
    variables = [f"{name}={value}" for name, value in task.environment.items() if name != "HARNESS_HOME"]
    command = ["python" if word == sys.executable else word for word in task.command]
    return [word.replace(inside, "") for word in [*(["env", *variables] if variables else []), *command]]


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
