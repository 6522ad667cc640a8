"""Benchmarks asked of a model that is in memory, such as one that is being trained.

What is asked, how it is answered and how it is scored is what `harness eval` does with the saved checkpoint; only the
answers are not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import PluginError
from harness.plan import ModelChoice, Plan
from harness.protocols import Benchmark, LivePlugin
from harness.runner import LocalEngine, execute
from harness.scorer import parsed
from harness.scoring import score
from harness.types import DataSource, Failure, Output, Pair, Prediction, Sample, Score


def ignore(text: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class LiveEvaluation:
    """What is asked of the model, each time that `scores` is called. The samples are read once, and held.

    Attributes:
        plugin: the model plugin that knows how such a model is asked.
        plans: one a benchmark, of a model that is yet to be named.
        unmet: benchmark -> score -> why it cannot be computed here.
    """

    plugin: LivePlugin
    plans: Sequence[Plan]
    unmet: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(_holding(plan) for plan in self.plans))

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that there will be, unless something fails or there is nothing to measure."""
        return tuple(
            f"{plan.task.name}.{name}"
            for plan in self.plans
            for choice in plan.task.metrics
            for name in choice.scores
            if name not in self.unmet[plan.task.name]
        ) + tuple(f"{plan.task.name}.coverage" for plan in self.plans)

    def scores(self, model: Any, processor: Any, remark: Callable[[str], None] = ignore) -> dict[str, Score]:
        """`benchmark.metric` -> score, `benchmark.coverage` included.

        Args:
            model: in evaluation mode, on its device.
            processor: the model's.
            remark: is told of samples without an answer, and of scores that failed.

        Raises:
            PluginError: the plugin can't ask it.
            Incomplete: the model failed on many batches in a row.
        """
        spec = self.plugin.live(model, processor)
        found: dict[str, Score] = {}
        engine = LocalEngine()  # not closed: the model is not its own, and collecting garbage takes as long as asking
        for plan in self.plans:
            found |= self._benchmark(replace(plan, model=replace(plan.model, spec=spec)), engine, remark)
        return found

    def _benchmark(self, plan: Plan, engine: LocalEngine, remark: Callable[[str], None]) -> dict[str, Score]:
        predictions: list[Prediction] = []
        execute(plan, engine, lambda position: False, predictions.extend)
        outputs = {item.position: item.result for item in predictions if isinstance(item.result, Output)}
        pairs = [
            Pair(sample, parsed(plan.task, sample, outputs[position].text), outputs[position])
            for position, sample in plan.samples()
            if position in outputs
        ]
        name, task, limit = plan.task.name, plan.task, plan.identity["limit"]
        part = f"only the first {limit} samples were evaluated" if limit is not None else ""
        scored = score(pairs, task.metrics, task.protocol, unmet=self.unmet[name], part=part)
        failed = [(item.sample_id, item.result) for item in predictions if isinstance(item.result, Failure)]
        if failed:
            sample, first = failed[0]
            remark(f"{name}: {len(failed)} of {plan.n} samples have no answer, {sample} for one: {first.message}")
        for metric, reason in scored.unscored.items():
            if pairs and metric not in self.unmet[name]:
                remark(f"{name}.{metric}: {reason}")
        coverage = Score(len(pairs) / plan.n, n=plan.n, clusters=plan.n)
        return {f"{name}.{metric}": value for metric, value in scored.scores.items()} | {f"{name}.coverage": coverage}


class _Held:
    """A benchmark whose samples were read before: what is asked often shall not be read as often."""

    def __init__(self, benchmark: Benchmark, samples: Sequence[Sample]) -> None:
        self._benchmark = benchmark
        self._samples = samples

    def samples(self, data: DataSource) -> Iterator[Sample]:
        """Those that were read."""
        return iter(self._samples)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._benchmark, name)


def _holding(plan: Plan) -> Plan:
    if isinstance(plan.task.benchmark, _Held):
        return plan
    held: Any = _Held(plan.task.benchmark, [sample for _, sample in plan.samples()])
    return replace(plan, task=replace(plan.task, benchmark=held))


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A ModelSpec that stands for the model until there is one."""

    fingerprint: str = "live"
    version: str | None = None
    digest: str | None = None

    def preparer(self) -> Any:
        """There is none."""
        raise PluginError("a live evaluation has no model before `scores` is given one")

    def load(self, device: str) -> Any:
        """There is none."""
        raise PluginError("a live evaluation has no model before `scores` is given one")


def unnamed(plugin: str) -> ModelChoice:
    """The model of a plan that is yet to be given one."""
    return ModelChoice(f"{plugin}:live", plugin, "real", Unnamed())
