"""The outlines of all kinds of things."""

from __future__ import annotations

from .scene import Thing

Point = tuple[int, int]

# fmt: off
_CIRCLE: tuple[Point, ...] = (
    (50, 0), (69, 4), (85, 15), (96, 31), (100, 50), (96, 69), (85, 85), (69, 96),
    (50, 100), (31, 96), (15, 85), (4, 69), (0, 50), (4, 31), (15, 15), (31, 4),
)
OUTLINES: dict[str, tuple[Point, ...]] = {
    "square": ((4, 4), (96, 4), (96, 96), (4, 96)),
    "circle": _CIRCLE,
    "triangle": ((50, 2), (99, 97), (1, 97)),
    "diamond": ((50, 0), (92, 50), (50, 100), (8, 50)),
    "cross": (
        (32, 0), (68, 0), (68, 32), (100, 32), (100, 68), (68, 68),
        (68, 100), (32, 100), (32, 68), (0, 68), (0, 32), (32, 32),
    ),
    "ring": _CIRCLE,
    "star": (
        (50, 0), (62, 36), (100, 38), (70, 61), (81, 98), (50, 77), (19, 98), (30, 61), (0, 38), (38, 36),
    ),
    "heart": (
        (50, 22), (60, 8), (76, 2), (92, 10), (100, 28), (96, 48), (82, 68), (50, 99),
        (18, 68), (4, 48), (0, 28), (8, 10), (24, 2), (40, 8),
    ),
    "moon": (
        (62, 0), (42, 4), (22, 16), (10, 34), (8, 54), (14, 74), (30, 90), (50, 99), (72, 98), (92, 86),
        (72, 86), (54, 76), (42, 60), (40, 42), (46, 22),
    ),
    "arrow": ((54, 4), (100, 50), (54, 96), (54, 68), (0, 68), (0, 32), (54, 32)),
}
"""Corners in hundredths of the box, clockwise. A circle is a 16-gon here, and so is a ring, without its hole."""
# fmt: on


def outline(thing: Thing) -> list[Point]:
    """The polygon around a thing, in pixels of the picture."""
    corners = OUTLINES[thing.shape]
    return [(thing.x + x * thing.extent // 100, thing.y + y * thing.extent // 100) for x, y in corners]
