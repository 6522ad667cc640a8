"""Colours of things and of grounds."""

from __future__ import annotations

Rgb = tuple[int, int, int]

COLOR_RGB: dict[str, Rgb] = {
    "red": (214, 36, 40),
    "green": (34, 158, 60),
    "blue": (40, 84, 220),
    "yellow": (246, 222, 44),
    "orange": (244, 130, 22),
    "purple": (132, 50, 184),
    "pink": (248, 142, 192),
    "white": (246, 246, 244),
}
GROUND_RGB: dict[str, Rgb] = {
    "beach": (200, 188, 156),
    "field": (140, 160, 122),
    "street": (168, 142, 134),
    "deck": (158, 138, 114),
    "pool": (146, 170, 182),
}
LIGHT = {"sunny": 108, "cloudy": 58}
"""Brightness of the ground in percent, by weather."""


def shade(color: Rgb, percent: int) -> Rgb:
    """`color` made darker (below 100; 0 is black) or lighter (above 100; 200 is white)."""
    if percent <= 100:
        return color[0] * percent // 100, color[1] * percent // 100, color[2] * percent // 100
    share = percent - 100
    return (
        color[0] + (255 - color[0]) * share // 100,
        color[1] + (255 - color[1]) * share // 100,
        color[2] + (255 - color[2]) * share // 100,
    )
