"""Every hook. A plugin is the module of an entry point in the group `harness`; it implements what it needs.

Each hook returns a list of `Entry`: nothing heavy is imported until an entry is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import pluggy

PROJECT = "harness"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a plugin brings.

    Attributes:
        name: how users call it; unique among its kind.
        summary: one line for `harness list`.
        target: `module:attribute` of its factory, imported when it is chosen.
        extra: what `pip install` brings its dependencies, where they are optional.
        provides: the names of the scores that a metric gives; its own name where empty.
    """

    name: str
    summary: str
    target: str
    extra: str | None = None
    provides: tuple[str, ...] = ()


@hookspec
def register_models() -> list[Entry]:  # type: ignore[empty-body]
    """Model plugins: `target()` is a ModelPlugin."""


@hookspec
def register_benchmarks() -> list[Entry]:  # type: ignore[empty-body]
    """Benchmarks: `target()` is a Benchmark."""


@hookspec
def register_metrics() -> list[Entry]:  # type: ignore[empty-body]
    """Metrics: `target(**options)` is a Metric."""


@hookspec
def register_checkpoint_stores() -> list[Entry]:  # type: ignore[empty-body]
    """Checkpoint stores: `target(**options)` is a CheckpointStore."""


@hookspec
def register_engines() -> list[Entry]:  # type: ignore[empty-body]
    """Engines: `target(**options)` is an Engine."""


@hookspec
def register_trackers() -> list[Entry]:  # type: ignore[empty-body]
    """Trackers: `target(home=workspace_folder, **options)` is a Tracker."""


@hookspec
def register_checks() -> list[Entry]:  # type: ignore[empty-body]
    """Lines of `harness doctor`: `target()` is a Check."""
