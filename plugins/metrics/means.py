"""Scores that are a mean over samples, and their breakdowns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness import Measured

Labels = Mapping[str, Sequence[str | None]]


def mean(values: Iterable[float], labels: Labels | None = None) -> Measured:
    """The mean of [n] values, one a pair, over those that are not NaN; None where all are."""
    per_sample = np.fromiter(values, np.float64)
    known = per_sample[~np.isnan(per_sample)]
    return Measured(float(known.mean()) if known.size else None, per_sample, labels=labels or {})
