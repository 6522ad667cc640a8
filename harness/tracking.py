"""Trackers of a workspace: who is told of runs and verdicts, and the runs as they see them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.config import Settings
from harness.errors import ConfigError, HarnessError, UnknownName, near
from harness.export.table import Record, Table, scored_table
from harness.export.text import as_json
from harness.host import Catalog, say
from harness.images import decode
from harness.plan import Task
from harness.privacy import Privacy
from harness.protocols import CheckpointStore, MetricInfo, Outbox, RemoteStore, Tracker
from harness.report.maps import mean_maps
from harness.report.overlays import bounds, drawn_alone, overlay
from harness.report.pictures import find_pictures
from harness.scorer import Scorer
from harness.store import Run, RunStore
from harness.types import ImageRef, Json, Version
from harness.verdict import Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

Remark = Callable[[str], None]
_FACTS = ("python", "platform", "distributions", "plugins", "git")
"""What is told of the machine: neither the command line nor any place on it."""
_MESSAGE = "failure_message"
"""The cell of a sample that a program has written, and not its data or the model."""
_ON_THE_HUB = re.compile(r"[^/\s]+/[^/\s]+@[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A map as a picture, and what is to be read beside it."""

    image: Image
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class TrackedSample:
    """One sample of a finished run.

    Attributes:
        cells: what `harness export` writes of it, by column: question, references, answer, scores, tokens, facts …
    """

    cells: Mapping[str, Json]
    _record: Record
    _images: tuple[ImageRef, ...]

    @property
    def id(self) -> str:
        return self._record.sample.id

    @property
    def maps(self) -> Mapping[str, Sequence[Sequence[float]]]:
        """The maps of its trace, by name: rows of numbers over the first picture's grid."""
        output = self._record.output
        return {} if output is None or output.trace is None else output.trace.maps

    def pictures(self, side: int) -> list[Image]:
        """What the model was shown, no side longer than so many pixels, without metadata; unreadable ones left out."""
        return [small for ref in self._images if (small := _small(ref, side)) is not None]

    def heatmaps(self, side: int) -> dict[str, Drawing]:
        """The maps of its trace over its first picture, by name; none where there is no picture."""
        shown = self.pictures(side)[:1] if self.maps else []
        drawn = {name: (overlay(shown[0], rows), rows) for name, rows in self.maps.items()} if shown else {}
        return {name: Drawing(image, bounds(rows)) for name, (image, rows) in drawn.items() if image is not None}


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run, as a tracker sees it. Nothing of it is a secret or says where things lie on this machine.

    Attributes:
        document: the run as `--json` prints it.
        facts: versions of python, of distributions and plugins; the platform, and the code's revision.
        checkpoint: the version of the store that was evaluated; None where the model has none, or it is gone.
        address: where a store on a server has that version; None for others.
    """

    document: Mapping[str, Json]
    facts: Mapping[str, Json]
    checkpoint: Version | None
    address: str | None
    _source: Source = field(repr=False)
    _run: Run = field(repr=False)
    _privacy: Privacy = field(repr=False)

    @property
    def id(self) -> str:
        return self._run.id

    @cached_property
    def infos(self) -> Mapping[str, MetricInfo]:
        """What is known of its scores: unit and direction. Those of plugins that are not here any more are left out."""
        try:
            task = self._source.scorer.task_of(self._run, None, ())
            found = [choice.listing.load(**choice.options).info for choice in task.metrics]
        except HarnessError:
            return {}
        return {name: info for infos in found for name, info in infos.items()}

    def samples(self, limit: int) -> Iterator[TrackedSample]:
        """The samples, evenly spaced ones where there are more than `limit`; all have the same columns."""
        asked = sorted(self._source.store.answered(self._run))
        if len(asked) > limit:
            asked = [asked[place] for place in np.linspace(0, len(asked) - 1, limit, dtype=int)]
        chosen = set(asked)
        table, images = self._table, self._images(chosen)
        for record in table.records() if chosen else ():
            position = record.prediction.position
            if position in chosen:
                cells = {column.name: as_json(column.kind, column.read(record)) for column in table.columns}
                cells = {**self._privacy.data(cells), _MESSAGE: self._privacy.said(cells[_MESSAGE])}
                yield TrackedSample(cells, record, images.get(position, ()))

    def mean_maps(self) -> dict[str, Drawing]:
        """Where the model looks on average, by the maps' names."""
        found = mean_maps(self._source.store, self._run)
        drawn = {name: (drawn_alone(mean.grid), mean) for name, mean in found.items()}
        return {
            name: Drawing(image, f"mean of {mean.n:,} samples ({mean.unit}): {bounds(mean.grid)}")
            for name, (image, mean) in drawn.items()
            if image is not None
        }

    @cached_property
    def _table(self) -> Table:
        rules = self.document["benchmark"]["protocol"]
        return scored_table(self._source.store, self._source.scorer, self.id, rules, self._source.remark)

    def _images(self, positions: set[int]) -> dict[int, tuple[ImageRef, ...]]:
        """Place in the benchmark's order -> where its pictures lie; none where the data is not here any more."""
        try:
            task = self._source.open_task(self._run)
            digest = str(self._run.identity["data_digest"])
            return find_pictures(task, digest, {position: position for position in positions})
        except Exception as error:  # noqa: BLE001 - reading the data is a plugin's; scores are told without it
            reason = error if isinstance(error, HarnessError) else say(error)
            self._source.remark(f"run {self.id}: told without pictures: {reason}")
            return {}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where finished runs are read from.

    Attributes:
        open_task: gives a run's benchmark with the data that it was made of.
        folders: those that nobody else is to read of.
        remark: takes what the user should know.
    """

    store: RunStore
    scorer: Scorer
    checkpoints: Callable[[], CheckpointStore]
    open_task: Callable[[Run], Task]
    folders: tuple[Path, ...]
    remark: Remark

    def run(self, run: Run, document: Mapping[str, Json]) -> FinishedRun:
        """The run as trackers see it."""
        data = str(run.facts["data"]).partition(" [")[0]
        privacy = Privacy([*self.folders, *([Path(data)] if Path(data).is_absolute() else [])])
        said = privacy.said(document)
        said["benchmark"]["data"] = _data(run)
        version, address = self._checkpoint(run)
        facts = {name: run.facts[name] for name in _FACTS if name in run.facts}
        return FinishedRun(said, privacy.said(facts), version, address, self, run, privacy)

    def verdict(self, verdict: Verdict) -> dict[str, Json]:
        """A verdict as trackers see it."""
        document: dict[str, Json] = Privacy(self.folders).said(verdict.document())
        return document

    def _checkpoint(self, run: Run) -> tuple[Version | None, str | None]:
        """The version that was evaluated: of a name that the model's reference has in it, and of the same content."""
        if run.digest is None or run.version is None:
            return None, None
        try:
            store = self.checkpoints()
            for name in sorted((name for name in store.names() if name in run.model), key=len, reverse=True):
                with suppress(UnknownName):
                    version = store.get(name, run.version)
                    if version.digest == run.digest:
                        return version, store.address(version) if isinstance(store, RemoteStore) else None
        except Exception as error:  # noqa: BLE001 - what is known of the checkpoint costs nothing else
            reason = error if isinstance(error, HarnessError) else say(error)
            self.remark(f"run {run.id}: told without its checkpoint: {reason}")
        return None, None


class Trackers:
    """The trackers of a workspace's settings. Whatever goes wrong with one is said, and costs nothing else."""

    def __init__(self, catalog: Catalog, settings: Settings, home: Path) -> None:
        self._catalog = catalog
        self._configured = settings.workspace.tracker_options
        self._home = home.absolute()
        self._loaded: dict[str, Tracker] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are told of every run."""
        return tuple(self._configured)

    def load(self, name: str) -> Tracker:
        """The tracker of that name, with its options; always the same object.

        Raises:
            UnknownName, PluginError: there is no such tracker, or it cannot be loaded.
            ConfigError: it has no such option.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Tracker:
        listing, options = self._catalog.find("tracker", name), self._configured.get(name, {})
        known = inspect.signature(listing.factory()).parameters.keys() - {"home"}
        for key in options:
            if key not in known:
                matches = near(key, known)
                hint = f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(sorted(known)) or 'none'}"
                raise ConfigError(f"harness.toml: trackers.{name}: unknown key {key!r} ({hint})")
        tracker: Tracker = listing.load(home=self._home, **options)
        return tracker

    def tell(self, what: Callable[[Tracker], None], remark: Remark) -> None:
        """Tell each of something."""
        for name in self.names:
            try:
                what(self.load(name))
            except Exception as error:  # noqa: BLE001 - a tracker never costs a result
                remark(f"tracker {name!r}: {error if isinstance(error, HarnessError) else say(error)}")

    def outboxes(self) -> dict[str, Outbox]:
        """All installed trackers that keep what they could not tell, the configured ones first.

        Raises:
            HarnessError: a configured one cannot be loaded.
        """
        found: dict[str, Outbox] = {}
        for name in dict.fromkeys((*self.names, *self._catalog.all("tracker"))):
            try:
                tracker = self.load(name)
            except HarnessError:
                if name in self.names:
                    raise
                continue
            if isinstance(tracker, Outbox):
                found[name] = tracker
        return found


def _data(run: Run) -> str:
    """Where the data came from, where that is a dataset of the hub; of a folder only the split."""
    place, bracket, split = str(run.facts["data"]).partition(" [")
    return f"{place}{bracket}{split}" if _ON_THE_HUB.fullmatch(place) else f"{bracket}{split}".strip()


def _small(ref: ImageRef, side: int) -> Image | None:
    try:
        image = decode(ref)
    except Exception:  # noqa: BLE001 - where a picture lies is a plugin's to know, and this one is not there
        return None
    image.thumbnail((side, side))
    image.info = {}  # a photograph's says where and when it was taken
    return image
