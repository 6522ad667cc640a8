"""What comes before what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

Graph: TypeAlias = Mapping[str, Collection[str]]
"""Name -> what must come before it."""


def cycle(graph: Graph) -> list[str]:
    """Names that wait for each other in a ring, each for the next, the first again at the end; empty where none do."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        return ring[::-1]
    return []


def in_order(graph: Graph) -> list[str]:
    """All names, each after what must come before it, otherwise as they are given. There is no cycle."""
    ordered: dict[str, None] = {}
    while len(ordered) < len(graph):
        ready = (
            name for name, before in graph.items() if name not in ordered and all(map(ordered.__contains__, before))
        )
        ordered[next(ready)] = None
    return list(ordered)


def after(graph: Graph, name: str) -> set[str]:
    """The name, and all that comes after it by any way."""
    found = {name}
    for other in in_order(graph):
        if found & set(graph[other]):
            found.add(other)
    return found


def levels(graph: Graph) -> dict[str, int]:
    """Name -> the length of the longest way that leads to it."""
    found: dict[str, int] = {}
    for name in in_order(graph):
        found[name] = max((found[other] + 1 for other in graph[name]), default=0)
    return found
