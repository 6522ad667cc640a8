"""Giving a stage to where it is carried out, or finding it there where an earlier process had done so."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import HarnessError, Incomplete, Session, WorkItem
from training.jobs.targets import Running, choose_target
from training.jobs.task import Resources, Task
from training.pipelines.commands import command
from training.pipelines.deciding import FORCED, Decision
from training.pipelines.placeholders import DEPENDENCY
from training.pipelines.reading import Pipeline
from training.pipelines.settings import Job, Stage
from training.pipelines.state import State


class Starter:
    """Starts stages at one place.

    Args:
        engine: the name of the place.
        options: its own, such as the address of a cluster.
    """

    def __init__(self, session: Session, engine: str, options: Mapping[str, str] | None = None) -> None:
        self.engine = engine
        self._options = dict(options or {})
        self._home = session.home.absolute()
        self._target = choose_target(engine, **self._options)

    def start(
        self, pipeline: Pipeline, name: str, decision: Decision, item: WorkItem, state: State
    ) -> tuple[Running, dict[str, Any]]:
        """The stage's process, and the note that finds it again, which is kept before it is started.

        Raises:
            HarnessError: it cannot be started.
        """
        stage, note = pipeline.stages[name], dict(item.note)
        words = command(pipeline, stage, self._known(pipeline, name, decision, item))
        if "key" in note:
            found = self._find(self._task(name, words, stage, note), note, is_forced=decision.why == FORCED)
            if found is not None:
                return found, note
        note = {
            "preempted": note.get("preempted", 0),
            "starts": note.get("starts", 0) + 1,
            "began": time.time(),
            "engine": self.engine,
            "options": self._options,
            "log": str(self.folder(pipeline, name, item).relative_to(self._home) / f"{item.attempt}.log"),
            "key": f"{pipeline.name}-{name}-{uuid.uuid4().hex[:12]}",
        }
        state.beat(item, note)
        self.clear(pipeline, name, item)
        for output in stage.outputs if isinstance(stage.action, Job) else ():
            (self.folder(pipeline, name, item) / "outputs" / output).mkdir(parents=True)
        running = self._target.start(self._task(name, words, stage, note))
        note["target"] = dict(running.note)
        state.beat(item, note)
        return running, note

    def folder(self, pipeline: Pipeline, name: str, item: WorkItem) -> Path:
        """Where a stage's logs and what it makes lie."""
        _, recipe, number = item.name.split("/")
        return self._home / "pipelines" / pipeline.name / f"{name}-{recipe[:8]}-{number}"

    def clear(self, pipeline: Pipeline, name: str, item: WorkItem) -> None:
        """Removes what a stage made."""
        shutil.rmtree(self.folder(pipeline, name, item) / "outputs", ignore_errors=True)

    def log(self, note: Mapping[str, Any]) -> Path:
        """Where the output of a stage that was started lies."""
        return self._home / str(note["log"])

    def resources(self, stage: Stage) -> Resources:
        """What a stage needs of a machine."""
        return Resources() if stage.resources is None else stage.resources.resources()

    def close(self) -> None:
        """Gives back what the place holds."""
        self._target.close()

    def _known(self, pipeline: Pipeline, name: str, decision: Decision, item: WorkItem) -> Mapping[str, str]:
        """What the placeholders of a stage stand for."""
        known = {f"inputs.{key}": artifact.reference for key, artifact in decision.inputs.items()}
        if f"inputs.{DEPENDENCY}" in known:
            known[DEPENDENCY] = known.pop(f"inputs.{DEPENDENCY}")
        made = self.folder(pipeline, name, item) / "outputs"
        return known | {f"outputs.{key}": str(made / key) for key in pipeline.stages[name].outputs}

    def _task(self, name: str, words: list[str], stage: Stage, note: Mapping[str, Any]) -> Task:
        resources = self.resources(stage)
        environment = {"HARNESS_HOME": str(self._home)}
        if "OMP_NUM_THREADS" not in os.environ:  # stages at once would else compute on all cores, each of them
            environment["OMP_NUM_THREADS"] = str(max(1, int(resources.cpus / (stage.parallel or 1))))
        return Task(
            name=name, command=words, folder=Path.cwd(), environment=environment, log=self.log(note),
            resources=resources, key=note["key"],
        )  # fmt: skip

    def _find(self, task: Task, note: Mapping[str, Any], *, is_forced: bool) -> Running | None:
        """The process that an earlier command started, at whatever place that was; None where it has none.

        Args:
            is_forced: whether a place that does not answer is given up.

        Raises:
            Incomplete: the place does not answer.
        """
        try:
            if (note["engine"], note["options"]) == (self.engine, self._options):
                target = self._target
            else:
                target = choose_target(note["engine"], **note["options"])
            return target.find(task, note.get("target", {}))
        except HarnessError as error:
            if is_forced:
                return None
            raise Incomplete(
                f"{task.name} was started with --engine {note['engine']} and may be at work there, but: {error}; the "
                f"same command finds it again, and with --force {task.name} begins it anew"
            ) from error
