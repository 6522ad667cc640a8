"""Carrying a sweep out: trials are claimed from the workspace's table, so that none is lost and none is done twice."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from harness import HarnessError, Json, LostClaim, Session, WorkItem
from training.jobs.targets import Running, Target
from training.jobs.task import PREEMPTED, Task, last_words, result_of
from training.sweeps.handing import Hand, Place
from training.sweeps.reading import Sweep
from training.sweeps.results import BEGINS, Curve, finite, made_by, said_last, scores_of
from training.sweeps.stopping import is_behind
from training.sweeps.trial import command_of

ATTEMPTS: Final = 3
"""A trial that is killed from outside begins again, so often at most."""
GRACE: Final = 60.0
"""Seconds that a trial may take to save what it has."""
BEAT: Final = 30.0
"""Seconds from one word that a trial is at work to the next."""
LOOK: Final = 1.0
"""Seconds from one look at a trial's curve, or for trials of others that come free, to the next."""
TWICE: Final = 1.0
"""Seconds within which a second signal is the same wish: `timeout` signals its child, and then its group."""
SETTLE: Final = 0.2
"""Seconds from a trial's end by a signal until this process has heard of that signal, where it was meant, too."""
INTERRUPTED: Final = "interrupted"


class Watcher(Protocol):
    """Who is told of a sweep while it is carried out."""

    def ended(self, item: WorkItem, status: str, result: Mapping[str, Json] | None, reason: str | None) -> None:
        """A trial ended, or will begin again."""


class Driver:
    """Carries out the trials of one sweep, several at once. Other drivers may do so at the same time.

    Args:
        target: where trials are carried out.
        workers: trials at once.
    """

    def __init__(
        self, sweep: Sweep, place: Place, session: Session, target: Target, workers: int, watcher: Watcher
    ) -> None:
        self._sweep, self._place, self._session = sweep, place, session
        self._target, self._workers, self._watcher = target, workers, watcher
        self._store, self._work = session.work, place.work
        self._hand = Hand(sweep, place, session)
        self._stopping, self._enough = threading.Event(), threading.Event()
        self._running: dict[int, Running] = {}
        self._stopped_early: set[int] = set()
        self._curves: dict[int, Curve] = {}
        self._seen: dict[int, list[float]] = {}
        self._error: BaseException | None = None

    def run(self) -> None:
        """Carries out what is left; on an interruption trials are asked to save what they have, and wait again.

        Raises:
            HarnessError: the workspace cannot be written, or the search finds no point.
        """
        self._hand.fill()
        if any(self._is_enough(item.result) for item in self._store.items(self._work)):
            self._enough.set()
        ended = [threading.Event() for _ in range(self._workers)]
        for number, event in enumerate(ended):
            threading.Thread(target=self._guarded, args=(event,), name=f"trial {number}", daemon=True).start()
        try:
            _wait(ended)
        except BaseException:
            try:
                self._stop(ended)
            except BaseException:  # noqa: BLE001 - it may have come before anything was asked to end
                self._stop(ended)
            raise
        finally:
            self._target.close()
        if self._error is not None:
            raise self._error

    def _stop(self, ended: Sequence[threading.Event]) -> None:
        """Ends what runs: asked first, killed where that takes too long or the user asks again."""
        began = time.monotonic()
        self._stopping.set()
        try:
            self._each("stop")
            try:
                _wait(ended, GRACE)
            except BaseException:
                if time.monotonic() - began > TWICE:
                    raise
                _wait(ended, GRACE)
        finally:
            self._each("kill")
            _wait(ended, GRACE)

    def _each(self, what: str) -> None:
        for running in list(self._running.values()):
            with suppress(HarnessError):
                getattr(running, what)()

    def _guarded(self, ended: threading.Event) -> None:
        try:
            self._carry_out_all()
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            self._error = self._error or error
            self._stopping.set()
            self._each("stop")
        finally:
            ended.set()

    def _carry_out_all(self) -> None:
        while not self._stopping.is_set() and not self._enough.is_set():
            item = self._hand.next()
            if item is not None:
                self._carry_out(item)
            elif self._hand.may_come():
                self._stopping.wait(LOOK)
            else:
                return

    def _carry_out(self, item: WorkItem) -> None:
        task = self._task(item)
        try:
            running = self._adopted(item, task) or self._begun(item, task)
        except HarnessError as error:
            self._end(item, "failed", None, str(error))
            return
        self._running[item.key] = running
        metric = self._sweep.settings.metric
        self._curves[item.key] = Curve(task.log, metric.name if metric else "", lambda: running.note.get(BEGINS, 0))
        began = time.monotonic()
        try:
            if self._stopping.is_set():
                running.stop()
            code = self._watch(item, running)
        except LostClaim:
            running.stop()
            return
        finally:
            del self._running[item.key]
        self._conclude(item, code, task.log, round(time.monotonic() - began, 3))

    def _adopted(self, item: WorkItem, task: Task) -> Running | None:
        """A trial that goes on although who carried it out was killed."""
        if item.attempt == 1 or item.note.get("over") == item.attempt - 1:
            return None
        before = item.note.get("adopted", item.attempt - 1)
        running = self._target.find(replace(task, key=self._key(item, before)), item.note)
        if running is not None:
            self._store.beat(item, {**item.note, "adopted": before})
        return running

    def _begun(self, item: WorkItem, task: Task) -> Running:
        if "adopted" in item.note:
            self._store.beat(item, _without_adoption(item))
        if item.attempt > 1 and task.log.exists():
            task.log.rename(task.log.with_name(f"{item.name}.before-{item.attempt}.log"))
        if "${args_json_file}" in self._sweep.settings.command:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            task.log.with_suffix(".json").write_text(json.dumps(item.document["parameters"]), encoding="utf-8")
        return self._target.start(task)

    def _task(self, item: WorkItem) -> Task:
        log = self._place.folder / f"{item.name}.log"
        return Task(
            name=f"{self._work.name}/{item.name}",
            command=command_of(self._sweep.settings, item.document["parameters"], log.with_suffix(".json"),
                               self._sweep.fixed),
            folder=Path.cwd(),
            log=log,
            environment=self._environment(item),
            resources=self._sweep.settings.launch.resources.resources(),
            key=self._key(item, item.attempt),
        )  # fmt: skip

    def _environment(self, item: WorkItem) -> dict[str, str]:
        """Trials at the same time share the cores, which libraries that compute would each take all of."""
        environment = {"HARNESS_HOME": str(self._session.home.absolute()), "HARNESS_TRIAL": self._key(item, 0)}
        if "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._workers))
        return environment

    def _key(self, item: WorkItem, attempt: int) -> str:
        return f"{self._work.document['identity'][:12]}-{item.key}-{attempt}"

    def _watch(self, item: WorkItem, running: Running) -> int:
        """Waits for a trial's end; meanwhile says that it is at work, and ends it where it is behind."""
        early, last, stopped = self._sweep.settings.early_terminate is not None, time.monotonic(), 0.0
        while (code := running.wait(LOOK)) is None:
            if time.monotonic() - last > BEAT:
                last = time.monotonic()
                self._store.beat(item)
            if early and not stopped and not self._stopping.is_set() and self._is_behind(item):
                self._stopped_early.add(item.key)
                stopped = time.monotonic()
                running.stop()
            elif stopped and time.monotonic() - stopped > GRACE:
                running.kill()
        return code

    def _is_behind(self, item: WorkItem) -> bool:
        rule, goal = self._sweep.settings.early_terminate, self._sweep.settings.metric
        assert rule is not None
        assert goal is not None
        own = self._values(item)
        if not own:
            return False
        ended = [
            one.result["values"] for one in self._store.items(self._work) if one.result and one.result.get("values")
        ]
        live = [values for key, values in list(self._seen.items()) if key != item.key and values]
        return is_behind(own, [*ended, *live, own], rule, goal)

    def _values(self, item: WorkItem) -> list[float]:
        """The metric until now: what the trial prints, or what its training keeps in the workspace."""
        curve = self._curves[item.key]
        values = curve.update()
        if not values and self._sweep.settings.train is not None:
            values = self._sweep.trained(self._session, item.document["parameters"], curve.name)
        self._seen[item.key] = values
        return values

    def _conclude(self, item: WorkItem, code: int, log: Path, seconds: float) -> None:
        if item.key in self._stopped_early:
            values = self._values(item)
            result = {"value": values[-1], "values": list(values), "seconds": seconds, "stopped": len(values)}
            self._end(item, "done", result, None)
        elif code == 0:
            self._end(item, *self._said(item, log, seconds))
        elif self._stopping.wait(SETTLE if code in PREEMPTED else 0.0):
            self._give_back(item, INTERRUPTED)
        elif code in PREEMPTED and item.note.get("killed", 0) + 1 < ATTEMPTS:
            killed = item.note.get("killed", 0) + 1
            self._give_back(item, f"killed from outside (exit code {code})", {"killed": killed})
        else:
            self._end(item, "failed", {"seconds": seconds, "code": code}, f"exit code {code}: {last_words(log)}")
        self._curves.pop(item.key, None)
        self._seen.pop(item.key, None)

    def _said(self, item: WorkItem, log: Path, seconds: float) -> tuple[str, dict[str, Json], str | None]:
        """What becomes of a trial that ended well: status, result, reason."""
        goal = self._sweep.settings.metric
        curve = self._curves[item.key]
        curve.update()
        document = said_last(log, curve.start) or {}
        scores = scores_of(document)
        result: dict[str, Json] = {"seconds": seconds, "scores": scores, **made_by(document)}
        if goal is None:
            return "done", result, None
        values = self._values(item)
        score = scores.get(goal.name) or ({"value": values[-1]} if values else None)
        if values:
            result["values"] = list(values)
        if score is None or finite(score["value"]) is None:
            given = scores or scores_of(result_of(log, curve.start) or {})
            names = ", ".join(sorted(given)[:12]) or "nothing"
            return "failed", result, f"it ended well but gave no {goal.name!r}; what it gave: {names}"
        return "done", {**result, **score}, None

    def _end(self, item: WorkItem, status: str, result: dict[str, Json] | None, reason: str | None) -> None:
        with suppress(LostClaim):
            if status == "done":
                self._store.done(item, result)
            else:
                # Whoever tries it again would else find this attempt's end at the target, and take it for its own.
                self._store.beat(item, {**_without_adoption(item), "over": item.attempt})
                self._store.failed(item, reason or status, result)
            if self._is_enough(result):
                self._enough.set()
            self._watcher.ended(item, status, result, reason)

    def _is_enough(self, result: Mapping[str, Json] | None) -> bool:
        """Whether a trial is as good as is asked for."""
        goal, value = self._sweep.settings.metric, (result or {}).get("value")
        if goal is None or goal.target is None or value is None:
            return False
        return bool(value <= goal.target if goal.goal == "minimize" else value >= goal.target)

    def _give_back(self, item: WorkItem, reason: str, note: Mapping[str, Json] | None = None) -> None:
        with suppress(LostClaim):
            self._store.beat(item, {**_without_adoption(item), **(note or {}), "over": item.attempt})
            self._store.give_back(item, reason)
            self._watcher.ended(item, "waiting", None, reason)


def _without_adoption(item: WorkItem) -> dict[str, Json]:
    return {name: value for name, value in item.note.items() if name != "adopted"}


def _wait(ended: Sequence[threading.Event], seconds: float | None = None) -> None:
    """Until all have ended, or for so long; signals arrive meanwhile.

    Not by joining threads: where a signal's exception interrupts that, Python 3.11 takes the thread for ended.
    """
    until = None if seconds is None else time.monotonic() + seconds
    for event in ended:
        while not event.is_set() and (until is None or time.monotonic() < until):
            event.wait(0.2)
