"""Runs and a policy to a Verdict: may this checkpoint ship?

Every score is made anew under the configured rules from the stored answers, whatever it was scored by before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.compare import COVERAGE, Comparer, Comparison
from harness.config import GateSettings, Requirement, Settings
from harness.errors import UnknownVersion, UsageError, near
from harness.host import Catalog
from harness.pairing import require_complete, runs_meant
from harness.plan import choose_model, choose_task
from harness.protocols import Benchmark, CheckpointStore
from harness.scorer import Scorer
from harness.scoring import Scored
from harness.stats import CONFIDENCE
from harness.store import Run, RunStore
from harness.types import RESULTS, Json
from harness.verdict import (
    INCOMPLETE,
    SKIPPED,
    Finding,
    Target,
    Verdict,
    absolute,
    asked_of,
    compared,
    overall,
    part_of,
)

Remark = Callable[[str], None]
_NUMBER = re.compile(r"v[0-9]+")


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of the candidate or of the baseline, by benchmark."""

    runs: Mapping[str, Run] = field(default_factory=dict)

    def model(self) -> dict[str, Json]:
        first = next(iter(self.runs.values()))
        return {"ref": first.model, "version": first.version, "digest": first.digest, **first.identity["model"]}

    def ids(self) -> dict[str, str]:
        return {name: run.id for name, run in self.runs.items()}


class Gate:
    """Judges the runs of a workspace."""

    def __init__(
        self,
        store: RunStore,
        scorer: Scorer,
        comparer: Comparer,
        catalog: Catalog,
        settings: Settings,
        checkpoints: CheckpointStore,
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._comparer = comparer
        self._catalog = catalog
        self._settings = settings
        self._checkpoints = checkpoints
        self._digests: dict[str, str] = {}

    def judge(self, policy: str, names: Sequence[str], baseline: str | None, remark: Remark) -> Verdict:
        """The policy's verdict on runs, or on the newest complete runs of a model.

        Args:
            names: ids of runs of one model, or a model reference.
            baseline: a model reference or ids of runs, separated by commas, instead of the policy's baseline.

        Raises:
            UnknownName: the policy, or a score, benchmark or breakdown that it names, does not exist.
            UsageError: a run is of another profile or other data than configured, limited, or of another model.
            Incomplete: a run is still going or answered nothing.
        """
        rules = self._settings.gate(policy)
        candidates = [run for name in names for run in self._meant(name)]
        targets = self._targets(rules, candidates)
        benchmarks = dict.fromkeys(target.benchmark for found in targets.values() for target in found)
        notes: list[str] = []
        candidate = self._side(candidates, benchmarks, " ".join(names), notes)
        against = {target.benchmark for number, found in targets.items() for target in found
                   if rules.require[number].against}  # fmt: skip
        base = self._baseline(rules, baseline, against, policy, notes)
        measured = self._measured(rules, targets, candidate, remark)
        against_base = {
            name: self._comparer.compare(
                base.runs[name], candidate.runs[name], remark, metrics=_scores(targets.values(), name)
            )
            for name in base.runs
        }
        coverage = {name: self._coverage(run) for name, run in candidate.runs.items()}
        findings = []
        for number, requirement in enumerate(rules.require):
            for target in targets[number]:
                if requirement.against is None:
                    figures = measured[target.benchmark, requirement.confidence or CONFIDENCE]
                    finding = absolute(requirement, target, figures, coverage[target.benchmark])
                elif base.runs:
                    finding = self._relative(requirement, target, against_base[target.benchmark])
                else:
                    finding = Finding(str(target), asked_of(requirement), SKIPPED, reason="there is no baseline yet")
                findings.append(finding)
        findings += self._uncovered(rules, targets, coverage)
        return Verdict(
            verdict=overall(findings),
            policy=policy,
            policy_digest=self.policy_digest(policy, benchmarks),
            model=candidate.model(),
            baseline=base.model() if base.runs else None,
            asked_baseline=baseline or rules.baseline,
            runs=candidate.ids(),
            baseline_runs=base.ids(),
            findings=tuple(findings),
            protocols={name: self._scorer.task_of(run, None, ()).protocol for name, run in candidate.runs.items()},
            notes=tuple(notes),
        )

    def _measured(
        self, rules: GateSettings, targets: Mapping[int, Sequence[Target]], candidate: Side, remark: Remark
    ) -> dict[tuple[str, float], Scored]:
        """The candidate's scores that are asked for by themselves: by benchmark and the intervals' confidence."""
        asked: dict[tuple[str, float], list[Sequence[Target]]] = {}
        for number, requirement in enumerate(rules.require):
            for target in targets[number] if requirement.against is None else ():
                asked.setdefault((target.benchmark, requirement.confidence or CONFIDENCE), []).append([target])
        return {
            (name, confidence): self._comparer.score(
                candidate.runs[name], remark, metrics=_scores(found, name), confidence=confidence
            )
            for (name, confidence), found in asked.items()
        }

    def _meant(self, name: str) -> list[Run]:
        return runs_meant(name, self._store, self._catalog, self._checkpoints)

    def _targets(self, rules: GateSettings, candidates: Sequence[Run]) -> dict[int, list[Target]]:
        """Requirement -> the scores that it names; `*` means all benchmarks that others name, or that there are."""
        named = [name for item in rules.require if (name := item.score.partition(".")[0]) != "*"]
        every = dict.fromkeys(named or [run.benchmark for run in candidates])
        targets: dict[int, list[Target]] = {}
        for number, item in enumerate(rules.require):
            benchmark, _, rest = item.score.partition(".")
            score, _, rest = rest.partition(".")
            breakdown, _, key = rest.partition(".")
            if not score or bool(breakdown) != bool(key):
                raise UsageError(
                    f"score {item.score!r}: a full name is benchmark.score or benchmark.score.breakdown.key"
                )
            names = every if benchmark == "*" else [benchmark]
            targets[number] = [Target(name, score, breakdown, key) for name in names]
        for name in every:
            self._catalog.find("benchmark", name)
        return targets

    def _side(self, runs: Sequence[Run], benchmarks: Iterable[str], who: str, notes: list[str]) -> Side:
        """The newest acceptable run of each benchmark.

        Raises:
            UsageError: there is none, and why; or they are of several models.
        """
        models = {msgspec.json.encode(run.identity["model"]) for run in runs}
        if len(models) > 1 and any(run.identity["model"]["plugin"] != RESULTS for run in runs):
            several = ", ".join(f"{run.id} is {run.model}" for run in runs)
            raise UsageError(f"a gate judges one model, and these runs are of several: {several}")
        chosen: dict[str, Run] = {}
        for name in benchmarks:
            found = [run for run in runs if run.benchmark == name]
            if not found:
                raise UsageError(
                    f"{who}: no complete run of {name!r}, which the policy names; evaluate it first: "
                    f"harness eval --model … --bench {name}"
                )
            digest = self._data_digest(name, notes)
            faults = [self._fault(run, digest) for run in found]
            acceptable = [run for run, fault in zip(found, faults, strict=True) if not fault]
            if not acceptable:
                raise UsageError(f"run {found[0].id} ({found[0].model} on {name}) cannot be judged: {faults[0]}")
            chosen[name] = max(acceptable, key=lambda run: run.key)
            require_complete(self._store, chosen[name])
        return Side(chosen)

    def _fault(self, run: Run, digest: str | None) -> str:
        """Why a run cannot be judged; empty where it can."""
        if run.identity["limit"] is not None:
            return f"it is limited to the first {run.identity['limit']} samples; evaluate without --limit"
        version, current = run.identity["benchmark"]["version"], self._benchmark(run.benchmark).info.version
        if version != current:
            return f"it is of version {version} of the benchmark, which is at {current} now; evaluate again"
        profile, wanted = run.identity["benchmark"]["profile"], self._profile(run.benchmark)
        if profile not in (RESULTS, wanted):
            return f"its profile is {profile!r}, and {wanted!r} is configured"
        if digest is not None and run.identity["data_digest"] != digest:
            return f"it is of other data ({run.identity['data_digest'][:12]}) than configured ({digest[:12]})"
        return ""

    def _benchmark(self, name: str) -> Benchmark:
        benchmark: Benchmark = self._catalog.find("benchmark", name).load()
        return benchmark

    def _profile(self, benchmark: str) -> str:
        section = self._settings.benchmarks.get(benchmark)
        return (section and section.profile) or self._benchmark(benchmark).info.profiles[0]

    def _data_digest(self, benchmark: str, notes: list[str]) -> str | None:
        """The digest of the configured data; None where it is not here, which a CI job's need not be.

        Raises:
            DataError: it is here, and cannot be read.
        """
        source = self._settings.source(benchmark)
        if source is None:
            return None
        if source.path is not None and not source.path.exists():
            note = f"the data of {benchmark} is not on this machine: that the runs are of it was not checked"
            if note not in notes:
                notes.append(note)
            return None
        if benchmark not in self._digests:
            self._digests[benchmark] = choose_task(benchmark, self._catalog, self._settings).digest()
        return self._digests[benchmark]

    def _baseline(
        self, rules: GateSettings, instead: str | None, benchmarks: Iterable[str], policy: str, notes: list[str]
    ) -> Side:
        """The baseline's runs; none where nothing is compared, or where it does not exist yet.

        Raises:
            UsageError: the policy compares with a baseline and none is named, or it has no runs.
            UnknownName: there is no such baseline, and that is no first use.
        """
        wanted, text = list(benchmarks), instead or rules.baseline
        if not wanted:
            return Side()
        if text is None:
            raise UsageError(
                f"policy {policy!r} compares with a baseline and names none: add `baseline:` or --baseline"
            )
        try:
            runs = [run for name in ([text] if ":" in text else text.split(",")) for run in self._meant(name)]
        except UnknownVersion as error:
            if instead is not None or not self._never_used(error):
                raise
            notes.append(f"first use: {text} does not exist yet, so nothing is compared with it")
            return Side()
        return self._side(runs, wanted, f"baseline {text}", notes)

    def _never_used(self, error: UnknownVersion) -> bool:
        """Whether what is missing is an alias that nothing ever held, and no misspelt one."""
        used = {move.alias for move in self._checkpoints.history(error.checkpoint)}
        return not (_NUMBER.fullmatch(error.name) or error.name in used or near(error.name, used))

    def baseline_digest(self, policy: str) -> str | None:
        """The digest of the checkpoint that the policy compares with now; None where it names none, or none yet."""
        text = self._settings.gate(policy).baseline
        if text is None or text.partition(":")[0] not in self._catalog.all("model"):
            return None
        try:
            return choose_model(text, self._catalog, self._checkpoints).spec.digest
        except UnknownVersion:
            return None

    def _relative(self, requirement: Requirement, target: Target, comparison: Comparison) -> Finding:
        asked = asked_of(requirement)
        found = comparison.scores.get(target.score)
        if found is None:
            reason = comparison.uncompared.get(target.score) or "there is nothing to measure"
            return Finding(str(target), asked, INCOMPLETE, reason=reason)
        if target.breakdown:
            found = part_of(found.by, target)
        return compared(requirement, target, found)

    def _coverage(self, run: Run) -> float:
        return (run.n - len(self._store.failed(run))) / run.n

    def _uncovered(
        self, rules: GateSettings, targets: Mapping[int, Sequence[Target]], coverage: Mapping[str, float]
    ) -> Iterator[Finding]:
        """Benchmarks with failures, where the policy says nothing of coverage: all samples must be answered."""
        stated = {
            target.benchmark for number, item in enumerate(rules.require) if item.min is not None
            for target in targets[number] if target.score == COVERAGE
        }  # fmt: skip
        for name, value in coverage.items():
            if name not in stated and value < 1:
                reason = 'samples failed; say `{score: "*.coverage", min: …}` if fewer are enough'
                yield Finding(f"{name}.{COVERAGE}", "≥ 1", INCOMPLETE, value, candidate=value, reason=reason)

    def policy_digest(self, policy: str, benchmarks: Iterable[str]) -> str:
        """The version of a policy as the settings have it now: what is asked, and how the benchmarks are scored.

        Args:
            benchmarks: that a verdict is given on.
        """
        rules = self._settings.gate(policy)
        names = sorted(benchmarks)
        sections = {name: self._settings.benchmarks.get(name) for name in names}
        asked = {
            "policy": rules.model_dump(),
            "versions": {name: self._benchmark(name).info.version for name in names},
            "benchmarks": {
                name: section and section.model_dump(include={"profile", "protocol", "metrics", "split"})
                for name, section in sections.items()
            },
        }
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _scores(targets: Iterable[Sequence[Target]], benchmark: str) -> list[str]:
    """The names of a benchmark's scores among targets."""
    return list(dict.fromkeys(item.score for found in targets for item in found if item.benchmark == benchmark))
