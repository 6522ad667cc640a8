"""Filters and orders as queries for runs send them: MongoDB's operators over a run's fields, config and summary."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

MISSING = object()


def type_order(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def equal(value: Any, wanted: Any) -> bool:
    """Equal as MongoDB has it: a list also equals each of its items, and what is missing equals null."""
    if value is MISSING:
        return wanted is None
    return bool(value == wanted) or (isinstance(value, list) and wanted in value)


def _compares(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: (
        value is not MISSING and type_order(value) == type_order(wanted) and test(value, wanted)
    )


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": equal,
    "$ne": lambda value, wanted: not equal(value, wanted),
    "$in": lambda value, wanted: any(equal(value, item) for item in wanted),
    "$nin": lambda value, wanted: not any(equal(value, item) for item in wanted),
    "$gt": _compares(lambda value, wanted: value > wanted),
    "$gte": _compares(lambda value, wanted: value >= wanted),
    "$lt": _compares(lambda value, wanted: value < wanted),
    "$lte": _compares(lambda value, wanted: value <= wanted),
    "$exists": lambda value, wanted: (value is not MISSING) == wanted,
    "$regex": lambda value, wanted: isinstance(value, str) and re.search(wanted, value) is not None,
    "$not": lambda value, wanted: not holds(value, wanted),
}


def holds(value: Any, condition: Any) -> bool:
    if isinstance(condition, dict) and any(key.startswith("$") for key in condition):
        return all(OPERATORS[key](value, wanted) for key, wanted in condition.items())
    return equal(value, condition)


def matches(fields: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Whether the fields (`state`, `config`, `summary_metrics`, …) pass; an unmodelled operator is a KeyError."""
    for key, condition in filters.items():
        if key == "$and":
            held = all(matches(fields, item) for item in condition)
        elif key == "$or":
            held = not condition or any(matches(fields, item) for item in condition)
        elif key == "$not":
            held = not matches(fields, condition)
        else:
            held = holds(lookup(fields, key), condition)
        if not held:
            return False
    return True


def lookup(fields: dict[str, Any], path: str) -> Any:
    """`config.optimizer.lr`; the longest name that fits is taken first, because a name may hold dots."""
    root, _, rest = path.partition(".")
    if root not in fields:
        raise KeyError(f"no filter on {path!r} is modelled")
    value = fields[root]
    if root == "config" and rest.endswith(".value"):
        rest = rest.removesuffix(".value")
    return dig(value, rest) if rest else value


def dig(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return MISSING
    if path in value:
        return value[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (name := ".".join(parts[:length])) in value:
            return dig(value[name], ".".join(parts[length:]))
    return MISSING


def ordered(runs: list[Any], order: str | None) -> list[Any]:
    """Sorted by `+created_at`, `-summary_metrics.loss`, `-config.lr.value` …; what lacks the field comes last."""
    if not order:
        return runs
    key = order.lstrip("+-")
    key = {"createdAt": "created_at", "heartbeatAt": "heartbeat_at"}.get(key, key)
    found = {run: lookup(run.filter_fields(), key) for run in runs}
    having = [run for run in runs if found[run] is not MISSING and found[run] is not None]
    having.sort(key=lambda run: found[run], reverse=order.startswith("-"))
    return having + [run for run in runs if run not in having]


def parsed(filters: str | None) -> dict[str, Any]:
    return json.loads(filters) if filters else {}
