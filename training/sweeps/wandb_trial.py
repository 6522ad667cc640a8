"""One trial as an agent of W&B's starts it: its run at W&B is told what the trial says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness import Json, Session
from training.jobs.targets import Running
from training.jobs.targets.local import LocalTarget
from training.jobs.task import Task, size_of
from training.sweeps.handover import GRACE
from training.sweeps.reading import Sweep
from training.sweeps.results import PARTS, Curve, made_by, said_last, scores_of
from training.sweeps.space import Point
from training.sweeps.trial import command_of
from training.sweeps.wandb_file import as_given, point_of
from training.wandb_sdk import silent

OWN: Final = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")
"""What names the trial's run: a training has another one of its own, where it is to have one."""
LOOK: Final = 1.0


def carry_out(sweep: Sweep, session: Session, text: str) -> int:
    """Carries out the point that an agent says as JSON; its exit code is returned.

    A program that says everything itself takes this process's place.
    """
    point = point_of(sweep, json.loads(text))
    settings = sweep.settings
    name = os.environ.get("WANDB_RUN_ID", "trial")
    log = session.home.absolute() / "sweeps" / "wandb" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    values = log.with_suffix(".json")
    values.write_text(json.dumps(as_given(sweep, point)), encoding="utf-8")
    command = command_of(settings, point, values, sweep.fixed)
    if settings.train is None and settings.evaluate is None:
        os.execvp(command[0], command)
    return _followed(sweep, point, command, log)


def _followed(sweep: Sweep, point: Point, command: list[str], log: Path) -> int:
    import wandb

    # Whoever started the agent need not have told the SDK what it is to keep to itself.
    run: Any = wandb.init(settings=wandb.Settings(**silent()))
    for variable in OWN:
        os.environ.pop(variable, None)
    run.config.update(as_given(sweep, point), allow_val_change=True)
    metric = sweep.settings.metric
    start = size_of(log)  # a run that was preempted is given out again under its name
    curve = Curve(log, metric.name if metric else "", lambda: start)
    running = LocalTarget().start(Task(f"sweep/{run.id}", command, Path.cwd(), log))
    code: int | None = None
    try:
        told = 0
        while (code := running.wait(LOOK)) is None:
            for value in curve.update()[told:]:
                run.log({curve.name: value})
            told = len(curve.values)
    except BaseException:
        code = _ended(running)
        raise
    finally:
        run.summary.update(_summary(said_last(log, start) or {}, curve))
        run.finish(exit_code=code)
    return code


def _summary(document: Mapping[str, Any], curve: Curve) -> dict[str, Json]:
    """What the run keeps: all scores, and the metric's interval."""
    scores = scores_of(document)
    summary: dict[str, Json] = {name: score["value"] for name, score in scores.items()}
    for part in PARTS[1:]:
        if (bound := scores.get(curve.name, {}).get(part)) is not None:
            summary[f"{curve.name}/{part}"] = bound
    return {**summary, **{name: value for name, value in made_by(document).items() if value}}


def _ended(running: Running) -> int:
    running.stop()
    code = running.wait(GRACE)
    if code is None:
        running.kill()
        code = running.wait(GRACE)
    return 143 if code is None else code
