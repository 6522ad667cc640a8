"""Maps of traces as pictures: laid over what the model was shown, or by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.report.charts import RAMP
from harness.stats import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

OPACITY = 0.55
"""How much of the picture a map over it hides."""
LEGIBLE = 22
"""Pixels of a patch's shorter side from which on its number is written into it, where all are whole."""
ALONE = 256
"""Longest side of a map that is drawn by itself, in pixels."""


def overlay(picture: Image, rows: Sequence[Sequence[float]]) -> Image | None:
    """The picture under the map; None where that is ragged, empty or has no number.

    Patches without a number stay as they are. Whole numbers, such as budgets, are written into patches that are large
    enough.

    Args:
        picture: RGB.
        rows: the map's patches; their grid is stretched over the picture.
    """
    grid = _grid(rows)
    if grid is None:
        return None
    from PIL import Image as pil

    colours, known = _coloured(grid)
    size = picture.size
    shades = pil.fromarray(colours, "RGB").resize(size, pil.Resampling.NEAREST)
    mask = pil.fromarray((known * round(255 * OPACITY)).astype(np.uint8), "L").resize(size, pil.Resampling.NEAREST)
    drawn = picture.copy()
    drawn.paste(shades, mask=mask)
    _write_numbers(drawn, grid)
    return drawn


def drawn_alone(rows: Sequence[Sequence[float]]) -> Image | None:
    """The map by itself; None as for `overlay`."""
    grid = _grid(rows)
    if grid is None:
        return None
    from PIL import Image as pil

    high, wide = grid.shape
    scale = max(1, ALONE // max(high, wide))
    return pil.fromarray(_coloured(grid)[0], "RGB").resize((wide * scale, high * scale), pil.Resampling.NEAREST)


def bounds(rows: Sequence[Sequence[float]]) -> str:
    """From which to which number the map goes."""
    values = [value for row in rows for value in row if math.isfinite(value)]
    return f"{min(values):.4g} … {max(values):.4g}" if values else ""


def _grid(rows: Sequence[Sequence[float]]) -> FloatArray | None:
    widths = {len(row) for row in rows}
    if len(widths) != 1 or 0 in widths:
        return None
    grid = np.array(rows, dtype=np.float64)
    return grid if np.isfinite(grid).any() else None


def _coloured(grid: FloatArray) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], FloatArray]:
    """[rows, cols, 3] the patches' colours, from the least to the greatest value; and 1 where a patch has a number."""
    known = np.isfinite(grid)
    low, high = grid[known].min(), grid[known].max()
    share = (np.where(known, grid, low) - low) / ((high - low) or 1.0)
    stops = np.linspace(0, 1, len(RAMP))
    ramp = np.array(RAMP, dtype=np.float64)
    colours = np.stack([np.interp(share, stops, ramp[:, channel]) for channel in range(3)], axis=-1)
    return np.rint(colours).astype(np.uint8), known.astype(np.float64)


def _write_numbers(picture: Image, grid: FloatArray) -> None:
    high, wide = grid.shape
    tall, broad = picture.height / high, picture.width / wide
    whole = np.isfinite(grid).all() and bool((grid == np.rint(grid)).all())
    if not whole or min(tall, broad) < LEGIBLE:
        return
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    for row, column in np.ndindex(high, wide):
        place = (broad * (column + 0.5), tall * (row + 0.5))
        draw.text(place, f"{int(grid[row, column])}", "white", anchor="mm", stroke_width=1, stroke_fill="black")
