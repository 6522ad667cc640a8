"""A sweep as W&B takes it, and what of it W&B is not told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import Privacy, UsageError
from training.pipelines.placeholders import texts
from training.sweeps.reading import Sweep
from training.sweeps.settings import Parameter
from training.sweeps.space import Point, nested

POINT: Final = "point"
"""The parameter whose values are whole points, where constraints say which there are."""


@dataclass(frozen=True, slots=True)
class File:
    """How an agent names the sweep file.

    Attributes:
        changes: `key=value`, as they were given.
    """

    path: Path
    changes: Sequence[str]

    @property
    def command(self) -> list[str]:
        """What an agent starts for a trial, from the folder in which the agent is."""
        changes = [part for change in self.changes for part in ("--set", change)]
        return ["harness", "sweep", os.path.relpath(self.path), *changes, "--trial", "${args_json}"]


def configuration(sweep: Sweep, file: File) -> dict[str, Any]:
    """The sweep as W&B takes it.

    W&B knows no constraints. A grid, or draws of points that can be counted, is handed over as one parameter whose
    values are the allowed points, as JSON.

    Raises:
        UsageError: it cannot do that, or would be sent where something lies on this machine; by name.
    """
    said = _configuration(sweep, file)
    _check_places(said, [file.path, *([Path(sweep.settings.program)] if sweep.settings.program else [])])
    return said


def _check_places(said: dict[str, Any], files: Sequence[Path]) -> None:
    for path in files:
        if Path(os.path.relpath(path)).parts[0] == os.pardir:
            raise UsageError(
                f"{path}: lies outside of the current folder, and agents elsewhere are told where; start the command "
                "in a folder that holds it"
            )
    privacy = Privacy()
    for at, text in texts(said):
        if privacy.said(text) != text:
            raise UsageError(
                f"{'.'.join(map(str, at))}: {privacy.said(text)!r} would be sent to W&B, which is told no secret "
                "and no place on this machine; write a path from the current folder, or ${envvar:NAME}"
            )


def not_sent(sweep: Sweep) -> list[str]:
    """Keys of the file that W&B and its agents do not go by, each with what happens instead."""
    said = [
        f"launch.resources.{name}: is not sent; agents do not ask what a trial needs"
        + (", only how many begin here goes by it" if name == "cpus" else "")
        for name in sorted(sweep.settings.launch.resources.model_fields_set)
    ]
    if "seed" in sweep.settings.model_fields_set:
        said.append("seed: is not sent; what is drawn is the server's")
    return said


def planned(sweep: Sweep) -> int | None:
    """How many trials W&B is to give out; None where it never ends by itself."""
    settings, space = sweep.settings, sweep.space
    if settings.method != "grid":
        return settings.run_cap
    points = {json.dumps(point) for point in (*settings.include, *(space.allowed or ()))}
    return min(len(points), settings.run_cap or len(points))


def _configuration(sweep: Sweep, file: File) -> dict[str, Any]:
    settings, space = sweep.settings, sweep.space
    said = settings.model_dump(
        mode="json", exclude_unset=True, exclude_none=True,
        include={"description", "method", "metric", "early_terminate", "run_cap"},
    )  # fmt: skip
    said["name"] = sweep.name
    enumerated = bool(space.constraints or settings.include)
    if enumerated:
        what = "constraints" if space.constraints else "include"
        if settings.method == "bayes":
            raise UsageError(f"{what}: W&B's bayes cannot keep to them; take --engine local or ray, or another method")
        if space.allowed is None:
            raise UsageError(f"{what}: W&B needs points that can be counted for them; give values:, or --engine local")
        if settings.include and settings.method != "grid":
            raise UsageError("include: W&B tries no points first but in a grid; leave it out, or --engine local")
        points = [*settings.include, *(point for point in space.allowed if point not in settings.include)]
        said["parameters"] = {POINT: {"values": [json.dumps(point) for point in points]}}
    else:
        said["parameters"] = {name: _parameter(it) for name, it in settings.parameters.items()}
    if settings.program is not None and not enumerated:  # it speaks with W&B itself
        return {**said, "program": os.path.relpath(settings.program), "command": list(settings.command)}
    return {**said, "program": "harness", "command": file.command}


def point_of(sweep: Sweep, values: Mapping[str, Any]) -> Point:
    """The point that a run's configuration says."""
    if POINT in values and POINT not in sweep.settings.parameters:
        point: Point = json.loads(values[POINT])
        return point
    return _flat(values, sweep.settings.parameters)


def _parameter(it: Parameter) -> dict[str, Any]:
    if it.parameters is not None:
        return {"parameters": {name: _parameter(inner) for name, inner in it.parameters.items()}}
    return it.model_dump(mode="json", exclude_unset=True)


def _flat(values: Mapping[str, Any], parameters: Mapping[str, Parameter], prefix: str = "") -> dict[str, Any]:
    point: dict[str, Any] = {}
    for name, it in parameters.items():
        if it.parameters is not None:
            point |= _flat(values[name], it.parameters, f"{prefix}{name}.")
        else:
            point[prefix + name] = values[name]
    return point


def as_given(sweep: Sweep, point: Point) -> dict[str, Any]:
    """A point as a run's configuration shows it."""
    return nested(point, sweep.settings.parameters)
