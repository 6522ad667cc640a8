"""One score of two runs: what it is in each, how they differ, and which samples changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from harness.paired import Paired, Reduce, changes, paired_bootstrap, paired_jackknife, paired_mean
from harness.protocols import MetricInfo
from harness.scoring import rows_by_key
from harness.stats import CONFIDENCE, FloatArray, IntArray, distinct
from harness.types import Json, Measured

FLIPS_SHOWN = 20
UNTESTABLE = "it has neither values of single samples nor statistics that could be resampled"


@dataclass(frozen=True, slots=True)
class Flips:
    """Samples whose own value changed from A to B.

    Attributes:
        better, worse, same: how many.
        better_ids, worse_ids: `FLIPS_SHOWN` of them at most, those that changed most first.
    """

    better: int
    worse: int
    same: int
    better_ids: tuple[str, ...]
    worse_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """A score in two runs, over the samples that both answered.

    Attributes:
        higher_is_better: None where neither direction is.
        p_holm: the p-value, corrected for as many benchmarks as were compared at once.
        flips: None where single samples have no value, or neither direction is better.
        note: what a reader must know, such as why the values are not comparable with published ones.
        by: breakdown -> key -> the same for a part of the samples; its p-values are not corrected.
    """

    paired: Paired
    higher_is_better: bool | None
    p_holm: float | None = None
    flips: Flips | None = None
    note: str = ""
    by: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """What B is beside A: "better", "worse" or "equal"; empty where neither direction is better."""
        if self.paired.difference == 0:
            return "equal"
        if self.higher_is_better is None:
            return ""
        return "better" if (self.paired.difference > 0) == self.higher_is_better else "worse"

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """The two-sided interval of B − A; None where there is no test."""
        return self.paired.interval(confidence)

    def document(self, confidence: float = CONFIDENCE) -> dict[str, Json]:
        """All of it as JSON values, the interval at that confidence."""
        found, (low, high) = self.paired, self.interval(confidence) or (None, None)
        document: dict[str, Json] = {
            "a": found.a, "b": found.b, "difference": found.difference, "stderr": found.stderr, "low": low,
            "high": high, "p_value": found.p_value, "p_holm": self.p_holm, "test": found.test or None, "n": found.n,
            "clusters": found.clusters, "higher_is_better": self.higher_is_better, "direction": self.direction,
        }  # fmt: skip
        if self.flips is not None:
            document["flips"] = msgspec.to_builtins(self.flips)
        untested = f"not tested: {found.reason}" if found.reason else ""
        if note := "; ".join(filter(None, [untested, self.note])):
            document["note"] = note
        if self.by:
            document["by"] = {
                name: {key: part.document(confidence) for key, part in parts.items()} for name, parts in self.by.items()
            }
        return document


def compare_score(
    a: Measured,
    b: Measured,
    info: MetricInfo,
    ids: Sequence[str],
    clusters: IntArray,
    *,
    part: str = "",
    same: bool = False,
) -> Difference:
    """A score that was measured in two runs over the same samples.

    Args:
        ids, clusters: [n] of the samples.
        part: which part of the benchmark they are; put on a score that this makes incomparable with published ones.
        same: whether both runs are of one model, so that no difference found is no difference.
    """
    notes = [a.incomparable, b.incomparable, f"not comparable: {part}" if part and info.corpus else ""]
    flips = None
    if a.per_sample is not None and b.per_sample is not None:
        own_a, own_b = _floats(a.per_sample), _floats(b.per_sample)
        alone = int(np.count_nonzero(np.isfinite(own_a) != np.isfinite(own_b)))
        notes.append(f"{alone} samples have a value in one run alone: each mean is over its own" if alone else "")
        if info.higher_is_better is not None:
            flips = find_flips(own_a, own_b, ids, higher_is_better=info.higher_is_better)
    by: dict[str, dict[str, Difference]] = {}
    for breakdown in a.labels:
        if breakdown in b.labels:
            agreed = [x if x == y else None for x, y in zip(a.labels[breakdown], b.labels[breakdown], strict=True)]
            parts = {key: _paired(a, b, clusters, rows) for key, rows in rows_by_key(agreed).items()}
            by[breakdown] = {
                key: Difference(settled(found) if same else found, info.higher_is_better)
                for key, found in parts.items()
                if math.isfinite(found.difference)
            }
    whole = _paired(a, b, clusters)
    note = "; ".join(filter(None, dict.fromkeys(notes)))
    return Difference(settled(whole) if same else whole, info.higher_is_better, flips=flips, note=note, by=by)


def settled(found: Paired) -> Paired:
    """A difference of which it is known that it is none where none is seen in any sample."""
    return replace(found, reach=0.0) if found.difference == 0 else found


def find_flips(a: FloatArray, b: FloatArray, ids: Sequence[str], *, higher_is_better: bool) -> Flips:
    """Which of [n] samples changed each way; those without a value in both are left out."""
    rows = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
    gain = changes(a[rows], b[rows]) * (1 if higher_is_better else -1)
    order = np.argsort(-np.abs(gain), kind="stable")
    better, worse = order[gain[order] > 0], order[gain[order] < 0]
    return Flips(
        better.size,
        worse.size,
        rows.size - better.size - worse.size,
        tuple(ids[row] for row in rows[better[:FLIPS_SHOWN]]),
        tuple(ids[row] for row in rows[worse[:FLIPS_SHOWN]]),
    )


def _paired(a: Measured, b: Measured, clusters: IntArray, part: IntArray | None = None) -> Paired:
    """The difference over all samples, or over the rows of a part; without a value where the part has none."""
    rows = np.arange(clusters.size) if part is None else part
    values = (np.nan, np.nan) if a.value is None or b.value is None or part is not None else (a.value, b.value)
    corpus_a, corpus_b = _corpus(a, rows), _corpus(b, rows)
    if corpus_a is not None and corpus_b is not None:
        return paired_bootstrap(corpus_a, corpus_b, clusters[rows], values=values if part is None else None)
    if corpus_a is None and corpus_b is None:
        if a.per_sample is not None and b.per_sample is not None:
            return paired_mean(_floats(a.per_sample)[rows], _floats(b.per_sample)[rows], clusters[rows])
        if a.replicates is not None and b.replicates is not None and part is None:
            # Parts are cut along the samples' groups, and the samples are the same.
            replicates = _floats(a.replicates), _floats(b.replicates)
            return paired_jackknife(values, *replicates, n=rows.size, clusters=distinct(clusters))
    return Paired(*values, values[1] - values[0], rows.size, distinct(clusters[rows]), reason=UNTESTABLE)


def _corpus(measured: Measured, rows: IntArray) -> tuple[FloatArray, Reduce] | None:
    if measured.statistics is None or measured.reduce is None:
        return None
    return _floats(measured.statistics)[rows], measured.reduce


def _floats(values: FloatArray) -> FloatArray:
    return np.asarray(values, np.float64)
