"""What came of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness import Json, Session, Work, WorkItem

KEPT: Final = ("value", "low", "high", "stderr", "n", "scores", "checkpoint", "runs", "seconds", "stopped")


def document(work: Work, session: Session) -> dict[str, Json]:
    """The sweep with all its trials, best first; then those that wait or run, then those that failed.

    A trial's `value` is the metric; `low` and `high` bound its 95% interval, where what gave it has one.
    """
    metric = work.document["metric"]
    items = session.work.items(work)
    trials = [_trial(item, work.document["parameters"]) for item in _ranked(items, metric)]
    best = next((trial for trial in trials if trial["value"] is not None), None)
    counts = session.work.counts(work)
    return {
        "sweep": work.name,
        "name": work.document["name"],
        "method": work.document["method"],
        "metric": metric,
        "created": work.created,
        "counts": {"all": len(items), **counts},
        "best": best,
        "trials": trials,
    }


def _ranked(items: list[WorkItem], metric: Mapping[str, Any] | None) -> list[WorkItem]:
    sign = -1 if metric is not None and metric["goal"] == "maximize" else 1
    order = {"done": 0, "running": 1, "waiting": 2, "cancelled": 3, "failed": 4}

    def rank(item: WorkItem) -> tuple[int, float, int]:
        value = _value(item)
        return order[item.status], 0.0 if value is None else sign * value, item.key

    return sorted(items, key=rank)


def _value(item: WorkItem) -> float | None:
    """The metric; that of a trial that failed is none."""
    value: float | None = None if item.result is None or item.status != "done" else item.result.get("value")
    return value


def _trial(item: WorkItem, names: Sequence[str]) -> dict[str, Json]:
    result = item.result or {}
    kept = {part: result[part] for part in KEPT if part in result and part != "value"}
    return {
        "trial": item.name,
        "status": item.status,
        "value": _value(item),
        "parameters": {name: item.document["parameters"][name] for name in names},
        "attempts": item.attempt,
        "reason": item.reason if item.status != "done" else None,
        **kept,
    }
