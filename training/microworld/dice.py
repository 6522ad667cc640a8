"""The world's only source of chance: one stream per purpose, the same on every machine and Python version."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of choices that depends on nothing but the names it was made from.

    Only `random.Random.random` is promised to keep its sequence between Python versions, so every
    choice here is drawn from it; `randrange`, `choice` and `shuffle` carry no such promise.
    """

    def __init__(self, *names: str | int) -> None:
        digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:16], "big"))

    def below(self, limit: int) -> int:
        """An integer in [0, limit)."""
        return int(self._random.random() * limit)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 cases."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, each equally likely."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[tuple[T, int]]) -> T:
        """One of `items` = (item, integer weight), in proportion to the weights."""
        remaining = self.below(sum(weight for _, weight in items))
        for item, weight in items:
            remaining -= weight
            if remaining < 0:
                return item
        raise ValueError("weighted() needs at least one item of positive weight")

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different places of `items`, in random order."""
        pool = list(items)
        return [pool.pop(self.below(len(pool))) for _ in range(min(count, len(pool)))]
