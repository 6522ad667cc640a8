"""Benchmarks asked of a model that is in memory, such as one that is being trained.

What is asked, how it is answered and how it is scored is what `harness eval` does with the saved checkpoint; only the
answers are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import PluginError
from harness.plan import ModelChoice, Plan
from harness.protocols import LivePlugin
from harness.runner import LocalEngine, execute
from harness.scorer import parsed
from harness.scoring import score
from harness.types import Output, Pair, Prediction, Score


@dataclass(frozen=True, slots=True)
class LiveEvaluation:
    """What is asked of the model, each time that `scores` is called; the data was read once.

    Attributes:
        plugin: the model plugin that knows how such a model is asked.
        plans: one a benchmark, of a model that is yet to be named.
        unmet: benchmark -> score -> why it cannot be computed here.
    """

    plugin: LivePlugin
    plans: Sequence[Plan]
    unmet: Mapping[str, Mapping[str, str]]

    def scores(self, model: Any, processor: Any) -> dict[str, Score]:
        """`benchmark.metric` -> score, `benchmark.coverage` included.

        Args:
            model: in evaluation mode, on its device.
            processor: the model's.

        Raises:
            PluginError: the plugin can't ask it.
        """
        spec = self.plugin.live(model, processor)
        found: dict[str, Score] = {}
        engine = LocalEngine()
        try:
            for plan in self.plans:
                found |= self._benchmark(replace(plan, model=replace(plan.model, spec=spec)), engine)
        finally:
            engine.close()
        return found

    def _benchmark(self, plan: Plan, engine: LocalEngine) -> dict[str, Score]:
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
        coverage = Score(len(pairs) / plan.n, n=plan.n, clusters=plan.n)
        return {f"{name}.{metric}": value for metric, value in scored.scores.items()} | {f"{name}.coverage": coverage}


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
