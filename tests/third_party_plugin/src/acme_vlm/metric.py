"""Metrics, good and bad."""

from collections.abc import Iterable, Mapping

import numpy as np

from harness import CheckResult, Measured, MetricInfo, Pair


class Exact:
    info: Mapping[str, MetricInfo] = {
        "exact": MetricInfo("fraction", higher_is_better=True),
        "exact_words": MetricInfo("fraction", higher_is_better=True, corpus=True),
    }

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        change = str.lower if protocol == "lower" else str
        right = [float(change(pair.answer) in map(change, pair.sample.references)) for pair in pairs]
        values = self.weight * np.array(right)
        statistics = np.stack([values, np.ones(len(values))], axis=1)
        topics = [pair.sample.facts["topic"] for pair in pairs]
        return {
            "exact": Measured(float(values.mean()), per_sample=values, labels={"topic": topics}),
            "exact_words": Measured(
                float(values.mean()), statistics=statistics, reduce=lambda sums: sums[..., 0] / sums[..., 1]
            ),
        }


class Nothing:
    info: Mapping[str, MetricInfo] = {"acme-nothing": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        return {"acme-nothing": Measured(None)}


class NotANumber:
    info: Mapping[str, MetricInfo] = {"acme-nan": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        return {"acme-nan": Measured(float("nan"))}


class Raises:
    info: Mapping[str, MetricInfo] = {"acme-raises": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        raise ZeroDivisionError("nothing to divide by")


class Needy:
    info: Mapping[str, MetricInfo] = {
        "acme-needy": MetricInfo("fraction", higher_is_better=True, needs=("acme-absent",))
    }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        raise AssertionError("must not be reached where its needs are not met")


class Absent:
    def run(self) -> CheckResult:
        return CheckResult(False, "not on this machine", "get one from acme.example")
