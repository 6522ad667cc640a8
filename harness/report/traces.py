"""Maps of traces, small enough to lie in a page: a byte a patch, from the map's least value to its greatest."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.text import short
from harness.stats import FloatArray
from harness.types import Json, Trace

STEPS = 254
"""What the greatest value becomes."""
HOLE = 255
"""A patch without a number."""


@dataclass(frozen=True, slots=True)
class PackedTraces:
    """Traces of the rows of a table.

    Attributes:
        layouts: distinct lists of a trace's maps: name, rows, columns.
        packed: row -> number of its layout, least and greatest value a map, and all maps' patches as one base64 text
            of zlib's; and the scalars.
        total: how many there were.
    """

    layouts: list[list[tuple[str, int, int]]]
    packed: dict[int, list[Json]]
    total: int


def pack_traces(traces: Mapping[int, Trace], budget: int) -> tuple[PackedTraces, int]:
    """As many traces, evenly spaced, as fit into a number of bytes.

    Returns:
        The traces, and the bytes that are left.
    """
    layouts: dict[tuple[tuple[str, int, int], ...], int] = {}
    packed: dict[int, list[Json]] = {}
    rows = list(traces)
    for row in spread(rows):
        item = _pack(traces[row], layouts)
        size = len(str(item)) + len(str(row))
        if size > budget:
            break
        budget -= size
        packed[row] = item
    return PackedTraces([list(layout) for layout in layouts], packed, len(rows)), budget


def spread(rows: Sequence[int]) -> Iterator[int]:
    """All rows, in an order whose every beginning is about evenly spaced: halves, quarters, eighths …"""
    step = 1 << max(len(rows) - 1, 0).bit_length()
    seen = step
    yield from rows[:1]
    while seen > 1:
        half = seen // 2
        yield from (rows[place] for place in range(half, len(rows), seen))
        seen = half


def _pack(trace: Trace, layouts: dict[tuple[tuple[str, int, int], ...], int]) -> list[Json]:
    grids = {name: _grid(rows) for name, rows in trace.maps.items()}
    layout = tuple((name, *grid.shape) for name, grid in grids.items())
    number = layouts.setdefault(layout, len(layouts))
    packed = [_levels(grid) for grid in grids.values()]
    patches = b"".join(levels for _, levels in packed)
    scalars = {name: short(value) for name, value in trace.scalars.items()}
    bounds = [bounds for bounds, _ in packed]
    return [number, bounds, base64.b64encode(zlib.compress(patches, 9)).decode() if patches else "", scalars]


def _grid(rows: Sequence[Sequence[float]]) -> FloatArray:
    """A map as an array; without any patches where its rows are of several lengths."""
    if len({len(row) for row in rows}) != 1:
        return np.zeros((0, 0))
    return np.array(rows, dtype=np.float64)


def _levels(grid: FloatArray) -> tuple[tuple[float | None, float | None], bytes]:
    """The least and the greatest number of a map, and its patches as bytes."""
    known = np.isfinite(grid)
    if not known.any():
        return (None, None), bytes([HOLE]) * grid.size
    low, high = grid[known].min(), grid[known].max()
    scaled = (np.where(known, grid, low) - low) / ((high - low) or 1.0)
    levels = np.where(known, np.rint(scaled * STEPS), HOLE)
    return (short(low), short(high)), levels.astype(np.uint8).tobytes()
