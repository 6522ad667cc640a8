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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Json, MissingExtra, Session, StoreError
from training.jobs.task import last_words
from training.sweeps.handing import Place
from training.sweeps.reading import Sweep
from training.sweeps.results import PARTS, finite
from training.sweeps.wandb_file import File, configuration, planned, point_of
from training.wandb_sdk import PROJECT, UNSAID_VARIABLES

GRACE: Final = 60.0
STATES: Final = {"finished": "done", "failed": "failed", "crashed": "failed", "killed": "failed", "preempted": "failed"}
"""A run's state -> its trial's."""
FINISHED: Final = "FINISHED"
"""A sweep's state when all that it searches is given out."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What the server says of a sweep.

    Attributes:
        state: as the server has it.
        ended, left: how many of its runs have ended, and how many have not.
    """

    state: str
    ended: int
    left: int


def hand_over(
    sweep: Sweep, file: File, place: Place, session: Session, workers: int, say: Callable[[str], object]
) -> str:
    """Make the sweep at W&B, or go on with the one that an earlier call made, with so many agents here.

    Why the agents ended before the sweep did is returned; it is empty where they did not.

    Raises:
        UsageError: it has something that W&B cannot do; says what.
        MissingExtra: wandb is not installed.
        HarnessError: nobody is logged in, or the server does not answer.
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
        codes = _run_agents(path, place, session, workers)
    finally:
        with _told():
            found = collect(sweep, place, session, wandb.Api(), path)
    reason = _unfinished(codes, found, planned(sweep), place.folder)
    return reason and f"{path}: {reason}; the same command goes on with it"


def _unfinished(codes: Sequence[int], found: Collected, wanted: int | None, folder: Path) -> str:
    """Why a sweep whose agents have ended is not over; empty where it is.

    Args:
        codes: the agents' exit codes.
        wanted: how many trials there are to be, where that is known.
        folder: where the agents' logs are.
    """
    if (failed := next((number for number, code in enumerate(codes, 1) if code), None)) is not None:
        log = folder / f"agent-{failed}.log"
        return f"agent {failed} ended with exit code {codes[failed - 1]} ({last_words(log)})"
    if found.left:
        return f"{found.left} of its trials have not ended"
    if found.state != FINISHED and (wanted is None or found.ended < wanted):
        return f"it is {found.state} at W&B with {found.ended} of {'its' if wanted is None else wanted} trials"
    return ""


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


def _run_agents(path: str, place: Place, session: Session, workers: int) -> list[int]:
    """Until all agents have ended; their exit codes. An interruption ends their trials first."""
    environment = {  # a program of the user's own opens its run itself, and what the user has set for that is kept
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
    return [agent.wait() for agent in agents]


def _end(agents: Sequence[subprocess.Popen[bytes]]) -> None:
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        alive = [agent for agent in agents if agent.poll() is None]
        for agent in alive:
            with suppress(ProcessLookupError):
                os.kill(agent.pid, number)
        until = time.monotonic() + seconds
        while alive and any(agent.poll() is None for agent in alive) and time.monotonic() < until:
            time.sleep(0.1)


def collect(sweep: Sweep, place: Place, session: Session, api: Any, path: str) -> Collected:
    """What came of the sweep's runs, into the workspace's table."""
    store, work = session.work, place.work
    there = api.sweep(path)
    there.load(force=True)
    ended = left = 0
    known = {item.name: item.status for item in store.items(work)}
    for run in there.runs:
        status = STATES.get(run.state)
        left += status is None
        ended += status is not None
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
    return Collected(str(there.state), ended, left)


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
def _told() -> Iterator[None]:
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
