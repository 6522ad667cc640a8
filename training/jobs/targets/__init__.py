"""Where tasks are carried out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

from harness import Json, UnknownName
from training.jobs.task import Task

TARGETS: Final = {
    "local": "training.jobs.targets.local:LocalTarget",
    "ray": "training.jobs.targets.ray:RayTarget",
    "wandb": "training.jobs.targets.wandb:WandbTarget",
}
"""Name -> its class, which is imported when it is used."""


class Running(Protocol):
    """A task that was started."""

    @property
    def note(self) -> Mapping[str, Json]:
        """How the target finds it again, such as the name of a job on a cluster; kept in the workspace."""

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it is still at work after so long."""

    def stop(self) -> None:
        """Ask it to save what it has and to end; returns at once."""

    def kill(self) -> None:
        """End it whatever it is doing."""


class Target(Protocol):
    """A place that carries tasks out."""

    def start(self, task: Task) -> Running:
        """Start it.

        Raises:
            HarnessError: it cannot be started; says why and what to do.
        """

    def find(self, task: Task, note: Mapping[str, Json]) -> Running | None:
        """A task that an earlier process started, if it is still known there; None where it must be started again."""

    def close(self) -> None:
        """Give back what the target holds; tasks that were started go on."""


def choose_target(name: str, **options: Any) -> Target:
    """The target of that name.

    Raises:
        UnknownName: there is none.
        MissingExtra: what it needs is not installed.
    """
    if name not in TARGETS:
        raise UnknownName("target", name, TARGETS)
    module, _, attribute = TARGETS[name].partition(":")
    target: Target = getattr(importlib.import_module(module), attribute)(**options)
    return target


def reason(error: object) -> str:
    """The last line of what a server or a program says, which may be a traceback of its own."""
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalpha, line))]
    return lines[-1][:300] if lines else type(error).__name__
