"""What answers cost in tokens, and what compression left of the pictures' share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness import Measured, MetricInfo, Pair, Trace
from plugins.metrics.means import mean


class Tokens:
    """Tokens used. Where no sample has any, as in a results file, they were not counted, and there is no score.

    visual_tokens, prompt_tokens, generated_tokens: means over the samples of `Usage`'s counts.
    visual_tokens_max: the most visual tokens of a single sample. A maximum has no interval: the largest of the
        samples that were not drawn is not among them.
    tokens_per_patch: the mean over samples of visual_tokens / patches of the picture's grid, whose rows and columns
        are those of the maps of the sample's `Trace`. It equals `kept_fraction` where the model without compression
        spends one token on each patch, and differs where that already merges patches. Samples whose trace has no
        maps, or maps that disagree on the grid, are left out.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {
            "visual_tokens": MetricInfo("tokens", higher_is_better=False),
            "visual_tokens_max": MetricInfo("tokens", higher_is_better=False),
            "tokens_per_patch": MetricInfo("tokens", higher_is_better=False),
            "prompt_tokens": MetricInfo("tokens", higher_is_better=None),
            "generated_tokens": MetricInfo("tokens", higher_is_better=None),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        table = np.fromiter((_counts(pair) for pair in pairs), np.dtype((np.float64, 4)))
        visual, per_patch, prompt, generated = table.T
        if not (visual.any() or prompt.any() or generated.any()):
            return {name: Measured(None) for name in self.info}
        return {
            "visual_tokens": mean(visual),
            "visual_tokens_max": Measured(float(visual.max()) if visual.size else None),
            "tokens_per_patch": mean(per_patch),
            "prompt_tokens": mean(prompt),
            "generated_tokens": mean(generated),
        }


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


def _counts(pair: Pair) -> tuple[float, float, float, float]:
    usage, trace = pair.output.usage, pair.output.trace
    per_patch = math.nan if trace is None else usage.visual_tokens / _patches(trace)
    return usage.visual_tokens, per_patch, usage.prompt_tokens, usage.generated_tokens


def _patches(trace: Trace) -> float:
    """Cells of the grid that all maps share; NaN where there is none."""
    grids = {(len(rows), *{len(row) for row in rows}) for rows in trace.maps.values()}
    if len(grids) != 1:
        return math.nan
    (grid,) = grids
    return math.prod(grid) if len(grid) == 2 and all(grid) else math.nan


def _kept(pair: Pair) -> float:
    usage = pair.output.usage
    return usage.visual_tokens / usage.full_visual_tokens if usage.full_visual_tokens else np.nan


def _factor(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., 2] summed kept fractions, and samples that have one -> [...] factors, NaN where nothing was kept."""
    kept, samples = sums[..., 0], sums[..., 1]
    return np.divide(samples, kept, out=np.full_like(kept, np.nan), where=kept > 0)
