"""What answers cost in tokens, and what compression left of the pictures' share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness import Measured, MetricInfo, Pair
from plugins.metrics.means import mean


class Tokens:
    """Means over the samples of `Usage.visual_tokens`, `prompt_tokens` and `generated_tokens`."""

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {
            "visual_tokens": MetricInfo("tokens", higher_is_better=False),
            "prompt_tokens": MetricInfo("tokens", higher_is_better=None),
            "generated_tokens": MetricInfo("tokens", higher_is_better=None),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        return {name: mean(getattr(pair.output.usage, name) for pair in pairs) for name in self.info}


class Compression:
    """Visual tokens against those of the same pictures without compression.

    kept_fraction: the mean over samples of visual_tokens / full_visual_tokens. Samples without any full visual
        tokens (no picture, or a model that does not count them) are left out.
    compression_factor: the inverse of that mean; undefined where nothing was kept.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {
            "kept_fraction": MetricInfo("fraction", higher_is_better=False),
            "compression_factor": MetricInfo("factor", higher_is_better=True),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        kept = mean(_kept(pair) for pair in pairs)
        per_sample = np.asarray(kept.per_sample)
        statistics = np.stack([np.nan_to_num(per_sample), ~np.isnan(per_sample)], axis=-1).astype(np.float64)
        factor = 1 / kept.value if kept.value else None
        return {
            "kept_fraction": kept,
            "compression_factor": Measured(factor, statistics=statistics, reduce=_factor),
        }


def _kept(pair: Pair) -> float:
    usage = pair.output.usage
    return usage.visual_tokens / usage.full_visual_tokens if usage.full_visual_tokens else np.nan


def _factor(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., 2] summed kept fractions, and samples that have one -> [...] factors, NaN where nothing was kept."""
    kept, samples = sums[..., 0], sums[..., 1]
    return np.divide(samples, kept, out=np.full_like(kept, np.nan), where=kept > 0)
