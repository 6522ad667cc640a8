"""Keeps answers even: what a question may be answered with is given about equally often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Balance:
    """How often each answer was given to each topic; of several proposals, the rarest answer's is taken."""

    def __init__(self) -> None:
        self._seen: dict[str, Counter[str]] = {}

    def take(self, proposals: Sequence[tuple[str, str]]) -> int:
        """The place of the (topic, answer) given least often so far, the first of equals; it then counts as given."""
        counts = [self._seen.get(topic, Counter())[answer] for topic, answer in proposals]
        place = counts.index(min(counts))
        topic, answer = proposals[place]
        self._seen.setdefault(topic, Counter())[answer] += 1
        return place
