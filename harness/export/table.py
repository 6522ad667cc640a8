"""A stored run as a table: a row for every sample that was asked about, answered or failed; read as it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from harness.errors import HarnessError, Incomplete, PluginError
from harness.export.facts import Facts, Kind, fact_at
from harness.host import say
from harness.plan import Task
from harness.report.document import run_document
from harness.scorer import Scorer
from harness.stats import FloatArray
from harness.store import COMPLETE, Run, RunStore
from harness.types import RESULTS, Failure, Json, Output, Prediction, Sample


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a sample.

    Attributes:
        parsed: the answer as the benchmark's profile parses it; None where there is none.
        scores: the sample's own values of the scores that have such, None where it has none.
    """

    sample: Sample
    prediction: Prediction
    parsed: str | None
    scores: Mapping[str, float | None]

    @property
    def output(self) -> Output | None:
        """The answer; None where the sample failed."""
        return self.prediction.result if isinstance(self.prediction.result, Output) else None

    @property
    def failure(self) -> Failure | None:
        """Why there is no answer; None where there is one."""
        return self.prediction.result if isinstance(self.prediction.result, Failure) else None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, and how a record's value in it is read."""

    name: str
    kind: Kind
    read: Callable[[Record], Json]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A run as rows and columns.

    Attributes:
        document: the run as `--json` prints it.
        task: its benchmark; None where that cannot be loaded, so that answers are not parsed.
        scores: score -> [answered] its value at each answer, NaN where it has none; scores that have them.
        rows: how many there are.
        answered: how many of them are answers.
        last: the greatest position among them.
    """

    store: RunStore
    run: Run
    document: Mapping[str, Json]
    task: Task | None
    columns: tuple[Column, ...]
    scores: Mapping[str, FloatArray]
    rows: int
    answered: int
    last: int

    def __iter__(self) -> Iterator[list[Json]]:
        """The rows in the benchmark's order, a value a column. Memory does not grow with them.

        Raises:
            Incomplete: the run was gone on with meanwhile.
        """
        for record in self.records():
            yield [column.read(record) for column in self.columns]

    def records(self) -> Iterator[Record]:
        """What the rows are made of.

        Raises:
            Incomplete: the run was gone on with meanwhile.
        """
        rows, answered = 0, 0
        stored = self.store.predictions(self.run)
        for sample, prediction in takewhile(lambda item: item[1].position <= self.last, stored):
            rows += 1
            if isinstance(prediction.result, Failure):
                yield Record(sample, prediction, None, dict.fromkeys(self.scores))
                continue
            answered += 1
            if answered > self.answered:
                raise _changed(self.run)
            own = {name: finite(values[answered - 1].item()) for name, values in self.scores.items()}
            yield Record(sample, prediction, self._parse(sample, prediction.result.text), own)
        if (rows, answered) != (self.rows, self.answered):
            raise _changed(self.run)

    def _parse(self, sample: Sample, text: str) -> str | None:
        if self.task is None or self.task.profile == RESULTS:
            return None if self.task is None else text
        try:
            return self.task.benchmark.parse(text, self.task.profile)
        except Exception as error:
            where = f"benchmark {self.task.name!r} could not parse the answer to sample {sample.id!r}"
            raise PluginError(f"{where}: {say(error)}") from error


def scored_table(
    store: RunStore,
    scorer: Scorer,
    id: str,
    protocol: str | None,
    remark: Callable[[str], None],
    *,
    traces: bool = False,
) -> Table:
    """The table of a stored run with its scores; a complete run that lacks them is scored first.

    Args:
        id: the run's, or its beginning.
        protocol: the scoring rules; by default the configured ones, or others by which the run was scored.
        remark: takes what the user should know.
        traces: whether the maps of traces are columns.

    Raises:
        UnknownName: there is no such run, or its benchmark knows no such protocol.
    """
    run = store.get(id)
    stored = store.protocols(run)
    task: Task | None = None
    try:
        task = scorer.task_of(run, protocol, ())
    except HarnessError as error:
        rules = protocol or next(iter(stored), None)
        if rules is None or rules not in stored:
            raise
        remark(f"run {run.id}: its answers stay as they are, and are not parsed: {error}")
    else:
        rules = task.protocol if protocol or task.protocol in stored or not stored else stored[0]
        task = replace(task, protocol=rules)
        if run.status == COMPLETE and rules not in stored:
            scorer.rescore(run, rules, (), remark)
        made_by, now = run.identity["benchmark"]["version"], task.benchmark.info.version
        if made_by != now:
            remark(f"run {run.id} was made by version {made_by} of {run.benchmark!r}; version {now} parses its answers")
    return make_table(store, run, rules, task, traces=traces)


def make_table(store: RunStore, run: Run, protocol: str, task: Task | None, *, traces: bool = False) -> Table:
    """The table of a stored run as it stands. Reads the run once, to see what columns there are.

    Raises:
        Incomplete: it was gone on with meanwhile.
    """
    facts, scalars, maps = Facts(), set[str](), set[str]()
    rows, answered, last = 0, 0, -1
    for sample, prediction in store.predictions(run):
        rows, last = rows + 1, prediction.position
        facts.see(sample.facts)
        if isinstance(prediction.result, Output):
            answered += 1
            if (trace := prediction.result.trace) is not None:
                scalars.update(trace.scalars)
                maps.update(trace.maps)
    scores = store.per_sample(run, protocol)
    if any(len(values) != answered for values in scores.values()):
        raise _changed(run)
    columns = [
        *_ALWAYS,
        *(Column(f"score_{name}", Kind.NUMBER, _score(name)) for name in scores),
        *_USAGE,
        *(
            Column("_".join(("fact", *place)) if place else "facts", kind, _fact(place, kind))
            for place, kind in facts.columns()
        ),
        *(Column(f"trace_{name}", Kind.NUMBER, _scalar(name)) for name in sorted(scalars)),
        *(Column(f"map_{name}", Kind.MAP, _map(name)) for name in sorted(maps) if traces),
    ]
    document = run_document(store, run, protocol)
    return Table(store, run, document, task, _distinct(columns), scores, rows, answered, last)


def _changed(run: Run) -> Incomplete:
    return Incomplete(f"run {run.id} was gone on with while it was exported; export it again when it is done")


def finite(value: float | None) -> float | None:
    """The number; None where it is none."""
    return None if value is None or not math.isfinite(value) else float(value)


def _distinct(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, of one name the second and later ones with a number behind it."""
    found: dict[str, Column] = {}
    for column in columns:
        name, number = column.name, 1
        while name in found:
            number += 1
            name = f"{column.name}_{number}"
        found[name] = replace(column, name=name)
    return tuple(found.values())


def _output(read: Callable[[Output], Json]) -> Callable[[Record], Json]:
    """A value of the answer."""
    return lambda record: None if record.output is None else read(record.output)


def _failure(read: Callable[[Failure], Json]) -> Callable[[Record], Json]:
    return lambda record: None if record.failure is None else read(record.failure)


def _score(name: str) -> Callable[[Record], Json]:
    return lambda record: record.scores[name]


def _fact(place: tuple[str, ...], kind: Kind) -> Callable[[Record], Json]:
    def read(record: Record) -> Json:
        value = fact_at(record.sample.facts, place)
        if isinstance(value, Mapping) and kind is not Kind.JSON:
            return None
        if kind is Kind.NUMBER:
            return finite(value)
        if kind is Kind.NUMBERS:
            return None if value is None else [float(item) for item in value]
        return value

    return read


def _scalar(name: str) -> Callable[[Record], Json]:
    return _output(lambda output: None if output.trace is None else finite(output.trace.scalars.get(name)))


def _map(name: str) -> Callable[[Record], Json]:
    def read(output: Output) -> Json:
        rows = None if output.trace is None else output.trace.maps.get(name)
        return None if rows is None else [[finite(cell) for cell in row] for row in rows]

    return _output(read)


_ALWAYS = (
    Column("sample_id", Kind.TEXT, lambda record: record.sample.id),
    Column("position", Kind.INTEGER, lambda record: record.prediction.position),
    Column("group", Kind.TEXT, lambda record: record.sample.group),
    Column("question", Kind.TEXT, lambda record: record.sample.question),
    Column("references", Kind.TEXTS, lambda record: list(record.sample.references)),
    Column("answer", Kind.TEXT, _output(lambda output: output.text)),
    Column("parsed", Kind.TEXT, lambda record: record.parsed),
    Column("failure_kind", Kind.TEXT, _failure(lambda failure: failure.kind)),
    Column("failure_message", Kind.TEXT, _failure(lambda failure: failure.message)),
)
_USAGE = (
    Column("prompt_tokens", Kind.INTEGER, _output(lambda output: output.usage.prompt_tokens)),
    Column("visual_tokens", Kind.INTEGER, _output(lambda output: output.usage.visual_tokens)),
    Column("full_visual_tokens", Kind.INTEGER, _output(lambda output: output.usage.full_visual_tokens)),
    Column("generated_tokens", Kind.INTEGER, _output(lambda output: output.usage.generated_tokens)),
    Column("seconds", Kind.NUMBER, _output(lambda output: float(output.usage.seconds))),
    Column("peak_bytes", Kind.INTEGER, _output(lambda output: output.usage.peak_bytes)),
)
