"""What the pages are made of: the stores of a workspace, and what is put together from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from harness.database import Database
from harness.errors import HarnessError, UnknownName
from harness.pairing import require_alike
from harness.protocols import CheckpointStore
from harness.report.browser import Browser, make_browser
from harness.report.content import Board, Report
from harness.report.gather import Reporter
from harness.report.page import as_json, embedded
from harness.report.pictures import without_pictures
from harness.store import Run
from harness.types import AliasMove, Version
from harness.verdicts import Kept
from harness.view.overview import Overview, Row
from harness.view.pictures import Shelf
from harness.view.trends import Trend, Wish, find_trend

ROOM = 40_000_000
"""Bytes of texts and traces in a page of samples: it comes from this machine."""

FRESH = 5.0
"""Seconds for which a checkpoint store that may be far away is not asked again for all that it has."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A board's samples for the page's browser.

    Attributes:
        data: JSON by the suffix of the elements that hold it.
    """

    browser: Browser
    data: Mapping[str, Markup]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A version with what is known of it.

    Attributes:
        rows: its newest scored run of each whole benchmark, with no options given, by the benchmarks' names.
        verdicts: on it, the newest of each policy.
    """

    version: Version
    rows: tuple[Row, ...]
    verdicts: tuple[Kept, ...]


class Workspace:
    """A workspace to look at; nothing here writes.

    Args:
        checkpoints: gives the checkpoint store, which may lie elsewhere or not be installed.
    """

    def __init__(self, database: Database, reporter: Reporter, checkpoints: Callable[[], CheckpointStore]) -> None:
        self.home = database.home
        self.reporter = reporter
        self.checkpoints = checkpoints
        self.overview = Overview(database, reporter.store)
        self.shelf = Shelf(reporter)
        self._aliases: tuple[float, dict[str, tuple[str, ...]]] = (-math.inf, {})

    def run(self, id: str) -> Run:
        """The run of that id or its beginning.

        Raises:
            UnknownName: there is none, or there are several.
        """
        return self.reporter.store.get(id)

    def report(self, runs: Sequence[Run]) -> Report | str:
        """The report of runs; why there is none, where they cannot be read."""
        try:
            return self.reporter.report(runs)
        except HarnessError as error:
            return str(error)

    def samples(self, board: Board) -> Samples:
        """A board's samples. Their pictures are not among them, but how many each has."""
        browser = make_browser(self.reporter.store, board, None, ROOM)
        ids, run = browser.columns["ids"], board.runs[0].run
        try:
            places = self.shelf.places(board)
        except Exception as error:  # noqa: BLE001 - whatever a benchmark raises where its data has gone, the page goes on
            places = {}
            browser = replace(browser, remarks=(*browser.remarks, without_pictures(error).remark))
        pictures = {"run": run.id, "counts": [len(places.get(sample, ())) for sample in ids]}
        return Samples(browser, {**embedded(browser), "pictures": as_json(pictures)})

    def trend(self, wish: Wish) -> Trend:
        """See `find_trend`."""
        return find_trend(self.reporter.store, self.reporter.store.runs(), self.overview.figures(), wish)

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """A checkpoint's digest -> its aliases, asked for anew after `FRESH`; none where the store does not answer."""
        asked, found = self._aliases
        if time.monotonic() - asked < FRESH:
            return found
        try:
            store = self.checkpoints()
            found = {item.digest: item.aliases for name in store.names() for item in store.versions(name)}
        except HarnessError:
            found = {}
        self._aliases = time.monotonic(), found
        return found

    def names(self) -> dict[str, list[Version]]:
        """The names of all checkpoints with their versions, newest first."""
        store = self.checkpoints()
        return {name: list(store.versions(name)) for name in store.names()}

    def checkpoint(self, name: str) -> tuple[list[Checkpoint], Sequence[AliasMove]]:
        """A checkpoint's versions, newest first, and the moves of its aliases.

        Raises:
            UnknownName: there is no such checkpoint.
        """
        store = self.checkpoints()
        versions, moves = store.versions(name), store.history(name)
        figures = self.overview.figures()
        rows: dict[str, dict[str, Row]] = {}
        for run in self.reporter.store.runs():
            figure = next(iter(figures.get(run.key, {}).values()), None)
            plain = run.identity["limit"] is None and run.identity["model"]["image"] == "real" and "=" not in run.model
            if run.digest and figure and plain:
                rows.setdefault(run.digest, {}).setdefault(run.benchmark, Row(run, figure))
        judged: dict[str, dict[str, Kept]] = {}
        for kept in self.reporter.verdicts.of():
            digest = kept.verdict.model["digest"]
            if digest:
                judged.setdefault(digest, {}).setdefault(kept.verdict.policy, kept)
        return [
            Checkpoint(
                item,
                tuple(row for _, row in sorted(rows.get(item.digest, {}).items())),
                tuple(judged.get(item.digest, {}).values()),
            )
            for item in versions
        ], moves

    def verdict(self, id: str) -> list[Kept]:
        """A verdict, each time that it was given, newest first.

        Raises:
            UnknownName: there is none of that id.
        """
        kept = self.reporter.verdicts.of()
        found = [item for item in kept if item.verdict.id == id]
        if not found:
            raise UnknownName("verdict", id, {item.verdict.id for item in kept})
        return found


def why_apart(a: Run, b: Run) -> str:
    """Why two runs cannot be compared; empty where they can."""
    try:
        require_alike(a, b)
    except HarnessError as error:
        return str(error)
    return ""
