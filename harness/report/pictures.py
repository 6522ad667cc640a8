"""Thumbnails of the samples' pictures, read from where the benchmark's data lies, within a number of bytes."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.encoding import DataDigest, encode_sample
from harness.errors import DataError, HarnessError
from harness.images import decode
from harness.plan import Task
from harness.report.text import plural
from harness.report.traces import spread
from harness.types import ImageRef

RUNGS = ((224, 70), (192, 64), (160, 58), (128, 50), (96, 42), (72, 36), (56, 30))
"""Longest side in pixels and WebP quality, from the best on."""
PROBES = 24
"""Pictures that are tried to see how large the others will be."""
SAFETY = 1.1
"""How much larger the others may be than these."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Thumbnails of a table's rows.

    Attributes:
        thumbnails: distinct pictures, WebP as base64.
        of: row -> numbers of its thumbnails; rows without any are left out.
        remark: what a reader must know: what is missing, and why; empty where nothing is.
    """

    thumbnails: list[str]
    of: dict[int, list[int]]
    remark: str = ""


def find_pictures(task: Task, data_digest: str, places: Mapping[int, int]) -> dict[int, tuple[ImageRef, ...]]:
    """The pictures of a table's rows.

    Args:
        places: place in the benchmark's order -> row.

    Raises:
        DataError: the data is not there, or is other data than the runs were made of.
    """
    digest = DataDigest()
    found: dict[int, tuple[ImageRef, ...]] = {}
    for position, sample in enumerate(task.samples()):
        digest.add(sample, encode_sample(sample))
        if position in places and sample.images:
            found[places[position]] = sample.images
    if digest.hexdigest() != data_digest:
        raise DataError(f"{task.data} holds other data than the runs were made of")
    return found


def make_pictures(
    images: Mapping[int, Sequence[ImageRef]], budget: int, advance: Callable[[int], None] = lambda done: None
) -> Pictures:
    """Thumbnails of all pictures, each once; smaller ones where that is too much, then fewer, evenly spaced.

    Args:
        images: row -> its pictures.
        budget: bytes that they may take in the page.
    """
    refs = {ref.name: ref for row in images.values() for ref in row}
    names = list(refs)
    if not names:
        return Pictures([], {})
    pool = ThreadPoolExecutor(os.cpu_count())
    with pool:
        side, quality = _rung([refs[name] for name in _few(names)], len(names), budget, pool)
        numbers: dict[str, int] = {}
        thumbnails: list[str] = []
        unreadable = 0
        order = [names[place] for place in spread(range(len(names)))]
        for name, encoded in zip(order, pool.map(lambda name: _try(refs[name], side, quality), order), strict=True):
            advance(1)
            if encoded is None:
                unreadable += 1
            elif len(encoded) <= budget:
                budget -= len(encoded) + 3  # quotes and a comma
                numbers[name] = len(thumbnails)
                thumbnails.append(encoded)
    of = {row: [numbers[ref.name] for ref in refs if ref.name in numbers] for row, refs in images.items()}
    left_out = len(names) - len(numbers) - unreadable
    return Pictures(thumbnails, {row: shown for row, shown in of.items() if shown}, _remark(side, unreadable, left_out))


def without_pictures(reason: Exception | str) -> Pictures:
    """None, and why."""
    known = isinstance(reason, HarnessError | str)
    return Pictures([], {}, f"Without pictures: {reason if known else type(reason).__name__}.")


def _rung(probes: Iterable[ImageRef], count: int, budget: int, pool: ThreadPoolExecutor) -> tuple[int, int]:
    """The best rung at which so many pictures fit, the lowest if none is."""
    readable = [ref for ref in probes if _try(ref, *RUNGS[-1]) is not None]
    for side, quality in RUNGS:
        sizes = [len(encoded) + 3 for encoded in pool.map(lambda ref: _try(ref, side, quality), readable) if encoded]  # noqa: B023
        if not sizes or SAFETY * count * sum(sizes) / len(sizes) <= budget:
            return side, quality
    return RUNGS[-1]


def _few(names: Sequence[str]) -> list[str]:
    step = max(1, len(names) // PROBES)
    return list(names[::step][:PROBES])


def _try(ref: ImageRef, side: int, quality: int) -> str | None:
    """A thumbnail as base64; None where the picture cannot be read."""
    try:
        image = decode(ref)
    except Exception:  # noqa: BLE001 - where a picture lies is a plugin's to know, and this one is not there
        return None
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=3)
    return base64.b64encode(buffer.getvalue()).decode()


def _remark(side: int, unreadable: int, left_out: int) -> str:
    parts = []
    if unreadable:
        parts.append(f"{plural(unreadable, 'picture')} could not be read.")
    if side < RUNGS[0][0]:
        parts.append(f"Thumbnails are {side} pixels wide to keep the page small.")
    if left_out:
        parts.append(f"{plural(left_out, 'picture')} were left out to keep the page small.")
    return " ".join(parts)
