"""What the workspace remembers of a pipeline: stages by what they depend on, and each time that it was carried out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from harness import Json, Session, UsageError, Work, WorkItem
from training.pipelines.identity import Recipe

STAGES: Final = "pipeline stages"
"""Work of this kind has an item for each stage and recipe: STAGE/RECIPE/NUMBER."""
RUNS: Final = "pipeline"
"""Work of this kind has an item for each time that a pipeline was carried out."""


class State:
    """What is known of one pipeline."""

    def __init__(self, session: Session, name: str) -> None:
        self._store = session.work
        self._work: Work = session.work.open(STAGES, name)
        self._name = name
        self._items: Sequence[WorkItem] = ()
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes wrote meanwhile."""
        self._items = self._store.items(self._work)

    def of(self, stage: str) -> list[WorkItem]:
        """All that is known of a stage, oldest first."""
        return [item for item in self._items if item.name.partition("/")[0] == stage]

    def was_done(self, stage: str) -> bool:
        """Whether a stage was ever done, with whatever settings."""
        return any(item.status == "done" for item in self.of(stage))

    def same(self, stage: str, recipe: Recipe) -> WorkItem | None:
        """The newest item of a stage with this very recipe."""
        return next((item for item in reversed(self.of(stage)) if item.name.split("/")[1] == recipe.id[:16]), None)

    def fresh(self, stage: str, recipe: Recipe) -> str:
        """The name of the next item of a stage with this recipe; other processes come to the same."""
        before = sum(item.name.split("/")[1] == recipe.id[:16] for item in self.of(stage))
        return f"{stage}/{recipe.id[:16]}/{before + 1}"

    def add(self, name: str, recipe: Recipe) -> WorkItem:
        """The item of that name; new, unless another process has added it meanwhile."""
        self._store.add(self._work, {name: {"recipe": dict(recipe.parts)}})
        self.refresh()
        return self.named(name)

    def named(self, name: str) -> WorkItem:
        """An item as it was at the last refresh."""
        return next(item for item in self._items if item.name == name)

    def claim(self, name: str) -> WorkItem | None:
        """The item, this process's from now on; None where it is another's, which is alive."""
        return self._store.claim(self._work, [name])

    def begin_run(self, document: Mapping[str, Json]) -> WorkItem:
        """Note that the pipeline is carried out now, by this process."""
        runs = self._store.open(RUNS, self._name)
        self._end_killed(runs)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}"
        self._store.add(runs, {name: document})
        item = self._store.claim(runs, [name])
        if item is None:  # nobody else knows the name
            raise UsageError(f"{self._name}: {name} was taken by another process; run the same command again")
        return item

    def _end_killed(self, runs: Work) -> None:
        """Note of times whose process is gone that they ended with it."""
        begun = [item.name for item in self._store.items(runs) if item.status == "running"]
        while begun and (item := self._store.claim(runs, begun)) is not None:
            begun.remove(item.name)
            self._store.failed(item, "killed", item.note)

    def beat(self, item: WorkItem, note: Mapping[str, Any] | None = None) -> None:
        """Say that this process still has the item."""
        self._store.beat(item, note)

    def done(self, item: WorkItem, result: Mapping[str, Any]) -> None:
        """It is done."""
        self._store.done(item, result)

    def failed(self, item: WorkItem, reason: str, result: Mapping[str, Any] | None = None) -> None:
        """It failed."""
        self._store.failed(item, reason, result)

    def give_back(self, item: WorkItem, reason: str) -> None:
        """It waits for who goes on."""
        self._store.give_back(item, reason)
