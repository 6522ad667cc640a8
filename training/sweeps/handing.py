"""Which trial is carried out next, from the workspace's table."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import Json, Session, Work, WorkItem
from training.sweeps import searching
from training.sweeps.reading import Sweep
from training.sweeps.searching import Bayes
from training.sweeps.space import Point

KIND: Final = "sweep"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the trials of a sweep lie.

    Attributes:
        work: their table.
        folder: their logs.
    """

    work: Work
    folder: Path

    @classmethod
    def of(cls, sweep: Sweep, identity: str, parts: Mapping[str, str], session: Session) -> Place:
        """That of a sweep with that identity, which is made where there is none.

        Args:
            parts: digests of what the identity is made of, by which it is said what has changed.
        """
        name = f"{sweep.name}-{identity[:8]}"
        metric = None if sweep.settings.metric is None else sweep.settings.metric.model_dump(mode="json")
        document: dict[str, Json] = {
            "name": sweep.name, "identity": identity, "method": sweep.settings.method, "metric": metric,
            "parameters": sweep.space.names, "constraints": list(sweep.settings.constraints),
            "description": sweep.settings.description, "size": sweep.space.size,
            "parts": dict(parts),
        }  # fmt: skip
        return cls(session.work.open(KIND, name, document), session.home.absolute() / "sweeps" / name)

    def others(self, session: Session) -> list[Work]:
        """Sweeps that are called the same and are others: their file, config or data was."""
        found = [work for work in session.work.all(KIND) if work.document["name"] == self.work.document["name"]]
        return [work for work in found if work.key != self.work.key]


class Hand:
    """Hands out the trials of a sweep to the threads of this process; other processes may do the same beside it."""

    def __init__(self, sweep: Sweep, place: Place, session: Session) -> None:
        self._sweep, self._work, self._store = sweep, place.work, session.work
        self._lock = threading.Lock()
        self._mine: set[int] = set()
        settings = sweep.settings
        self._bayes: Bayes | None = None
        if settings.method == "bayes" and settings.metric is not None:
            self._bayes = Bayes(sweep.space, settings.metric, settings.seed)

    def fill(self) -> int:
        """Adds the trials that are known beforehand; how many are new is returned.

        Raises:
            HarnessError: the search finds no point.
        """
        settings = self._sweep.settings
        points: list[Point] = list(settings.include)
        if settings.method != "bayes":
            grid = settings.method == "grid"
            found = searching.grid(self._sweep.space) if grid else searching.random(self._sweep.space, settings.seed)
            found = (point for point in found if point not in settings.include)
            left = None if settings.run_cap is None else max(0, settings.run_cap - len(points))
            points += itertools.islice(found, left)
        points = points[: settings.run_cap]
        return self._store.add(
            self._work, {_name(number): {"parameters": point} for number, point in enumerate(points)}
        )

    def next(self) -> WorkItem | None:
        """A trial for this process; None where none is free now."""
        item = self._store.claim(self._work)
        if item is None and self._bayes is not None:
            item = self._proposed()
        if item is not None:
            self._mine.add(item.key)
        return item

    def _proposed(self) -> WorkItem | None:
        assert self._bayes is not None
        with self._lock:
            while True:
                items = self._store.items(self._work)
                if self._sweep.settings.run_cap is not None and len(items) >= self._sweep.settings.run_cap:
                    return None
                found = self._bayes.propose(items)
                if found is None:
                    return None
                name = _name(len(items))
                document = {"parameters": found[0], "places": found[1]}
                # Where another driver was quicker, its trial is known to the next proposal.
                if self._store.add(self._work, {name: document}) and (item := self._store.claim(self._work, {name})):
                    return item

    def may_come(self) -> bool:
        """Whether a trial that another process carries out may come free, if that process dies."""
        return any(item.status == "running" and item.key not in self._mine for item in self._store.items(self._work))


def _name(number: int) -> str:
    return f"{number + 1:04d}"
