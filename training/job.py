"""One training as it is carried out: its settings, its place, and what it starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from harness import Json, Options, Session
from training.identity import judged
from training.processes import WORLD, on_cpu


class Assembled(Exception):
    """What `fit` raises where a job only plans: all is put together, and nothing is trained.

    Attributes:
        trainer, processor: as `fit` was given them.
    """

    def __init__(self, trainer: Any, processor: Any) -> None:
        super().__init__()
        self.trainer = trainer
        self.processor = processor


@dataclass(frozen=True)
class Job:
    """What a stage's `run` is given.

    Attributes:
        settings: the stage's.
        session: the workspace.
        data: what is learnt from: its name -> its digest.
        parents: what it starts from: `NAME:vN` (or a folder) -> its digest.
        planning: where it works if it only plans: `fit` ends with `Assembled` before it does anything.
    """

    settings: Any
    session: Session
    data: Mapping[str, str]
    parents: Mapping[str, str]
    planning: Path | None = None

    @classmethod
    def of(cls, settings: Any, session: Session) -> Job:
        """The job that carries out settings, on the data and parents as they are now."""
        parents = settings.parents(session) if hasattr(settings, "parents") else {}
        return cls(settings, session, settings.data_digests(session), parents)

    @cached_property
    def id(self) -> str:
        """The hash of what the result depends on: settings, data, parents; not how that is told."""
        recipe = {
            "settings": self._essential,
            "data": dict(self.data),
            "parents": sorted(self.parents.values()),
            "judges": self._judges(),
        }
        return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()

    @property
    def folder(self) -> Path:
        """Where it works; kept between attempts."""
        place = self.planning or self.session.home / "training"
        return place / f"{self.settings.stage}-{self.id[:12]}"

    @property
    def _essential(self) -> dict[str, Json]:
        settings: dict[str, Json] = self.settings.model_dump(mode="json")
        for reported in ("track", "save", "license"):
            settings.pop(reported, None)
        if "scale" in settings:
            settings["scale"].pop("workers")
        if not self._chosen and not hasattr(self.settings, "alignment_method"):  # an alignment tells its effect by it
            settings.pop("evaluate", None)
        return settings

    @property
    def _chosen(self) -> bool:
        """Whether an evaluation chooses which checkpoint is the result."""
        return getattr(getattr(self.settings, "evaluate", None), "best", None) is not None

    def _judges(self) -> dict[str, str]:
        """What the checkpoint is chosen by: benchmark -> digest."""
        if not self._chosen:
            return {}
        asked = self.settings.evaluate
        tasks = self.session.tasks(asked.benchmarks, Options(split=asked.split))
        return {task.name: judged(self.session, task) for task in tasks}

    def metadata(self) -> dict[str, Json]:
        """What every version that it publishes says of it."""
        config = hashlib.sha256(msgspec.json.encode(self._essential, order="sorted")).hexdigest()
        return {
            "training": self.id,
            "recipe_digest": self.id,
            "stage": self.settings.stage,
            "settings": self.settings.model_dump(mode="json"),
            "config_digest": config,
            "data": dict(self.data),
            "parents": dict(self.parents),
            "processes": WORLD,
            "environment": {**self.session.environment, "device": self._device()},
        }

    def _device(self) -> str:
        """What it computes on."""
        if not hasattr(self.settings, "steps") or on_cpu(self.session.settings.workspace.device):
            return "cpu"
        import torch

        return (
            torch.cuda.get_device_name() if torch.cuda.is_available() else str(torch.accelerator.current_accelerator())
        )
