"""From a config to a published version: which stage it is, whether it was carried out already, and carrying it out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict

from harness import CheckpointError, ConfigError, HarnessError, Json, Score, Session, UnknownName, Version, read_yaml
from training.job import Job
from training.locking import alone
from training.processes import is_first, shared
from training.resuming import start_again, steps_name
from training.settings import TrainerSettings
from training.stages import STAGES

SIGNALS = {"KeyboardInterrupt": "SIGINT", "Terminated": "SIGTERM"}
"""What ends a training from outside -> what had come."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage made.

    Attributes:
        folder: what is published; a model is a folder that `from_pretrained` loads.
        type: of the version: model or dataset.
        scores: of the finished model, `benchmark.metric` -> score.
        facts: what else the version should say of itself.
    """

    folder: Path
    type: str = "model"
    scores: Mapping[str, Score] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)


Run: TypeAlias = Callable[[Job], Result]
KEPT: Final = ("value", "n", "clusters", "stderr", "low", "high")
"""What is kept of a score beside a version; its breakdowns are those of `harness eval`."""


@dataclass(frozen=True, slots=True)
class Made:
    """A published version, and whether this call made it."""

    version: Version
    fresh: bool


class _AnyStage(BaseModel):
    model_config = ConfigDict(extra="allow")

    stage: str = ""


def read_stage(config: Path, changes: Sequence[str] = ()) -> tuple[Any, Run]:
    """A config's settings, and the function that carries them out.

    Args:
        changes: `key.path=value`, each in the place of what the config has there.

    Raises:
        ConfigError: it cannot be read, names no stage, or holds a wrong key.
        UsageError: a change is malformed.
    """
    name = read_yaml(config, _AnyStage, changes).stage
    if not name:
        raise ConfigError(f"names no stage; write `stage:` and one of {', '.join(STAGES)}", config)
    if name not in STAGES:
        raise ConfigError(str(UnknownName("stage", name, STAGES)), config)
    module_name, _, model = STAGES[name].partition(":")
    module = importlib.import_module(module_name)
    return read_yaml(config, getattr(module, model), changes), module.run


def carry_out(settings: Any, run: Run, session: Session, *, force: bool = False) -> Made:
    """The version that the settings make of the data and parents as they are now: the published one, or a new one.

    Args:
        force: train also what does not fit into memory.

    Raises:
        UsageError: another command is carrying out the same.
        CheckpointError: the name is one of versions of another type.
        HarnessError: processes that are to train together have different data, parents or settings before them.
    """
    job = Job.of(settings, session)
    if (first := shared(lambda: job.id)) != job.id:
        raise HarnessError(
            f"{settings.name}: the processes do not train the same: it is job {first[:12]} to the first of them, and "
            f"{job.id[:12]} to this one; give all of them the same config, data and parents"
        )
    if (there := shared(lambda: _published(job))) is not None:
        return Made(there, False)
    shared(lambda: _check_names(job))
    with alone(job):
        if (there := shared(lambda: _published(job))) is not None:  # by who had the job until now
            return Made(there, False)
        return _carry_out(job, run, force=force)


def _carry_out(job: Job, run: Run, *, force: bool) -> Made:
    settings = job.settings
    with _recorded(job):
        if hasattr(settings, "track"):
            settings.track.check()
        if isinstance(settings, TrainerSettings) and not force:
            from training.estimate.room import ensure_room  # it needs what a config that is wrong does not

            ensure_room(settings, job.session)
        if isinstance(settings, TrainerSettings) and settings.save.resume == "never":
            shared(lambda: start_again(job))
        # Only where gradients are computed do several processes have something to do.
        result = run(job) if isinstance(settings, TrainerSettings) else shared(lambda: run(job))
        return Made(shared(lambda: _publish(job, result)), True)


def _check_names(job: Job) -> None:
    """The registry would say it, too, but only when the work is done."""
    store, settings = job.session.checkpoints, job.settings
    wanted = {settings.name: settings.makes}
    if isinstance(settings, TrainerSettings) and settings.save.publish:
        wanted[steps_name(job)] = "model"
    for name in wanted.keys() & set(store.names()):
        if (kept := store.versions(name)[0].type) != wanted[name]:
            raise CheckpointError(
                f"{name}: holds versions of type {kept!r}, not {wanted[name]!r}; give the config another `name`"
            )


def _published(job: Job) -> Version | None:
    store, name = job.session.checkpoints, job.settings.name
    noted = _noted(job)
    for version in store.versions(name) if name in store.names() else ():
        if version.metadata.get("recipe_digest") == job.id or [str(version), version.digest] == noted:
            _remember(job, version)
            return version
    return None


def _publish(job: Job, result: Result) -> Version:
    version = job.session.checkpoints.publish(
        result.folder,
        job.settings.name,
        type=result.type,
        metadata={**job.metadata(), **result.facts, "scores": documents(result.scores)},
        parents=tuple(job.parents.values()),
    )
    if version.metadata.get("recipe_digest") != job.id:  # another job had made the same files
        note = _note(job)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps([str(version), version.digest]), encoding="utf-8")
    _remember(job, version)
    return version


def _noted(job: Job) -> list[str] | None:
    """Name and digest of a version of another job that this one's result is equal to, if there was one."""
    try:
        noted: list[str] = json.loads(_note(job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted


def _note(job: Job) -> Path:
    return job.folder.with_name(f"{job.folder.name}.published")  # what is in the folder itself may be published


@contextmanager
def _recorded(job: Job) -> Iterator[None]:
    """Keeps in the workspace why an attempt ended before it was done."""
    try:
        yield
    except BaseException as error:
        with suppress(HarnessError):  # the workspace may be what cannot be written
            for training in job.session.trainings.all() if is_first() else ():
                if training.id == job.id:
                    status = "failed" if isinstance(error, Exception) else "interrupted"
                    kind = SIGNALS.get(type(error).__name__, type(error).__name__)
                    said = str(error) if isinstance(error, HarnessError) else f"{kind}: {error}"
                    job.session.trainings.stop(training, status, said.strip(": "))
        raise


def documents(scores: Mapping[str, Score]) -> dict[str, dict[str, Json]]:
    """Scores as they are kept beside a version."""
    return {name: {part: getattr(score, part) for part in KEPT} for name, score in scores.items()}


def _remember(job: Job, version: Version) -> None:
    """The job's training, if it was one, is complete; also where an earlier attempt was killed before it said so."""
    for training in job.session.trainings.all():
        if training.id == job.id and training.version != str(version):
            job.session.trainings.complete(training, version)
