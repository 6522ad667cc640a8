"""Hyperband, as W&B has it: a trial that does badly beside the others at the same time of its life is stopped.

Li et al., Hyperband (JMLR 18, 2018). A trial's time is the number of values of the metric that it gave. At each of
some times, the bands, the best 1/eta of all trials that came so far go on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from training.sweeps.settings import EarlyTerminate, Goal

LAST: Final = 1_000_000_000
"""No trial gives more values than that."""


def bands(rule: EarlyTerminate) -> list[int]:
    """When trials are judged: after how many values, in order."""
    found = []
    if rule.max_iter is not None:
        time = float(rule.max_iter)
        for _ in range(rule.s or 0):
            time /= rule.eta
            found.append(int(time))
    else:
        time = float(rule.min_iter or 1)
        while time < LAST:
            found.append(int(time))
            time *= rule.eta
    return sorted({time for time in found if time >= 1})


def is_behind(
    values: Sequence[float], all_values: Collection[Sequence[float]], rule: EarlyTerminate, goal: Goal
) -> bool:
    """Whether a trial is to be stopped.

    Args:
        values: those of its metric, in order.
        all_values: those of all trials that gave any, this one's and ended ones' too.
    """
    reached = [band for band in bands(rule) if band <= len(values)]
    if not reached:
        return False
    sign = 1 if goal.goal == "minimize" else -1
    band = reached[-1]
    at_band = sorted(sign * other[band - 1] for other in all_values if len(other) >= band)
    threshold = at_band[int(len(at_band) / rule.eta)]
    own = [sign * value for value in values]
    return (own[band - 1] if rule.strict else min(own)) > threshold
