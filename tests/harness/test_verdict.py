"""What requirements say to scores and differences, against bounds from tables and by enumeration."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.config import Requirement
from harness.difference import Difference
from harness.errors import UnknownName, UsageError
from harness.paired import paired_mean
from harness.protocols import MetricInfo
from harness.scoring import Scored, score
from harness.types import Measured
from harness.verdict import FAIL, INCOMPLETE, PASS, UNDECIDED, Finding, Target, absolute, compared

TARGET = Target("b", "s")


def scored(measured: Measured, groups: Sequence[int], confidence: float = 0.95) -> Scored:
    metric = SimpleNamespace(
        info={"s": MetricInfo("fraction", higher_is_better=True)}, compute=lambda pairs, protocol: {"s": measured}
    )
    choice: Any = SimpleNamespace(metric=metric, scores=("s",))
    pairs: Any = [SimpleNamespace(sample=SimpleNamespace(group=str(group))) for group in groups]
    return score(pairs, [choice], "", unmet={}, confidence=confidence)


def mean(values: Sequence[float]) -> Measured:
    return Measured(float(np.mean(values)), np.array(values))


def share(values: Sequence[float]) -> Measured:
    """A mean as a corpus score."""
    rows = np.stack([values, np.ones(len(values))], axis=1)
    return Measured(float(np.mean(values)), None, rows, lambda sums: sums[..., 0] / sums[..., 1])


def judged(measured: Measured, groups: Sequence[int], **asked: Any) -> Finding:
    requirement = Requirement(score="b.s", **asked)
    return absolute(requirement, TARGET, scored(measured, groups, requirement.confidence or 0.95), 1.0)


def against(a: Sequence[float], b: Sequence[float], groups: Sequence[int] | None = None, **asked: Any) -> Finding:
    clusters = np.arange(len(a)) if groups is None else np.array(groups)
    difference = Difference(paired_mean(np.array(a, float), np.array(b, float), clusters), higher_is_better=True)
    return compared(Requirement(score="b.s", against="baseline", **asked), TARGET, difference)


@pytest.mark.parametrize("kind", [mean, share])
@pytest.mark.parametrize(("count", "status"), [(2, UNDECIDED), (367, UNDECIDED), (368, PASS)])
def test_right_answers_alone_do_not_show_that_there_are_no_wrong_ones(kind: Any, count: int, status: str) -> None:
    # 0.025^(1/368) = 0.99002, 0.025^(1/367) = 0.98999.
    found = judged(kind([1.0] * count), range(count), min=0.99, confidence=0.95)
    assert found.status == status
    assert (found.measured, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / count))
    assert judged(kind([1.0] * count), range(count), min=0.99).status == PASS  # as measured


@pytest.mark.parametrize(
    ("count", "asked", "status"),
    [
        (2, {"margin": 0.0}, UNDECIDED),
        (2, {"margin": 0.5}, UNDECIDED),
        (10, {"margin": 0.2589}, PASS),  # 1 - 0.05^(1/10) = 0.25887
        (10, {"margin": 0.2588}, UNDECIDED),
        (298, {"margin": 0.01}, UNDECIDED),
        (299, {"margin": 0.01}, PASS),
        (5_000, {"margin": 0.01}, PASS),
        (5_000, {"margin": 0.0}, UNDECIDED),
        (5_000, {"gain": 0.0}, UNDECIDED),
        (5_000, {"gain": 0.01}, FAIL),
    ],
)
def test_equal_answers_are_no_worse_as_far_as_their_number_shows(
    count: int, asked: dict[str, float], status: str
) -> None:
    values = np.arange(count) % 2
    assert against(values, values, **asked).status == status


@pytest.mark.parametrize(("count", "status"), [(2, UNDECIDED), (10, UNDECIDED), (11, PASS)])
def test_a_gain_on_a_few_samples_is_not_one_on_all(count: int, status: str) -> None:
    # 2 · 0.05^(1/11) - 1 = 0.523, 2 · 0.05^(1/10) - 1 = 0.482.
    assert against([0.0] * count, [1.0] * count, gain=0.5).status == status
    assert (
        against([0.0] * 3 * count, [1.0] * 3 * count, [n % count for n in range(3 * count)], gain=0.5).status == status
    )


def test_the_interval_of_any_confidence_is_that_of_the_measurement() -> None:
    generator = np.random.default_rng(0)
    values = (generator.random(60) < 0.8).astype(float)
    groups = [n // 2 for n in range(60)]
    replicates = np.array([0.8, 0.9, 0.85, 0.95])
    widths: dict[str, list[float]] = {}
    for confidence in (0.9, 0.949, 0.95, 0.951, 0.99, 0.999, 0.99999):
        of_mean, of_share, of_parts = (
            judged(measured, groups, min=0.9, confidence=confidence)
            for measured in (mean(values), share(values), Measured(0.87, replicates=replicates))
        )
        totals = np.bincount(groups, values - values.mean())
        stderr = np.sqrt(30 / 29 * (totals**2).sum()) / 60
        oracle = scipy_stats.t.interval(confidence, 29, values.mean(), stderr)
        assert (of_mean.low, of_mean.high) == pytest.approx(oracle, abs=1e-9)
        # Four parts have three degrees of freedom, however many groups they were made of.
        stderr = np.sqrt(3 / 4 * ((replicates - replicates.mean()) ** 2).sum())
        oracle = scipy_stats.t.interval(confidence, 3, 0.87, stderr)
        assert (of_parts.low, of_parts.high) == pytest.approx(oracle, abs=1e-9)
        for name, found in (("mean", of_mean), ("share", of_share), ("parts", of_parts)):
            assert found.low is not None
            assert found.high is not None
            widths.setdefault(name, []).append(found.high - found.low)
        if confidence < 0.999:  # a share's resamples do not go beyond 1
            assert of_share.high <= 1
    for found in widths.values():
        assert found == sorted(found)
        assert found[-1] > found[0]


def test_a_score_of_another_confidence_is_not_judged() -> None:
    requirement = Requirement(score="b.s", min=0.5, confidence=0.9)
    with pytest.raises(ValueError, match=r"is judged at 0\.9 and was scored at 0\.95"):
        absolute(requirement, TARGET, scored(mean([1.0, 0.0]), [0, 1]), 1.0)


def test_coverage_is_of_all_samples_and_certain() -> None:
    run = scored(mean([1.0, 0.0]), [0, 1])
    whole, part = Target("b", "coverage"), Target("b", "coverage", "nosuch", "key")
    assert absolute(Requirement(score=str(whole), min=0.9), whole, run, 0.9).status == PASS
    assert absolute(Requirement(score=str(whole), min=0.9), whole, run, 0.8).status == INCOMPLETE
    with pytest.raises(UnknownName, match=r"unknown breakdown of b\.coverage 'nosuch' \(there is none\)"):
        absolute(Requirement(score=str(part), min=0.3), part, run, 1.0)
    with pytest.raises(UsageError, match=r"score b\.coverage: coverage is counted, and certain as it is"):
        absolute(Requirement(score=str(whole), min=0.9, confidence=0.95), whole, run, 1.0)


@pytest.mark.parametrize(("a", "b"), [(-0.5, -1.0), (-0.5, 0.5), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("asked", [{"min_ratio": 1.0}, {"max_ratio": 1.0}])
def test_there_is_no_ratio_to_what_is_not_above_0(a: float, b: float, asked: dict[str, float]) -> None:
    """-1 is worse than -0.5, and twice as much of it."""
    found = against([a] * 4, [b] * 4, **asked)
    assert (found.status, found.candidate, found.baseline) == (UNDECIDED, b, a)
    assert found.reason == f"the baseline's is {a:g}, and a ratio is only of what is above 0"


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"min_ratio": 1.5}, PASS), ({"min_ratio": 1.51}, FAIL), ({"max_ratio": 1.5}, PASS), ({"max_ratio": 1.49}, FAIL)],
)
def test_a_ratio_is_judged_as_measured(asked: dict[str, float], status: str) -> None:
    found = against([0.5] * 4, [0.75] * 4, **asked)
    assert (found.status, found.measured) == (status, 1.5)
