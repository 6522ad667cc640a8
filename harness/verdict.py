"""What a requirement says to figures, and the Verdict that comes of them all.

A requirement passes, fails, or cannot be decided at this sample size; only if all that apply pass does the verdict.
What decides, for a score s and its baseline's b on the samples that both answered:

    min, max                  s; with `confidence`, the whole of its two-sided interval
    margin m (against)        not worse by more than m: the one-sided confidence bound of the difference keeps to -m
    gain g (against)          better by more than g: the one-sided bound exceeds g
    min_ratio, max_ratio      s / b, as measured
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from harness.compare import COVERAGE
from harness.config import Requirement
from harness.difference import Difference
from harness.errors import UnknownName, UsageError
from harness.scoring import Scored
from harness.stats import CONFIDENCE
from harness.types import Json

PASS, FAIL, UNDECIDED, INCOMPLETE, SKIPPED = "pass", "fail", "undecided", "incomplete", "skipped"

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Target:
    """A score that a requirement names: of a benchmark, or of one key of its breakdown."""

    benchmark: str
    score: str
    breakdown: str = ""
    key: str = ""

    def __str__(self) -> str:
        return ".".join(filter(None, (self.benchmark, self.score, self.breakdown, self.key)))


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one requirement.

    Attributes:
        score: its full name.
        needed: what was asked, in words.
        status: pass, fail, undecided, incomplete (there is no such figure), or skipped (there is no baseline yet).
        measured, low, high: the score and its interval; of a comparison the difference to the baseline, which is
            `candidate` - `baseline`, with the one-sided bounds at the requirement's confidence.
        reason: why it is not a plain pass or fail.
    """

    score: str
    needed: str
    status: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    candidate: float | None = None
    baseline: float | None = None
    n: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of a model.

    Attributes:
        verdict: pass, fail, undecided or incomplete.
        policy, policy_digest: its name, and the hash of all that it asks and how.
        model, baseline: ref, version, digest, image mode, plugin and fingerprint; no baseline where none is asked for
            or there is none yet.
        asked_baseline: the baseline as it was asked for.
        runs, baseline_runs: benchmark -> id.
        protocols: benchmark -> the scoring rules.
        notes: what was taken for granted, such as a first use without a baseline.
    """

    verdict: str
    policy: str
    policy_digest: str
    model: Mapping[str, Json]
    baseline: Mapping[str, Json] | None
    asked_baseline: str | None
    runs: Mapping[str, str]
    baseline_runs: Mapping[str, str]
    findings: Sequence[Finding]
    protocols: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def id(self) -> str:
        """The hash of its content."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    def document(self) -> dict[str, Json]:
        """All of it as JSON values."""
        return {"id": self.id, **msgspec.to_builtins(self)}


def absolute(requirement: Requirement, target: Target, scored: Scored, coverage: float) -> Finding:
    """What a score says to its bounds.

    Args:
        scored: with intervals at the requirement's confidence, or at the usual one where it has none.

    Raises:
        UnknownName: there is no such breakdown, or key of it.
        UsageError: coverage is asked for at a confidence.
    """
    asked = asked_of(requirement)
    if target.score == COVERAGE:
        if target.breakdown:
            raise UnknownName(
                f"breakdown of {target.benchmark}.{COVERAGE}", target.breakdown, (), "it is of all samples"
            )
        if requirement.confidence is not None:
            raise UsageError(f"score {target}: coverage is counted, and certain as it is; leave `confidence` out")
        status = PASS if _within(requirement, coverage) else INCOMPLETE
        return Finding(str(target), asked, status, coverage, candidate=coverage)
    score = scored.scores.get(target.score)
    if score is None:
        reason = scored.unscored.get(target.score) or "there is nothing to measure"
        return Finding(str(target), asked, INCOMPLETE, reason=reason)
    if target.breakdown:
        score = part_of(score.by, target)
    if scored.confidence != (requirement.confidence or CONFIDENCE):
        raise ValueError(f"{target} is judged at {requirement.confidence} and was scored at {scored.confidence}")
    low, high = score.low, score.high
    known = {"measured": score.value, "low": low, "high": high, "candidate": score.value, "n": score.n}
    if requirement.confidence is None:
        status = PASS if _within(requirement, score.value) else FAIL
        return Finding(str(target), asked, status, **known)  # type: ignore[arg-type]
    if low is None or high is None:
        return Finding(str(target), asked, UNDECIDED, **known, reason="it has no interval")  # type: ignore[arg-type]
    if _within(requirement, low) and _within(requirement, high):
        return Finding(str(target), asked, PASS, **known)  # type: ignore[arg-type]
    # The whole interval lies beyond one of the bounds.
    beyond = (requirement.min is not None and high < requirement.min) or (
        requirement.max is not None and low > requirement.max
    )
    reason = "" if beyond else "the interval reaches over the bound: it takes more samples to tell"
    return Finding(str(target), asked, FAIL if beyond else UNDECIDED, **known, reason=reason)  # type: ignore[arg-type]


def compared(requirement: Requirement, target: Target, found: Difference) -> Finding:
    """What a difference to the baseline says to a margin, a gain or a ratio."""
    pair, asked = found.paired, asked_of(requirement)
    known: dict[str, Json] = {"candidate": pair.b, "baseline": pair.a, "n": pair.n}
    if requirement.min_ratio is not None or requirement.max_ratio is not None:
        if pair.a <= 0:
            reason = f"the baseline's is {pair.a:.4g}, and a ratio is only of what is above 0"
            return Finding(str(target), asked, UNDECIDED, **known, reason=reason)
        ratio = pair.b / pair.a
        inside = (requirement.min_ratio or -math.inf) <= ratio <= (requirement.max_ratio or math.inf)
        return Finding(str(target), asked, PASS if inside else FAIL, ratio, **known)
    if found.higher_is_better is None:
        raise UsageError(f"score {target}: neither direction is better, so it has no margin; use a ratio, min or max")
    # Two-sided at 2c - 1 is one-sided at c.
    interval = found.interval(2 * (requirement.confidence or CONFIDENCE) - 1)
    if interval is None:
        return Finding(str(target), asked, UNDECIDED, pair.difference, **known, reason=pair.reason)
    low, high = interval
    worst, best = (low, high) if found.higher_is_better else (-high, -low)
    if requirement.margin is not None:
        status = PASS if worst >= -requirement.margin else FAIL if best < -requirement.margin else UNDECIDED
    else:
        gain = requirement.gain or 0.0
        status = PASS if worst > gain else FAIL if best < gain else UNDECIDED
    reason = "the bounds reach over what is needed: it takes more samples to tell" if status == UNDECIDED else ""
    return Finding(str(target), asked, status, pair.difference, low, high, **known, reason=reason)


def part_of(by: Mapping[str, Mapping[str, Part]], target: Target) -> Part:
    """The part of a breakdown that is named.

    Raises:
        UnknownName: there is no such breakdown, or key of it.
    """
    whole = f"{target.benchmark}.{target.score}"
    if target.breakdown not in by:
        raise UnknownName(f"breakdown of {whole}", target.breakdown, by)
    if target.key not in by[target.breakdown]:
        raise UnknownName(f"key of {whole}.{target.breakdown}", target.key, by[target.breakdown])
    return by[target.breakdown][target.key]


def _within(requirement: Requirement, value: float) -> bool:
    lowest = -math.inf if requirement.min is None else requirement.min
    highest = math.inf if requirement.max is None else requirement.max
    return lowest <= value <= highest


def asked_of(requirement: Requirement) -> str:
    """A requirement in words."""
    bounds = {"min": "≥ {:g}", "max": "≤ {:g}", "margin": "not worse by {:g}", "gain": "better by {:g}",
              "min_ratio": "≥ {:g} × baseline", "max_ratio": "≤ {:g} × baseline"}  # fmt: skip
    given = {name: getattr(requirement, name) for name in bounds}
    words = " and ".join(bounds[name].format(value) for name, value in given.items() if value is not None)
    sure = requirement.confidence
    if requirement.margin is not None or requirement.gain is not None:
        sure = sure or CONFIDENCE
    return f"{words} (at {sure:.4g})" if sure else words


def overall(findings: Sequence[Finding]) -> str:
    """The worst that was found; nothing decided is nothing passed."""
    statuses = {finding.status for finding in findings}
    for status in (INCOMPLETE, FAIL, UNDECIDED):
        if status in statuses:
            return status
    return PASS if PASS in statuses else UNDECIDED
