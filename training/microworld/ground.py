"""The five grounds: sand, grass, cobbles, planks and tiles, each with a grain of its own in every picture."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageDraw

from .dice import Dice
from .palette import GROUND_RGB, LIGHT, Rgb, shade


class _Brush:
    """A pen, its chance, and the ground's colour under the light of the day."""

    def __init__(self, canvas: Image.Image, dice: Dice, color: Rgb) -> None:
        self.pen = ImageDraw.Draw(canvas)
        self.dice = dice
        self.color = color
        self.size = canvas.width

    def tone(self, low: int, high: int | None = None) -> Rgb:
        """The ground's colour at `low` percent, or anywhere up to `high`."""
        return shade(self.color, low if high is None else self.dice.between(low, high))


def draw_ground(location: str, weather: str, texture: int, size: int) -> Image.Image:
    """A ground of `size` x `size` drawn pixels; `texture` seeds its grain."""
    color = shade(GROUND_RGB[location], LIGHT[weather])
    canvas = Image.new("RGB", (size, size), color)
    _GROUNDS[location](_Brush(canvas, Dice(texture, "ground"), color))
    return canvas


def _sand(brush: _Brush) -> None:
    for _ in range(260):
        x, y, r = brush.dice.below(brush.size), brush.dice.below(brush.size), brush.dice.between(2, 5)
        brush.pen.ellipse((x - r, y - r, x + r, y + r), fill=brush.tone(82, 118))


def _grass(brush: _Brush) -> None:
    for _ in range(300):
        x, y, lean = brush.dice.below(brush.size), brush.dice.below(brush.size), brush.dice.between(-8, 8)
        brush.pen.line((x, y, x + lean, y - brush.dice.between(12, 28)), fill=brush.tone(78, 116), width=4)


def _cobbles(brush: _Brush) -> None:
    width, height = 72, 40
    for row, y in enumerate(range(-brush.dice.below(height), brush.size, height)):
        for x in range(-(row % 2) * width // 2 - width, brush.size, width):
            brush.pen.rectangle(
                (x + 3, y + 3, x + width - 3, y + height - 3),
                fill=brush.tone(90, 108),
                outline=brush.tone(74),
                width=3,
            )


def _planks(brush: _Brush) -> None:
    height = 48
    for y in range(-brush.dice.below(height), brush.size, height):
        brush.pen.rectangle((0, y, brush.size, y + height), fill=brush.tone(93, 108))
        brush.pen.line((0, y, brush.size, y), fill=brush.tone(70), width=5)
        vein = y + brush.dice.between(14, 36)
        brush.pen.line((0, vein, brush.size, vein + brush.dice.between(-6, 6)), fill=brush.tone(88), width=3)


def _tiles(brush: _Brush) -> None:
    width = 60
    left, top = brush.dice.below(width), brush.dice.below(width)
    for start in range(0, brush.size + width, width):
        brush.pen.line((start - left, 0, start - left, brush.size), fill=brush.tone(125), width=5)
        brush.pen.line((0, start - top, brush.size, start - top), fill=brush.tone(125), width=5)


_GROUNDS: dict[str, Callable[[_Brush], None]] = {
    "beach": _sand,
    "field": _grass,
    "street": _cobbles,
    "deck": _planks,
    "pool": _tiles,
}
