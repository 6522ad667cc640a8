"""Two runs of a benchmark: how B differs from A, score by score, on the samples that both answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from harness.difference import Difference, compare_score, find_flips, settled
from harness.errors import Incomplete
from harness.host import say
from harness.metrics import MetricChoice
from harness.paired import holm, paired_mean
from harness.pairing import require_alike, require_complete
from harness.plan import Task
from harness.scorer import Scorer, StoredPairs
from harness.scoring import Scored, measure, score
from harness.stats import CONFIDENCE, IntArray, cluster_codes, distinct
from harness.store import Run, RunStore
from harness.types import Json, Output, Pair

COVERAGE = "coverage"
"""The share of all samples that a run answered: a score of every benchmark, made by the host."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two runs of one benchmark, B against A.

    Attributes:
        protocol: the scoring rules, the same for both.
        shared, clusters: samples that both answered, and the groups that they fall into.
        scores: by name, the benchmark's main figure first; `coverage`, which is over all samples, last.
        uncompared: score -> why it is not there.
        inapplicable: scores that had nothing to measure in one of the runs, which is no fault.
    """

    a: Run
    b: Run
    protocol: str
    shared: int
    clusters: int
    scores: Mapping[str, Difference]
    uncompared: Mapping[str, str]
    inapplicable: tuple[str, ...]

    def document(self, confidence: float = CONFIDENCE) -> dict[str, Json]:
        """All of it as JSON values, the intervals at that confidence."""
        identity = self.a.identity
        return {
            "benchmark": {**identity["benchmark"], "data_digest": identity["data_digest"], "protocol": self.protocol},
            "limit": identity["limit"],
            "n": self.a.n,
            "shared": self.shared,
            "clusters": self.clusters,
            "a": _side(self.a),
            "b": _side(self.b),
            "confidence": confidence,
            "scores": {name: item.document(confidence) for name, item in self.scores.items()},
            "uncompared": dict(self.uncompared),
            "inapplicable": list(self.inapplicable),
        }


class Comparer:
    """Compares runs of a workspace."""

    def __init__(self, store: RunStore, scorer: Scorer) -> None:
        self._store = store
        self._scorer = scorer

    def compare(
        self,
        a: Run,
        b: Run,
        remark: Callable[[str], None],
        *,
        protocol: str | None = None,
        metrics: Sequence[str] = (),
    ) -> Comparison:
        """How B differs from A: every score is made anew, in both, of the samples that both answered.

        Needs neither the models nor the data.

        Args:
            remark: takes what the user should know.
            protocol, metrics: instead of the configured ones, as for scoring; `coverage` may be among the metrics.

        Raises:
            UsageError: the two do not answer the same questions; names what differs.
            Incomplete: a run is not complete, or no sample was answered by both.
        """
        for run in (a, b):
            require_complete(self._store, run)
        require_alike(a, b)
        task, unmet = self._scorer.able(self._task(a, protocol, metrics), remark)
        shared = _Shared.of(self._store, a, b)
        answers = (
            _Answers(StoredPairs(self._store, a, task), shared.kept_a),
            _Answers(StoredPairs(self._store, b, task), shared.kept_b),
        )
        scores: dict[str, Difference] = {}
        uncompared, inapplicable = dict(unmet), dict[str, None]()
        for choice in task.metrics:
            wanted = [name for name in choice.scores if name not in unmet]
            found, missing, nothing = shared.measured(choice, wanted, answers, task.protocol)
            scores.update(found)
            uncompared.update(missing)
            inapplicable.update(dict.fromkeys(nothing))
        if not metrics or COVERAGE in metrics:
            scores[COVERAGE] = shared.coverage
        return Comparison(
            a, b, task.protocol, len(shared.ids), distinct(shared.clusters), scores, uncompared, tuple(inapplicable)
        )

    def score(
        self,
        run: Run,
        remark: Callable[[str], None],
        *,
        protocol: str | None = None,
        metrics: Sequence[str] = (),
        confidence: float = CONFIDENCE,
    ) -> Scored:
        """A single run's scores, made anew and not stored, with intervals at that confidence; otherwise as `compare`.

        Raises:
            Incomplete: the run is not complete.
        """
        require_complete(self._store, run)
        task, unmet = self._scorer.able(self._task(run, protocol, metrics), remark)
        return score(
            StoredPairs(self._store, run, task), task.metrics, task.protocol, unmet=unmet, confidence=confidence
        )

    def _task(self, run: Run, protocol: str | None, metrics: Sequence[str]) -> Task:
        """The run's benchmark as it is scored."""
        wanted = [name for name in metrics if name != COVERAGE]
        task = self._scorer.task_of(run, protocol, wanted)
        return replace(task, metrics=()) if metrics and not wanted else task


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, with each score's p-values corrected for the benchmarks that it was tested on (Holm)."""
    p_values: dict[str, dict[int, float]] = {}
    for number, comparison in enumerate(comparisons):
        for name, item in comparison.scores.items():
            if item.paired.p_value is not None:
                p_values.setdefault(name, {})[number] = item.paired.p_value
    p_holm = {name: dict(zip(found, holm([*found.values()]), strict=True)) for name, found in p_values.items()}
    return [
        replace(comparison, scores={
            name: replace(item, p_holm=p_holm.get(name, {}).get(number)) for name, item in comparison.scores.items()
        })
        for number, comparison in enumerate(comparisons)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Answers:
    """A run's answers to the samples that the other answered too."""

    pairs: StoredPairs
    kept: Sequence[bool]

    def __iter__(self) -> Iterator[Pair]:
        return compress(self.pairs, self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """The samples that two runs both answered.

    Attributes:
        ids, clusters: [n] of them.
        kept_a, kept_b: of all that each run answered, whether the other did too.
        part: which part of the benchmark they are; empty for all of it.
        same: whether both runs are of one model, as far as answers depend on it.
        coverage: how the runs differ in what they answered. It is counted: where it is the same, it is so for certain.
    """

    ids: Sequence[str]
    clusters: IntArray
    kept_a: Sequence[bool]
    kept_b: Sequence[bool]
    part: str
    same: bool
    coverage: Difference

    @classmethod
    def of(cls, store: RunStore, a: Run, b: Run) -> _Shared:
        failed = store.failed(b)
        ids: list[str] = []
        groups: list[str] = []
        answered: list[tuple[bool, bool]] = []
        for sample, prediction in store.predictions(a):
            ids.append(sample.id)
            groups.append(sample.group)
            answered.append((isinstance(prediction.result, Output), prediction.position not in failed))
        both = [by_a and by_b for by_a, by_b in answered]
        kept = list(compress(ids, both))
        if not kept:
            raise Incomplete(f"no sample was answered both by run {a.id} and by run {b.id}")
        limit = a.identity["limit"]
        part = "" if limit is None else f"only the first {limit} samples were evaluated"
        if not part and len(kept) < len(ids):
            part = f"only {len(kept)} of {len(ids)} samples were answered by both"
        share_a, share_b = np.array(answered, np.float64).T
        coverage = Difference(
            settled(paired_mean(share_a, share_b, cluster_codes(groups))),
            higher_is_better=True,
            flips=find_flips(share_a, share_b, ids, higher_is_better=True),
        )
        kept_a = [by_b for by_a, by_b in answered if by_a]
        kept_b = [by_a for by_a, by_b in answered if by_b]
        same = a.identity["model"] == b.identity["model"]
        return cls(kept, cluster_codes(compress(groups, both)), kept_a, kept_b, part, same, coverage)

    def measured(
        self, choice: MetricChoice, wanted: Sequence[str], answers: tuple[_Answers, _Answers], protocol: str
    ) -> tuple[dict[str, Difference], dict[str, str], list[str]]:
        """One metric's scores, why others are not there, and those with nothing to measure."""
        a, b = (measure(choice, wanted, side, protocol, len(self.ids)) for side in answers)
        scores: dict[str, Difference] = {}
        missing = {name: reason for side in (b, a) for name, reason in side.unscored.items()}
        nothing = [name for name in (*a.inapplicable, *b.inapplicable) if name not in missing]
        for name in a.measured:
            if name in b.measured:
                both = a.measured[name], b.measured[name]
                try:
                    item = compare_score(*both, a.info[name], self.ids, self.clusters, part=self.part, same=self.same)
                except Exception as error:  # noqa: BLE001 - `reduce` is the metric's own
                    missing[name] = say(error)
                    continue
                if math.isfinite(item.paired.difference):
                    scores[name] = item
                else:
                    missing[name] = item.paired.reason
        return scores, missing, nothing


def _side(run: Run) -> dict[str, Json]:
    return {"run": run.id, "model": {"ref": run.model, "version": run.version, "digest": run.digest}}
