"""What a plugin's objects must be able to do. Structural: nothing here needs to be inherited."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.types import (
    AliasMove,
    DataSource,
    Failure,
    Json,
    Measured,
    Output,
    Pair,
    Prediction,
    Request,
    Sample,
    Version,
)

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.tracking import FinishedRun


@dataclass(frozen=True, slots=True)
class BenchmarkInfo:
    """What the host must know of a benchmark.

    Attributes:
        version: changes whenever samples, prompts or parsing change.
        metrics: catalog names of the metrics that score it; the first score of the first is the main figure.
        profiles: named prompt and generation settings, the default first.
        protocols: named scoring rules, the default first.
        split: the split that is evaluated where none is configured.
    """

    version: str
    metrics: tuple[str, ...]
    profiles: tuple[str, ...]
    protocols: tuple[str, ...]
    split: str


class Benchmark(Protocol):
    """A dataset's columns, prompts and answer parsing."""

    @property
    def info(self) -> BenchmarkInfo: ...

    def samples(self, data: DataSource) -> Iterable[Sample]:
        """All samples in a fixed order; pictures stay unread.

        Raises:
            DataError: names the file and what is wrong with it.
        """

    def request(self, sample: Sample, profile: str) -> Request:
        """What the model is shown of a sample."""

    def parse(self, text: str, profile: str) -> str:
        """The answer in what a model said."""


@runtime_checkable
class ResultsReader(Protocol):
    """A benchmark that has an official format for results, which then can be scored without a model."""

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterable[tuple[str, Output]]:
        """What results files say: sample ids with answers, in the files' order, repetitions included.

        Where the official format keeps parts apart, such as attention, each part is a path of its own. Where its ids
        mean nothing by themselves, `data` is where the benchmark's data lies.

        Raises:
            DataError: a file cannot be read or is of another layout; names the file, the record and the field.
        """


class Preparer(Protocol):
    """A request's way to tensors, on the CPU, on worker threads."""

    def prepare(self, request: Request) -> Any:
        """One request, made ready: picklable. What it raises is this sample's failure alone."""

    def collate(self, prepared: Sequence[Any]) -> Any:
        """Several prepared requests as one batch."""


class LoadedModel(Protocol):
    """A model that is ready to answer."""

    def generate(self, batch: Any) -> Sequence[Output | Failure]:
        """One result a request of the batch, in its order."""

    def close(self) -> None:
        """Give back what the model holds."""


class ModelSpec(Protocol):
    """A model before its weights are loaded; picklable.

    A `fingerprint` names everything that its answers depend on: weights, processor, options, dtype.
    `version` and `digest` are those of its checkpoint, where it has one.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def digest(self) -> str | None: ...

    def preparer(self) -> Preparer: ...

    def load(self, device: str) -> LoadedModel: ...


class Resolved(Protocol):
    """A checkpoint that was found; its files are touched only by `checkout`."""

    @property
    def version(self) -> str | None: ...
    @property
    def digest(self) -> str: ...

    def checkout(self) -> Path:
        """A folder with the checkpoint's files, all of them verified; not to be written to.

        Raises:
            IntegrityError: a file is not what was published.
        """


class CheckpointStore(Protocol):
    """Keeps checkpoints. Aliases move, versions never change."""

    def publish(
        self,
        directory: Path,
        name: str,
        type: str = "model",
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Json] | None = None,
        parents: Sequence[str] = (),
    ) -> Version:
        """A new version with the folder's files, or the newest one again if its files are equal.

        `latest` moves to it, and so do the given aliases. A store that keeps no two versions of a name with equal files
        gives an older one again, too.
        """

    def resolve(self, name: str, ref: str) -> Resolved:
        """`ref` is `vN`, an alias, or a folder's path (which starts with `.`, `/` or `~`).

        Raises:
            UnknownName: there is no such name.
            UnknownVersion: the name has no such version or alias.
        """

    def get(self, name: str, ref: str) -> Version:
        """What is known of a version, its files apart.

        Raises:
            UnknownName: there is no such name.
            UnknownVersion: the name has no such version or alias; how an alias that is not used yet is told.
        """

    def alias(
        self, name: str, alias: str, ref: str, reason: str = "", expected: int | EllipsisType | None = ...
    ) -> Version:
        """Move an alias to a version, if it is at the `expected` one (None: if it is new) where that is given.

        Raises:
            CheckpointError: it is not, since somebody else moved it.
        """

    def delete(self, name: str, ref: str, *, aliased: Collection[str] = ()) -> Version:
        """Remove a version; what it was is returned. `latest` moves to the newest that is left.

        Args:
            aliased: the aliases that may go with it.

        Raises:
            CheckpointError: an alias other than `latest` and those is at it.
        """

    def history(self, name: str) -> Sequence[AliasMove]:
        """All moves of a name's aliases, newest first."""

    def names(self) -> Sequence[str]: ...

    def versions(self, name: str) -> Sequence[Version]:
        """All versions of a name, newest first."""


@runtime_checkable
class RemoteStore(Protocol):
    """A checkpoint store on a server, where others can find its versions."""

    def address(self, version: Version) -> str:
        """Where a version is: the server's URL, then the version's full name there."""


class ModelPlugin(Protocol):
    """Turns the part of `PLUGIN:REF,key=value` after the first colon into a model."""

    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> ModelSpec:
        """Find the model; load no weights.

        Raises:
            CheckpointError: there is no such model.
            UsageError: an option is unknown or malformed.
        """


@runtime_checkable
class LivePlugin(Protocol):
    """A model plugin that can ask a model which is in memory, such as one that is being trained."""

    def live(self, model: Any, processor: Any) -> ModelSpec:
        """The model, in evaluation mode and on its device, as one that is loaded; its `fingerprint` means nothing.

        Raises:
            PluginError: it is no model of this plugin.
        """


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What the host must know of a metric.

    Attributes:
        unit: "fraction", "tokens", "seconds", "points" …
        higher_is_better: None where neither direction is.
        needs: names of checks (see `Check`) that must pass where it is computed.
        corpus: whether a sample's share depends on which others are scored with it, so that the score of a part
            of the benchmark cannot be compared with that of the whole.
    """

    unit: str
    higher_is_better: bool | None
    needs: tuple[str, ...] = ()
    corpus: bool = False


class Metric(Protocol):
    """A formula over samples and their answers; pure. Options are its constructor's keyword arguments.

    A metric whose scores depend on more than its version and options, such as on a file's content, has an attribute
    `fingerprint`, a text that changes with it: stored scores count as long as it is the same.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        """One a score that it gives."""

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        """Scores by name. `pairs` may be iterated several times."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended; `hint` is the next step where it is not ok.

    A check that is not `required` describes something that the harness works without.
    """

    ok: bool
    detail: str
    hint: str = ""
    required: bool = False


class Check(Protocol):
    """One line of `harness doctor`."""

    def run(self) -> CheckResult: ...


Sink = Callable[[Sequence[Prediction]], None]
"""Takes the predictions of one finished batch, and commits them before it returns."""


Batch = Sequence[tuple[int, Sample]]
"""Samples that are answered and committed together, each with its place in the benchmark's order."""


class Engine(Protocol):
    """Where a plan runs."""

    def run(self, plan: Plan, batches: Iterable[Batch], sink: Sink) -> None:
        """Answer the batches, in any order; each goes into the sink once, whole, from the calling process."""

    def close(self) -> None:
        """Give back what was kept from one run for the next, such as a loaded model."""


class Tracker(Protocol):
    """Who is told of runs and verdicts. Its factory takes the workspace's folder, `home`, and its options by name."""

    def run_finished(self, run: FinishedRun) -> None:
        """A run is complete and scored; told again, with all that it has by then, whenever it is asked for again."""

    def verdict_given(self, verdict: Mapping[str, Json], runs: Sequence[FinishedRun]) -> None:
        """A policy judged these runs; `verdict` is what `harness gate --json` prints."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a tracker was to tell somebody, and whether that arrived.

    Attributes:
        kind, id: what it is about: "run" or "training", and its id.
        what: in words, such as the model and the benchmark.
        sent: whether all of it arrived.
        detail: where it is, if it was sent; else why not yet, if that is known.
        since: when it was last to be told, ISO 8601, UTC.
    """

    kind: str
    id: str
    what: str
    sent: bool
    detail: str
    since: str


@runtime_checkable
class Outbox(Protocol):
    """A tracker that keeps what it cannot tell at once."""

    def told(self) -> Sequence[Told]:
        """All that it was to tell, oldest first."""

    def sync(self, progress: Callable[[Told], None]) -> Sequence[Told]:
        """Send what has not arrived, and make sure that it does; what is still left is given back.

        Args:
            progress: is given each after it was tried.
        """
