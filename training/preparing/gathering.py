"""From records to pictures with their lessons: filtered, without repetitions, and parted into splits by scene."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from harness import ImageError, ImageRef
from training.preparing.fingerprints import Fingerprint, Looks, Take
from training.preparing.sources import BadRecord, Record, Rejects
from training.preparing.writer import Row, Taught
from training.settings import Settings


class Filters(Settings):
    """What is left out, and counted."""

    min_side: int = Field(default=1, ge=1)
    """Pixels of a picture's shorter side, at least."""
    max_side: int | None = Field(default=None, ge=1)
    """Pixels of its longer side, at most."""
    max_prompt: int | None = Field(default=None, ge=1)
    """Characters of a prompt, at most."""
    max_answer: int | None = Field(default=None, ge=1)
    """Characters of an answer, at most; a lesson with a longer one is left out."""

    def fault_of_picture(self, size: tuple[int, int]) -> str | None:
        """Why a picture of this size is left out."""
        if min(size) < self.min_side:
            return "picture smaller than min_side"
        if self.max_side is not None and max(size) > self.max_side:
            return "picture larger than max_side"
        return None

    def fault_of_lesson(self, prompt: str, answers: Sequence[str]) -> str | None:
        """Why a lesson is left out."""
        if self.max_prompt is not None and len(prompt) > self.max_prompt:
            return "prompt longer than max_prompt"
        if self.max_answer is not None and max(map(len, answers)) > self.max_answer:
            return "answer longer than max_answer"
        return None


@dataclass(slots=True)
class Entry:
    """A picture, by its bytes, with its lessons from all sources.

    Attributes:
        label: the source and the picture's name there, for reports.
        scenes: (source, its name for the scene).
    """

    image: ImageRef
    label: str
    fingerprint: Fingerprint
    lessons: list[Taught] = field(default_factory=list)
    scenes: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read.

    Attributes:
        records: source -> records that could be read, before filters.
        dropped: why -> lessons that were left out.
    """

    entries: list[Entry]
    records: Counter[str]
    dropped: Counter[str]


def gather(records: Iterable[Record], rejects: Rejects, filters: Filters, take: Take) -> Gathered:
    """Reads every picture once, filters, and drops what repeats picture, prompt and answers.

    Args:
        records: those of all sources.
        rejects: takes records whose picture cannot be read.
        filters: what is left out.
        take: gives pictures' fingerprints.
    """
    about: dict[str, list[Record]] = {}
    for record in records:
        about.setdefault(record.image.name, []).append(record)
    images = [found[0].image for found in about.values()]
    gathered = Gathered([], Counter(), Counter())
    entries: dict[str, Entry] = {}
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    for found, fingerprint in zip(about.values(), take(images), strict=True):
        if isinstance(fingerprint, ImageError):
            for record in found:
                rejects.add(BadRecord(record.where, "picture", "cannot be read", str(fingerprint)))
            continue
        gathered.records.update(record.source for record in found)
        if (fault := filters.fault_of_picture(fingerprint.size)) is not None:
            gathered.dropped[fault] += len(found)
            continue
        for record in found:
            key = (fingerprint.digest, record.prompt, record.answers)
            fault = filters.fault_of_lesson(record.prompt, record.answers)
            fault = fault or ("duplicate" if key in seen else None)
            if fault is not None:
                gathered.dropped[fault] += 1
                continue
            seen.add(key)
            label = f"{record.source}: {record.image.name.rpartition('/')[2]}"
            entry = entries.setdefault(fingerprint.digest, Entry(record.image, label, fingerprint))
            entry.lessons.append(Taught(record.source, record.group, record.prompt, record.answers))
            if record.group:
                entry.scenes.add((record.source, record.group))
    gathered.entries.extend(entries.values())
    return gathered


def rows_of(entries: Sequence[Entry], alike: float) -> list[Row]:
    """The entries with one group for all that show one scene, by a source's word, by pixels, or by looks."""
    leader = list(range(len(entries)))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for one, other in _together(entries, alike):
        first, second = sorted((find(one), find(other)))
        leader[second] = first
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        own = min((f"{source}/{scene}" for source, scene in entry.scenes), default=entry.fingerprint.digest)
        names[find(place)] = min(names.get(find(place), own), own)
    return [
        Row(entry.image, entry.fingerprint.digest, names[find(place)], tuple(entry.lessons))
        for place, entry in enumerate(entries)
    ]


def _together(entries: Sequence[Entry], alike: float) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, ...], int] = {}
    for place, entry in enumerate(entries):
        for key in (*sorted(entry.scenes), (entry.fingerprint.pixels,)):
            yield first.setdefault(key, place), place
    if alike:
        looks = Looks([entry.fingerprint.look for entry in entries])
        yield from ((one, other) for one, other, _ in looks.like(looks, alike) if one < other)


def part(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """The rows of each split: which one a group falls into depends on the group and the seed alone."""
    splits: dict[str, list[Row]] = {name: [] for name in shares}
    for row in rows:
        splits[split_of(row.group, shares, seed)].append(row)
    return splits


def split_of(group: str, shares: Mapping[str, float], seed: int) -> str:
    """The split of a group: its hash is a number from 0 to 1, of which each split has its share."""
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    left = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for name, share in shares.items():
        if left < share:
            return name
        left -= share
    return name
