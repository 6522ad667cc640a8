"""The runs of a workspace as a table: filtered, sorted, a page at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from harness.database import Database
from harness.pairing import unlike
from harness.store import COMPLETE, Run, RunStore
from harness.types import Json

PAGE: Final = 50
"""Rows of a page."""
STATES: Final[Mapping[str, Callable[[Run], bool]]] = {
    "complete": lambda run: run.status == COMPLETE and run.identity["limit"] is None,
    "limited": lambda run: run.status == COMPLETE and run.identity["limit"] is not None,
    "unfinished": lambda run: run.status != COMPLETE,
}
_REFERENCE: Final = re.compile(r"(?P<plugin>[^:]*)(:(?P<ref>.*?)(?P<options>(,[a-z]\w*=.*)?))?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Figure:
    """A run's main score under some rules."""

    protocol: str
    name: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What takes long to count: how many of a run's samples were asked, how many failed, what they cost."""

    asked: int
    failed: int
    visual_tokens: float | None
    kept: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A run in the table. `spending` is None until the row is shown."""

    run: Run
    figure: Figure | None
    spending: Spending | None = None

    @property
    def state(self) -> str:
        """ "complete", "limited", "incomplete" or "unfinished"."""
        if self.spending is not None and self.run.status == COMPLETE and self.spending.failed:
            return "incomplete"
        return next(name for name, holds in STATES.items() if holds(self.run))

    @property
    def coverage(self) -> float:
        """The share of its samples that it has answered."""
        assert self.spending is not None
        return (self.spending.asked - self.spending.failed) / self.run.n

    def document(self) -> dict[str, Json]:
        """All of it as JSON values."""
        run, figure, spending = self.run, self.figure, self.spending
        assert spending is not None
        return {
            "run": run.id,
            "model": {"ref": run.model, "version": run.version, "digest": run.digest},
            "benchmark": run.benchmark,
            "profile": run.identity["benchmark"]["profile"],
            "data_digest": run.identity["data_digest"],
            "status": run.status,
            "limit": run.identity["limit"],
            "n": run.n,
            "asked": spending.asked,
            "coverage": self.coverage,
            "score": figure and {name: getattr(figure, name) for name in Figure.__slots__},
            "visual_tokens_mean": spending.visual_tokens,
            "kept_fraction": spending.kept,
            "created": run.created,
            "finished": run.finished,
        }


SORTS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "begun": lambda row: row.run.created,
    "model": lambda row: (row.run.model.lower(), row.run.version or ""),
    "benchmark": lambda row: row.run.benchmark.lower(),
    "score": lambda row: -math.inf if row.figure is None else row.figure.value,
}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the table.

    Attributes:
        q: words that must all occur in a run's id, model, version, digest or benchmark.
        benchmark, model, state: as `Table` offers them; empty for all.
        sort: a key of `SORTS`, with `-` before it from the greatest on.
        page: from 1 on.
        against: a run's id: only those that can be compared with it are wanted.
    """

    q: str = ""
    benchmark: str = ""
    model: str = ""
    state: str = ""
    sort: str = "-begun"
    page: int = 1
    against: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """A query as an address has it; what makes no sense there is left at its default."""
        known = {name: given[name] for name in cls.__slots__ if name in given and name != "page"}
        page = given.get("page", "")
        found = cls(**known, page=max(1, int(page)) if page.isdecimal() and len(page) < 9 else 1)
        return found if found.sort.removeprefix("-") in SORTS else replace(found, sort=cls().sort)

    def address(self, **changes: Any) -> str:
        """The address of the query with these changes; every other change goes back to the first page."""
        changed = replace(self, **{"page": 1, **changes})
        plain = Query()
        given = {
            name: value for name in self.__slots__ if (value := getattr(changed, name)) != getattr(plain, name)
        }  # fmt: skip
        return "?" + urlencode(given) if given else "/"

    def turned(self, column: str) -> str:
        """The address of the same sorted by a column; the other way round where it is already."""
        first = column if column in ("model", "benchmark") else f"-{column}"
        other = column if first != column else f"-{column}"
        return self.address(sort=other if self.sort == first else first)


@dataclass(frozen=True, slots=True)
class Table:
    """A page of the table.

    Attributes:
        rows: those of the page.
        found, total: rows that the query lets through, and all.
        benchmarks, models: what can be filtered by.
    """

    query: Query
    rows: tuple[Row, ...]
    found: int
    total: int
    benchmarks: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def pages(self) -> int:
        return max(1, math.ceil(self.found / PAGE))

    @property
    def first(self) -> int:
        """The number of its first row."""
        return (self.query.page - 1) * PAGE + 1


class Overview:
    """Reads the table of runs from a workspace."""

    def __init__(self, database: Database, store: RunStore) -> None:
        self._database = database
        self._store = store
        self._counted: dict[tuple[int, float], Spending] = {}

    def table(self, query: Query, against: Run | None = None) -> Table:
        """The page that a query asks for; the last one where it asks for a later one.

        Args:
            against: only runs that can be compared with this one.
        """
        runs, figures = self._store.runs(), self.figures()
        rows = [Row(run, next(iter(figures.get(run.key, {}).values()), None)) for run in runs]
        wanted = [row for row in rows if _lets_through(query, row.run, against)]
        wanted.sort(key=SORTS[query.sort.removeprefix("-")], reverse=query.sort.startswith("-"))
        query = replace(query, page=min(query.page, max(1, math.ceil(len(wanted) / PAGE))))
        first = (query.page - 1) * PAGE
        shown = tuple(replace(row, spending=self.spending(row.run)) for row in wanted[first : first + PAGE])
        return Table(
            query, shown, len(wanted), len(rows),
            tuple(sorted({run.benchmark for run in runs})), tuple(sorted({named(run) for run in runs})),
        )  # fmt: skip

    def figures(self) -> dict[int, dict[str, Figure]]:
        """A run's key -> scoring rules -> its main figure by them."""
        # Scores lie in one text with their breakdowns: of thousands only three numbers are wanted.
        query = (
            "SELECT run, protocol, name, json_extract(score, '$.value'), json_extract(score, '$.low'),"
            " json_extract(score, '$.high') FROM scores WHERE place = 0 AND score IS NOT NULL ORDER BY run, protocol"
        )
        found: dict[int, dict[str, Figure]] = {}
        with self._database.reading() as connection:
            for run, *figure in connection.execute(query):
                found.setdefault(run, {})[figure[0]] = Figure(*figure)
        return found

    def spending(self, run: Run) -> Spending:
        """What a run has answered and spent so far."""
        # All that is added to a complete run, such as a failure asked again, takes time.
        key = (run.key, run.seconds)
        if run.status == COMPLETE and key in self._counted:
            return self._counted[key]
        spent = self._store.spent(run)
        failed = sum(count for count, _ in self._store.failures(run).values())
        found = Spending(self._store.asked(run), failed, spent.visual_tokens_mean, spent.kept_fraction)
        if run.status == COMPLETE:
            self._counted[key] = found
        return found


def named(run: Run) -> str:
    """A run's model without the version, `NAME` or `NAME,option=value`: what stays when a checkpoint is trained on."""
    if run.version is None:
        return run.model
    match = _REFERENCE.fullmatch(run.model)
    assert match is not None
    head = (match["ref"] or "").rpartition(":")[0]
    return ":".join(filter(None, [match["plugin"], head])) + (match["options"] or "")


def _lets_through(query: Query, run: Run, against: Run | None) -> bool:
    if query.benchmark and run.benchmark != query.benchmark:
        return False
    if query.model and named(run) != query.model:
        return False
    if query.state in STATES and not STATES[query.state](run):
        return False
    if against is not None and (run.id == against.id or run.status != COMPLETE or unlike(run, against)):
        return False
    text = " ".join(filter(None, (run.id, run.model, run.version, run.digest, run.benchmark))).lower()
    return all(word in text for word in query.q.lower().split())


def comparable(store: RunStore, run: Run) -> Sequence[Run]:
    """The other complete runs that can be compared with one, newest first."""
    return [
        other for other in store.runs() if other.id != run.id and other.status == COMPLETE and not unlike(other, run)
    ]
