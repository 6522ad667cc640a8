"""A job as somebody asked for it: on which target, from which folder."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import Json, Session, UsageError, WorkItem
from training.jobs.planning import WANDB, resume_from, task_of, words
from training.jobs.settings import JobSettings
from training.jobs.source import source_of
from training.jobs.task import Task


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it was asked for, as its item keeps it.

    Attributes:
        on: the target.
        options: the target's.
        folder: the current folder of whoever asked.
        id: unique to this order.
    """

    job: JobSettings
    on: str
    options: Mapping[str, Any]
    folder: Path
    id: str

    @classmethod
    def new(cls, job: JobSettings, on: str, options: Mapping[str, Any]) -> Order:
        """An order from here and now."""
        return cls(job, on, {key: value for key, value in options.items() if value}, Path.cwd(), uuid.uuid4().hex[:8])

    @classmethod
    def of(cls, item: WorkItem) -> Order:
        """The order that an item keeps.

        Raises:
            HarnessError: it is none that this version reads.
        """
        kept = item.document
        try:
            job = JobSettings.model_validate_json(kept["job"])
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "job"
            raise UsageError(
                f"{item.name}: cannot be read as a job ({place}: {first['msg']}); launch it anew"
            ) from error
        return cls(job, kept["on"], kept["options"], Path(kept["folder"]), kept["id"])

    @property
    def target_options(self) -> dict[str, Any]:
        """What the target is made with."""
        if self.on != WANDB:
            return dict(self.options)
        told = {"resource", "resource_args", "job_type", "uri", "runtime", "build"}
        return {**self.options, **self.job.model_dump(mode="json", include=told, exclude_none=True)}

    @property
    def copies(self) -> bool:
        """Whether a repository is copied here; W&B's agents do that themselves."""
        return self.job.job_type == "git" and self.on != WANDB

    def task(self, session: Session, key: str, log: Path, *, again: bool) -> Task:
        """What the target is to start.

        Args:
            key: the attempt's.
            again: it was started before.

        Raises:
            HarnessError: what it starts from or works in is not there.
        """
        job = self.job
        source = None if job.job_type == "git" and not self.copies else source_of(job, self.folder, source_place(log))
        command = words(job, resume_from(job, session, again=again))
        return task_of(job, command, folder=self.folder, log=log, key=key, home=session.home, source=source)

    def trace(self, key: str, log: Path) -> Task:
        """By what the target finds a task that was started: nothing that it started from need be there any more."""
        return Task(self.job.name, words(self.job, None), self.folder, log, key=key)

    @property
    def document(self) -> dict[str, Json]:
        """As its item keeps it."""
        job = self.job.model_dump_json(exclude_defaults=True)  # as text, in which parameters keep their order
        place = {"on": self.on, "options": dict(self.options), "folder": str(self.folder)}
        return {"job": job, **place, "id": self.id}


def source_place(log: Path) -> Path:
    """Where a copy of a job's repository lies."""
    return log.parent / "source"
