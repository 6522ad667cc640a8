"""A sweep at W&B: the server searches, agents here carry trials out, and what came of them returns to the workspace.

https://docs.wandb.ai/models/sweeps. The SDK makes the sweep, and `wandb agent` takes its trials, as for anyone's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Incomplete, Json, MissingExtra, Session, StoreError, UsageError
from training.sweeps.handing import Place
from training.sweeps.reading import Sweep
from training.sweeps.results import PARTS, finite
from training.sweeps.settings import Parameter
from training.sweeps.space import Point, nested
from training.wandb_sdk import PROJECT, UNSAID_VARIABLES

POINT: Final = "point"
"""The parameter whose values are whole points, where constraints say which there are."""
GRACE: Final = 60.0
STATES: Final = {"finished": "done", "failed": "failed", "crashed": "failed", "killed": "failed", "preempted": "failed"}
"""A run's state -> its trial's."""


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
        """What an agent starts for a trial; nothing of it says where things lie on this machine."""
        changes = [part for change in self.changes for part in ("--set", change)]
        return ["harness", "sweep", os.path.relpath(self.path), *changes, "--trial", "${args_json}"]


def hand_over(
    sweep: Sweep, file: File, place: Place, session: Session, workers: int, say: Callable[[str], object]
) -> None:
    """Make the sweep at W&B, or go on with the one that an earlier call made, with so many agents here.

    Raises:
        UsageError: it has something that W&B cannot do; says what.
        MissingExtra: wandb is not installed.
        HarnessError: nobody is logged in, or the server does not answer.
        Incomplete: the agents ended before the sweep did.
    """
    config = configuration(sweep, file)
    try:
        import wandb
    except ImportError as error:
        raise MissingExtra("--engine wandb needs wandb: pip install 'vlm-harness[wandb]'") from error
    with _told():
        api: Any = wandb.Api()
        entity = sweep.settings.entity or os.environ.get("WANDB_ENTITY") or api.default_entity
        path = _known(place, api) or _made(config, place, str(entity), sweep.settings.project)
    say(f"sweep {path} at W&B; {workers} agents take its trials, their logs are in the workspace under sweeps/")
    try:
        _run_agents(path, place, session, workers)
    finally:
        with _told():
            left = collect(sweep, place, session, wandb.Api(), path)
    if left:
        raise Incomplete(f"{left} trials of {path} have not ended; the same command goes on, or looks again")


def configuration(sweep: Sweep, file: File) -> dict[str, Any]:
    """The sweep as W&B takes it.

    W&B knows no constraints. A grid, or draws of points that can be counted, is handed over as one parameter whose
    values are the allowed points, as JSON.

    Raises:
        UsageError: it cannot do that, by name.
    """
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


def _known(place: Place, api: Any) -> str | None:
    """The sweep that an earlier call made, where the server still has it."""
    try:
        path: str = json.loads((place.folder / "wandb.json").read_text(encoding="utf-8"))["sweep"]
        api.sweep(path).load(force=True)
    except Exception:  # noqa: BLE001 - another one is made
        return None
    return path


def _made(config: dict[str, Any], place: Place, entity: str, project: str | None) -> str:
    import wandb

    project = project or os.environ.get("WANDB_PROJECT") or PROJECT
    with contextlib.redirect_stdout(sys.stderr):
        path = f"{entity}/{project}/{wandb.sweep(config, entity=entity, project=project)}"
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        (place.folder / "wandb.json").write_text(json.dumps({"sweep": path}), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{place.folder}: cannot be written ({error.strerror})") from error
    return path


def _run_agents(path: str, place: Place, session: Session, workers: int) -> None:
    """Until all agents have ended; an interruption ends their trials first."""
    environment = {
        **UNSAID_VARIABLES,
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "HARNESS_HOME": str(session.home.absolute()),
        "WANDB_DIR": os.environ.get("WANDB_DIR") or str(session.home.absolute()),
        # One trial that fails says nothing about the next: the table says how many did.
        "WANDB_AGENT_DISABLE_FLAPPING": "true",
        "WANDB_AGENT_MAX_INITIAL_FAILURES": "1000000",
    }
    command = [sys.executable, "-P", "-m", "wandb", "agent", "--forward-signals", path]
    place.folder.mkdir(parents=True, exist_ok=True)
    agents = []
    try:
        for number in range(workers):
            with (place.folder / f"agent-{number + 1}.log").open("ab") as log:
                agents.append(subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                ))  # fmt: skip
        while any(agent.poll() is None for agent in agents):
            time.sleep(0.2)
    finally:
        _end(agents)


def _end(agents: Sequence[subprocess.Popen[bytes]]) -> None:
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        alive = [agent for agent in agents if agent.poll() is None]
        for agent in alive:
            with suppress(ProcessLookupError):
                os.kill(agent.pid, number)
        until = time.monotonic() + seconds
        while alive and any(agent.poll() is None for agent in alive) and time.monotonic() < until:
            time.sleep(0.1)


def collect(sweep: Sweep, place: Place, session: Session, api: Any, path: str) -> int:
    """What came of the sweep's runs, into the workspace's table; how many have not ended is returned."""
    store, work = session.work, place.work
    there = api.sweep(path)
    there.load(force=True)
    left = 0
    known = {item.name: item.status for item in store.items(work)}
    for run in there.runs:
        status = STATES.get(run.state)
        left += status is None
        if status is None or known.get(run.id) == "done":
            continue
        try:
            point = point_of(sweep, run.config)
        except KeyError:  # it ended before it was told its parameters
            continue
        store.add(work, {run.id: {"parameters": dict(point)}})
        store.again(work, {run.id})
        if (item := store.claim(work, {run.id})) is None:
            continue
        result = _result(sweep, run)
        if status == "done" and (sweep.settings.metric is None or "value" in result):
            store.done(item, result)
        else:
            store.failed(item, f"its run {run.id} at W&B {'gave no metric' if status == 'done' else run.state}", result)
    return left


def _result(sweep: Sweep, run: Any) -> dict[str, Json]:
    summary = dict(run.summary)
    result: dict[str, Json] = {"seconds": finite(summary.get("_runtime"))}
    if (metric := sweep.settings.metric) is None:
        return result
    if (value := finite(summary.get(metric.name))) is not None:
        result["value"] = value
    for part in PARTS[1:]:
        if (bound := finite(summary.get(f"{metric.name}/{part}"))) is not None:
            result[part] = bound
    if checkpoint := summary.get("checkpoint"):
        result["checkpoint"] = str(checkpoint)
    return result


@contextlib.contextmanager
def _told() -> Any:
    """What the SDK raises, as an error of ours."""
    try:
        yield
    except (HarnessError, MissingExtra):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise HarnessError(
            f"W&B: {reason}; `wandb login` if nobody is logged in, and WANDB_BASE_URL names another server"
        ) from error


def as_given(sweep: Sweep, point: Point) -> dict[str, Any]:
    """A point as a run's configuration shows it."""
    return nested(point, sweep.settings.parameters)
