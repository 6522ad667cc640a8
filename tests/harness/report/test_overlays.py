"""Maps over pictures, against the colours themselves."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from harness.report.charts import RAMP
from harness.report.overlays import OPACITY, bounds, drawn_alone, overlay

GREY = (100, 100, 100)


def test_patches_have_the_colours_of_their_values() -> None:
    drawn = overlay(Image.new("RGB", (8, 4), GREY), [[0.5, math.nan], [1.5, 2.5]])
    assert drawn is not None
    pixels = np.asarray(drawn)
    middle = RAMP[len(RAMP) // 2]
    for (row, column), colour in {(0, 0): RAMP[0], (3, 0): middle, (3, 7): RAMP[-1]}.items():
        wanted = [OPACITY * shade + (1 - OPACITY) * under for shade, under in zip(colour, GREY, strict=True)]
        assert np.abs(pixels[row, column] - wanted).max() <= 1
        assert (pixels[row // 2 * 2, column // 4 * 4] == pixels[row, column]).all()
    assert tuple(pixels[0, 7]) == GREY  # there is no number


def test_whole_numbers_are_written_where_there_is_room() -> None:
    picture = Image.new("RGB", (64, 64), GREY)
    plain, numbered = overlay(picture, [[0.5, 1.5]]), overlay(picture, [[64, 400]])
    assert plain is not None
    assert numbered is not None
    assert len(np.unique(np.asarray(plain).reshape(-1, 3), axis=0)) == 2
    assert len(np.unique(np.asarray(numbered).reshape(-1, 3), axis=0)) > 2
    assert overlay(Image.new("RGB", (8, 8), GREY), [[64, 400]]) is not None


def test_what_is_no_map_is_not_drawn() -> None:
    picture = Image.new("RGB", (8, 8), GREY)
    for rows in ([], [[]], [[1.0], [1.0, 2.0]], [[math.nan]]):
        assert overlay(picture, rows) is None
        assert drawn_alone(rows) is None
    drawn = drawn_alone([[3, 3], [3, 3], [3, 3]])
    assert drawn is not None
    assert drawn.size == (170, 255)
    assert bounds([[1.0, math.nan], [64, 400.0]]) == "1 … 400"
    assert bounds([[math.nan]]) == ""
