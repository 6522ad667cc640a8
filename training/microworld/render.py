"""A scene as a picture: drawn with Pillow at four times its size, then reduced by whole boxes, in integers."""

from __future__ import annotations

import io

from PIL import Image, ImageChops, ImageDraw

from .ground import draw_ground
from .outlines import OUTLINES
from .palette import COLOR_RGB, Rgb, shade
from .scene import SIDE, Scene, Thing

SCALE = 4
"""Each pixel of the picture is the mean of SCALE x SCALE drawn ones."""

_HOLE = 27  # a ring's hole: percent of the box from its border
_RIM = 4  # width of the dark rim, in drawn pixels
_GLASS_RIM = 13  # width of the rim and the clear border of glass
_INK = 46  # brightness of a pattern, in percent of the thing's colour


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene: RGB, SIDE x SIDE."""
    canvas = draw_ground(scene.location, scene.weather, scene.texture, SIDE * SCALE)
    for thing in scene.things:
        _draw_thing(canvas, thing)
    return canvas.reduce(SCALE)


def encode(picture: Image.Image) -> bytes:
    """JPEG bytes at quality 95 without chroma subsampling, so that small details keep their colour."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _draw_thing(canvas: Image.Image, thing: Thing) -> None:
    size = thing.extent * SCALE
    color = COLOR_RGB[thing.color]
    body = _mask(thing.shape, size, 0)
    inside = _mask(thing.shape, size, _RIM)
    at = (thing.x * SCALE, thing.y * SCALE)
    ground = canvas.crop((*at, at[0] + size, at[1] + size))
    canvas.paste(shade(color, 45), at, body)
    if thing.material == "glass":
        # See-through: the ground shows inside a broad border of the full colour.
        canvas.paste(color, at, inside)
        tinted = Image.blend(ground, Image.new("RGB", (size, size), color), 0.42)
        canvas.paste(tinted, at, _mask(thing.shape, size, _GLASS_RIM))
    else:
        canvas.paste(_surface(thing.material, color, size), at, inside)
    ink = ImageChops.multiply(_pattern(thing.pattern, size), inside)
    canvas.paste(shade(color, _INK), at, ink)


def _mask(shape: str, size: int, inset: int) -> Image.Image:
    """White where the shape is, shrunk by `inset` drawn pixels on every side."""
    mask = Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    span = size - 1 - 2 * inset
    if shape in ("circle", "ring"):
        pen.ellipse((inset, inset, inset + span, inset + span), fill=255)
    else:
        pen.polygon([(inset + x * span // 100, inset + y * span // 100) for x, y in OUTLINES[shape]], fill=255)
    if shape == "ring":
        hole = size * _HOLE // 100 - inset
        pen.ellipse((hole, hole, size - 1 - hole, size - 1 - hole), fill=0)
    return mask


def _surface(material: str, color: Rgb, size: int) -> Image.Image:
    """Rubber is flat; metal shines: light above, dark below, with a bright streak."""
    surface = Image.new("RGB", (size, size), color)
    if material == "metal":
        pen = ImageDraw.Draw(surface)
        for row in range(size):
            pen.line((0, row, size, row), fill=shade(color, 170 - 125 * row // size))
        pen.line((size // 8, size * 5 // 8, size * 5 // 8, size // 8), fill=shade(color, 190), width=max(4, size // 9))
    return surface


def _pattern(pattern: str, size: int) -> Image.Image:
    """White where the pattern's ink lies; its period is the same on small and large things."""
    ink = Image.new("L", (size, size))
    pen = ImageDraw.Draw(ink)
    match pattern:
        case "striped":
            for start in range(-size, size, 20):
                pen.line((start, size, start + size, 0), fill=255, width=7)
        case "dotted":
            for row, y in enumerate(range(8, size, 16)):
                for x in range(8 + 8 * (row % 2), size, 16):
                    pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=255)
        case "checked":
            for row, y in enumerate(range(0, size, 14)):
                for x in range(14 * (row % 2), size, 28):
                    pen.rectangle((x, y, x + 13, y + 13), fill=255)
    return ink
