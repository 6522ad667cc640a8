"""Stored predictions to scores; needs no model, no device and no pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np

from harness.errors import HarnessError, PluginError
from harness.host import Catalog, Listing, say
from harness.metrics import MetricChoice
from harness.protocols import Check, CheckResult, MetricInfo
from harness.stats import (
    CONFIDENCE,
    FloatArray,
    IntArray,
    Interval,
    cluster_codes,
    clustered_mean,
    distinct,
    jackknife,
    percentile_interval,
    resampled_sums,
)
from harness.types import Measured, Pair, Score


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What scoring gave.

    Attributes:
        scores: name -> score.
        per_sample: name -> [n] value an answered sample, for the scores that have them.
        unscored: name -> why there is no such score; it is not zero.
        inapplicable: names of scores that had nothing to measure, which is no fault.
        confidence: of the scores' intervals.
    """

    scores: Mapping[str, Score]
    per_sample: Mapping[str, FloatArray]
    unscored: Mapping[str, str]
    inapplicable: tuple[str, ...]
    confidence: float = CONFIDENCE

    def only(self, names: Iterable[str]) -> Scored:
        """What it has of these names, in their order."""
        wanted = list(names)
        return Scored(
            {name: self.scores[name] for name in wanted if name in self.scores},
            {name: self.per_sample[name] for name in wanted if name in self.per_sample},
            {name: self.unscored[name] for name in wanted if name in self.unscored},
            tuple(name for name in wanted if name in self.inapplicable),
            self.confidence,
        )


class Pairs(Protocol):
    """Answered samples, which may be iterated several times, and how many they are."""

    def __iter__(self) -> Iterator[Pair]: ...

    def __len__(self) -> int: ...


def score(
    pairs: Pairs,
    metrics: Iterable[MetricChoice],
    protocol: str,
    *,
    unmet: Mapping[str, str],
    part: str = "",
    confidence: float = CONFIDENCE,
) -> Scored:
    """Compute the chosen metrics; one that fails leaves the others alone.

    Args:
        unmet: score -> why what it needs is not here, as `unmet_needs` found beforehand.
        part: which part of the benchmark the pairs are; put on every score that this makes incomparable.
        confidence: of the intervals.
    """
    scores: dict[str, Score] = {}
    per_sample: dict[str, FloatArray] = {}
    unscored: dict[str, str] = dict(unmet)
    inapplicable: list[str] = []
    n, grouped = len(pairs), _Grouped(pairs)
    uncertainty: _Uncertainty | None = None
    for choice in metrics:
        wanted = [name for name in choice.scores if name not in unmet]
        if not wanted:
            continue
        if n == 0:
            unscored.update(dict.fromkeys(wanted, "no sample was answered"))
            continue
        found = measure(choice, wanted, grouped, protocol, n)
        unscored.update(found.unscored)
        inapplicable += found.inapplicable
        for name, measured in found.measured.items():
            note = f"not comparable: {part}" if part and found.info[name].corpus else ""
            uncertainty = uncertainty or _Uncertainty(grouped.clusters(), confidence)
            try:
                scores[name] = uncertainty.of(measured, note)
            except Exception as error:  # noqa: BLE001 - `reduce` is the metric's own
                unscored[name] = _reason(error)
                continue
            if measured.per_sample is not None:
                per_sample[name] = np.asarray(measured.per_sample, dtype=np.float64)
    unscored = {name: reason for name, reason in unscored.items() if name not in scores}
    nothing = tuple(name for name in dict.fromkeys(inapplicable) if name not in {*scores, *unscored})
    return Scored(scores, per_sample, unscored, nothing, confidence)


class _Grouped:
    """Pairs whose clusters are taken down as a metric goes through them: to read stored ones once more is slow."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._pairs = pairs
        self._groups: list[str] | None = None

    def __iter__(self) -> Iterator[Pair]:
        known = self._groups is not None or isinstance(self._pairs, Sequence)
        return iter(self._pairs) if known else self._taken_down()

    def _taken_down(self) -> Iterator[Pair]:
        groups: list[str] = []
        known: dict[str, str] = {}  # each stored sample brings a text of its own
        for pair in self._pairs:
            group = pair.sample.group
            groups.append(known.setdefault(group, group))
            yield pair
        self._groups = groups

    def clusters(self) -> IntArray:
        """[n] each pair's cluster."""
        return cluster_codes(self._groups or (pair.sample.group for pair in self._pairs))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one metric found of the scores that were wanted of it.

    Attributes:
        info: score -> what the metric says of it.
        measured: those with a value.
        unscored, inapplicable: as `Scored` has them.
    """

    info: Mapping[str, MetricInfo]
    measured: Mapping[str, Measured]
    unscored: Mapping[str, str]
    inapplicable: tuple[str, ...]


def measure(choice: MetricChoice, wanted: Sequence[str], pairs: Iterable[Pair], protocol: str, n: int) -> Found:
    """Compute one metric; what it raises becomes the reason why its scores are not there.

    Args:
        wanted: the scores that are wanted of it.
        n: how many pairs there are.
    """
    measured: dict[str, Measured] = {}
    unscored: dict[str, str] = {}
    inapplicable: list[str] = []
    try:
        info, results = choice.metric.info, _compute(choice, pairs, protocol, n)
    except Exception as error:  # noqa: BLE001 - whatever a metric raises, the other metrics go on
        return Found({}, {}, dict.fromkeys(wanted, _reason(error)), ())
    for name in wanted:
        if name not in results or name not in info:
            unscored[name] = "the metric gave no such score"
        elif (value := results[name].value) is None:
            inapplicable.append(name)
        elif not math.isfinite(value):
            unscored[name] = f"the metric gave {value}"
        else:
            measured[name] = results[name]
    return Found(info, measured, unscored, tuple(inapplicable))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, HarnessError) else say(error)


def metric_digest(choice: MetricChoice) -> str:
    """What a metric's scores depend on beside the predictions and the protocol: its version, options and files."""
    chosen = (
        choice.listing.entry.target, choice.listing.plugin.origin, choice.options,
        getattr(choice.metric, "fingerprint", ""),
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(chosen, order="sorted")).hexdigest()


def unmet_needs(metrics: Iterable[MetricChoice], catalog: Catalog) -> dict[str, str]:
    """What can be known before a run: score -> why it cannot be computed on this machine.

    Raises:
        PluginError: a metric needs a check that no plugin brings.
    """
    results: dict[str, CheckResult] = {}
    unmet: dict[str, str] = {}
    for choice in metrics:
        info = choice.metric.info
        for name in choice.scores:
            for need in info[name].needs if name in info else ():
                if need not in results:
                    results[need] = _checked(catalog.find("check", need))
                if not results[need].ok:
                    unmet[name] = f"needs {need}: {results[need].detail}; {results[need].hint}"
    return unmet


def _checked(listing: Listing) -> CheckResult:
    """A check that raises has not passed."""
    try:
        check: Check = listing.load()
        return check.run()
    except Exception as error:  # noqa: BLE001 - a check is foreign code
        return CheckResult(False, f"the check itself failed ({say(error)})", f"report it to {listing.plugin.origin}")


def _compute(choice: MetricChoice, pairs: Iterable[Pair], protocol: str, n: int) -> Mapping[str, Measured]:
    measured = choice.metric.compute(pairs, protocol)
    for name, item in measured.items():
        arrays = {"per_sample": item.per_sample, "statistics": item.statistics}
        lengths = {what: len(array) for what, array in arrays.items() if array is not None}
        lengths |= {f"labels[{key!r}]": len(labels) for key, labels in item.labels.items()}
        for what, length in lengths.items():
            if length != n:
                place = f"metric {choice.listing.entry.name!r} of plugin {choice.listing.plugin.name!r}"
                raise PluginError(f"{place}: {what} of {name!r} has {length} rows for {n} pairs")
    return measured


class _Uncertainty:
    """Values, errors and intervals of measured scores and of their parts.

    Args:
        clusters: [n] each pair's cluster.
        confidence: of the intervals.
    """

    def __init__(self, clusters: IntArray, confidence: float = CONFIDENCE) -> None:
        self._clusters = clusters
        self._confidence = confidence
        self._everything = np.arange(clusters.size)
        # Several scores may share their statistics, and resampling these is what costs.
        self._statistics: FloatArray | None = None
        self._sums: dict[tuple[str, str], FloatArray | None] = {}

    def of(self, measured: Measured, note: str) -> Score:
        """The score, its own value kept, with all its breakdowns."""
        whole = self._of_part(measured, ("", ""), self._everything, measured.value)
        assert whole is not None
        by: dict[str, dict[str, Score]] = {}
        for breakdown, labels in measured.labels.items():
            rows_of = rows_by_key(labels)
            parts = {key: self._of_part(measured, (breakdown, key), rows, None) for key, rows in rows_of.items()}
            by[breakdown] = {key: part for key, part in parts.items() if part is not None}
        return replace(whole, by=by, note="; ".join(filter(None, [measured.incomparable, note])))

    def _of_part(self, measured: Measured, part: tuple[str, str], rows: IntArray, value: float | None) -> Score | None:
        """The score of the pairs of a part (breakdown, key); the metric's own value where it is given."""
        interval: Interval | None = None
        if measured.statistics is not None and measured.reduce is not None:
            if value is None:
                value = float(measured.reduce(np.asarray(measured.statistics, np.float64)[rows].sum(axis=0)))
            sums = self._resampled(measured.statistics, part, rows)
            if sums is not None:
                interval = percentile_interval(measured.reduce(sums), distinct(self._clusters[rows]), self._confidence)
        elif measured.per_sample is not None:
            values = np.asarray(measured.per_sample, dtype=np.float64)
            rows = rows[np.isfinite(values[rows])]
            if rows.size:
                value = float(values[rows].mean()) if value is None else value
                interval = clustered_mean(values[rows], self._clusters[rows], self._confidence)
        elif measured.replicates is not None and value is not None:
            interval = jackknife(value, np.asarray(measured.replicates, dtype=np.float64), self._confidence)
        if value is None or not math.isfinite(value):
            return None
        clusters = distinct(self._clusters[rows])
        if interval is None:
            return Score(value, rows.size, clusters)
        return Score(value, rows.size, clusters, interval.stderr, interval.low, interval.high)

    def _resampled(self, statistics: FloatArray, part: tuple[str, str], rows: IntArray) -> FloatArray | None:
        if self._statistics is not statistics:
            self._statistics, self._sums = statistics, {}
        if part not in self._sums:
            self._sums[part] = resampled_sums(np.asarray(statistics, np.float64)[rows], self._clusters[rows])
        return self._sums[part]


def rows_by_key(labels: Sequence[str | None]) -> dict[str, IntArray]:
    """The rows that have each key, by the keys in order; rows without one, None or the empty text, are left out."""
    numbers: dict[str | None, int] = {None: 0}
    codes = np.fromiter((numbers.setdefault(label, len(numbers)) for label in labels), np.int64, len(labels))
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(numbers)))[:-1])
    return {key: rows[numbers[key]] for key in sorted(filter(None, numbers))}
