# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""What a training would do, found by putting all of it together but the weights."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from torch.utils.data import Subset

from harness import ConfigError, Json, Session
from training.estimate.assembling import Assembly, StandIns
from training.estimate.devices import amount, here
from training.estimate.estimating import estimate, mode_of
from training.estimate.room import no_room
from training.job import Job
from training.lessons import Draws
from training.processes import WORLD
from training.settings import TrainerSettings

UNPREPARED = "the dataset is yet to be prepared: what the benchmarks' own files hold is counted"


def plan(
    settings: Any, run: Callable[[Job], Any], session: Session, stand_ins: StandIns
) -> tuple[dict[str, Json], ConfigError | None]:
    """The plan of a stage, and why its training would not fit here, if it would not.

    Nothing is trained. In the workspace nothing is written but what it knows of pictures that it has seen.

    Raises:
        HarnessError: whatever else would end the training before its first step.
    """
    common: dict[str, Json] = {"stage": settings.stage, "name": settings.name}
    if not isinstance(settings, TrainerSettings):
        job = Job.of(settings, session)
        stand_ins.datasets.add(settings.name)
        return {**common, "data": dict(job.data), "starts_from": dict(job.parents)}, None
    unprepared = (getattr(settings, "dataset", None) or "").partition(":")[0] in stand_ins.datasets
    if unprepared:
        settings = settings.model_copy(update={"dataset": None})
    found, assembly = estimate(settings, run, session, stand_ins, training_only=True)
    stand_ins.plan(settings.name, assembly.trainer.model, assembly.processor)
    place = here(session.settings.workspace.device)
    memory = found.memory[mode_of(settings)]
    spread = WORLD if settings.scale.strategy == "fsdp" else 1
    parts = memory.on_each(spread)
    free = place.free // WORLD if place.device == "cpu" else place.free
    told = {
        **common,
        "data": _data(settings, assembly),
        "starts_from": dict(assembly.job.parents),
        "steps": _steps(settings, assembly),
        "learning_rate": _rate(settings, assembly),
        "parameters": {part: {"all": size.all, "trained": size.trained} for part, size in found.sizes.items()},
        "saves": {"every": settings.save.every, "keep": settings.save.keep, "publish": settings.save.publish},
        "evaluations": _evaluations(settings),
        "scale": {"precision": settings.scale.precision, "strategy": settings.scale.strategy, "processes": WORLD},
        "memory": {"parts": dict(parts), "total": sum(parts.values()), "longest": found.tokens},
        "device": {"name": place.name, "kind": place.device, "free": free},
        "fits": sum(parts.values()) <= free,
        "notes": [*found.notes, *([UNPREPARED] if unprepared else [])],
    }
    return told, None if told["fits"] else no_room(settings, parts, place)


def _data(settings: Any, assembly: Assembly) -> dict[str, Json]:
    dataset: Any = assembly.trainer.train_dataset
    draws = dataset.dataset if isinstance(dataset, Subset) else dataset
    told: dict[str, Json] = {"digests": dict(assembly.job.data)}
    if isinstance(draws, Draws):
        told |= {
            "split": settings.split,
            "pictures": len(draws.pictures),
            "prompts": sum(len(picture.lessons) for picture in draws.pictures),
        }
    elif getattr(settings, "preferences", None) is not None:
        told["preferences"] = len(settings.read_preferences().records)
    return told


def _steps(settings: TrainerSettings, assembly: Assembly) -> dict[str, Json]:
    each = settings.batch * settings.accumulate * WORLD
    told: dict[str, Json] = {
        "steps": settings.steps,
        "batch": settings.batch,
        "accumulate": settings.accumulate,
        "processes": WORLD,
        "samples_a_step": each,
        "samples": settings.steps * each,
    }
    data = _data(settings, assembly)
    count = data.get("pictures", data.get("preferences"))
    if isinstance(count, int):
        told["epochs"] = round(settings.steps * each / count, 3)
    return told


def _rate(settings: TrainerSettings, assembly: Assembly) -> dict[str, Json]:
    """The schedule, as the trainer made it."""
    schedule: Any = assembly.trainer.lr_scheduler
    shape = schedule.lr_lambdas[0]
    last = settings.steps - 1
    places = sorted({0, min(settings.warmup, last), last // 2, last})
    return {
        "highest": settings.learning_rate,
        "warmup": settings.warmup,
        "schedule": settings.schedule,
        "at": {str(step + 1): settings.learning_rate * float(shape(step)) for step in places},
    }


def _evaluations(settings: TrainerSettings) -> Json:
    asked = settings.evaluate
    if asked is None:
        return None
    times = 1 if asked.every is None else settings.steps // asked.every + 1
    return {
        "benchmarks": list(asked.benchmarks),
        "limit": asked.limit,
        "every": asked.every,
        "times": times,
        "best": asked.best,
    }


def show(console: Console, told: Mapping[str, Any]) -> None:
    """The plan, a line for each thing, or more where one is long."""
    for key, text in _lines(told):
        first, rest = f"{key:>14}  ", " " * 16
        for line in textwrap.wrap(text, console.width, initial_indent=first, subsequent_indent=rest):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _short(name: str) -> str:
    """Without most of a commit."""
    before, at, commit = name.rpartition("@")
    return before + at + commit[:12] if at else name


def _lines(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [("stage", f"{told['stage']} -> {told['name']}")]
    lines += [("starts from", _short(name)) for name in told["starts_from"]]
    if "steps" not in told:
        return [*lines, *(("data", f"{name} {digest[:12]}") for name, digest in told["data"].items())]
    data, steps, rate = told["data"], told["steps"], told["learning_rate"]
    counts = ", ".join(f"{data[kind]:,} {kind}" for kind in ("pictures", "prompts", "preferences") if kind in data)
    split = f"split {data['split']}: " if "split" in data else ""
    lines.append(("data", f"{split}{counts}"))
    lines += [("", f"{name} {digest[:12]}") for name, digest in data["digests"].items()]
    epochs = f", {steps['epochs']:g} epochs" if "epochs" in steps else ""
    product = f"{steps['batch']} x {steps['accumulate']} x {steps['processes']} = {steps['samples_a_step']}"
    lines.append(("steps", f"{steps['steps']:,} of {product} samples (batch x accumulate x processes){epochs}"))
    at = ", ".join(f"{value:.3g} at {step}" for step, value in rate["at"].items())
    lines.append(("learning rate", f"{rate['schedule']}: {at}"))
    for place, (part, size) in enumerate(told["parameters"].items()):
        lines.append(("" if place else "parameters", f"{part}: {size['trained']:,} of {size['all']:,} trained"))
    saves = told["saves"]
    times = math.ceil(steps["steps"] / saves["every"])
    published = ", each published" if saves["publish"] else ""
    lines.append(("saves", f"{times}, every {saves['every']} steps, {saves['keep']} kept{published}"))
    asked = told["evaluations"]
    if asked is not None:
        limit = "all samples" if asked["limit"] is None else f"{asked['limit']} samples each"
        best = f", best by {asked['best']}" if asked["best"] else ""
        lines.append(("evaluations", f"{asked['times']} of {', '.join(asked['benchmarks'])}, {limit}{best}"))
    scale = told["scale"]
    lines.append(("arithmetic", f"{scale['precision']}, {scale['processes']} process(es), {scale['strategy']}"))
    memory, device = told["memory"], told["device"]
    lines.append(("memory", f"about {amount(memory['total'])} of {amount(device['free'])} free: {device['name']}"))
    lines += [("note", note) for note in told["notes"]]
    return lines
