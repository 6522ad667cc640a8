"""Which pictures are the same: by their bytes, by their pixels, or, encoded anew or resized, by what they look like.

A look is a thumbnail of 16×16 cells in colour, each colour less its mean, divided by the standard deviation of all:
size, encoding, brightness and tint hardly change it. Two pictures are alike where the root mean square of their looks'
difference is at most `alike`; the correlation of the two looks is then 1 - alike² / 2 or more. On drawings, pages of
text and photographs, JPEG of a quality down to 40 and half or 1.5 times the size come to 0.28 at most, and the nearest
two different pictures to 0.43. What was cropped by a twentieth, mirrored or robbed of its colours is not found, nor a
drawing of a few thin lines surely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness import ImageError, ImageRef, decode

CELLS = 16
FLAT = 2.0
"""A thumbnail whose standard deviation is smaller, of 255, is of one colour, and could be of anything."""
WORKERS = 8
AT_ONCE = 2048
ROWS = 256
"""Of the table of distances that are computed together."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a picture from others.

    Attributes:
        digest: sha256 of the encoded picture.
        pixels: sha256 of its size and pixels in RGB.
        size: width and height.
        look: [768] in float16; None where the picture is of one colour.
    """

    digest: str
    pixels: str
    size: tuple[int, int]
    look: NDArray[np.float16] | None


Take: TypeAlias = Callable[[Sequence[ImageRef]], Iterable[Fingerprint | ImageError]]
"""Gives the fingerprints of pictures in their order, or why there is none."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An encoded picture that was read once."""

    name: str
    encoded: bytes

    def read(self) -> bytes:
        return self.encoded


def take(image: ImageRef) -> Fingerprint:
    """The fingerprint of a picture.

    Raises:
        ImageError: it is not there, or not a readable picture.
    """
    encoded = image.read()
    picture = decode(_Read(image.name, encoded))
    pixels = hashlib.sha256(f"{picture.size}".encode())
    pixels.update(picture.tobytes())
    return Fingerprint(hashlib.sha256(encoded).hexdigest(), pixels.hexdigest(), picture.size, look(picture))


def look(picture: Image.Image) -> NDArray[np.float16] | None:
    """[768] what the picture looks like: mean 0, standard deviation 1. None where it is of one colour."""
    cells = np.asarray(picture.resize((CELLS, CELLS), Image.Resampling.BOX), dtype=np.float32).reshape(-1, 3)
    cells = cells - cells.mean(0)
    deviation = float(cells.std())
    return None if deviation < FLAT else (cells / deviation).reshape(-1).astype(np.float16)


def take_all(images: Sequence[ImageRef]) -> Iterator[Fingerprint | ImageError]:
    """The fingerprints of pictures in their order, or why there is none; several threads decode."""
    waiting = iter(images)
    with ThreadPoolExecutor(WORKERS) as pool:
        while some := list(islice(waiting, AT_ONCE)):
            yield from pool.map(_attempt, some)


def _attempt(image: ImageRef) -> Fingerprint | ImageError:
    try:
        return take(image)
    except ImageError as error:
        return error


class Looks:
    """Looks among which like ones are found.

    Candidates come from 4×4 cells, whose mean square difference is never larger than that of the finer ones (Jensen),
    so none is missed; all are compared with all, by products of matrices: 10⁸ pairs a second on one core.
    """

    def __init__(self, looks: Sequence[NDArray[np.float16] | None]) -> None:
        self.places = [place for place, found in enumerate(looks) if found is not None]
        kept = [found for found in looks if found is not None]
        self.looks = np.stack(kept) if kept else np.empty((0, CELLS * CELLS * 3), np.float16)
        self.coarse = _coarse(self.looks)

    def like(self, others: Looks, alike: float) -> Iterator[tuple[int, int, float]]:
        """(place among these, place among the others, distance) of all that are `alike` or nearer, in order."""
        squares = np.square(others.coarse).sum(1)
        # More than the rounding of float32, so that no candidate falls through.
        reach = others.coarse.shape[1] * alike**2 * 1.01 + 1e-3
        for start in range(0, len(self.looks), ROWS):
            rows = self.coarse[start : start + ROWS]
            distances = np.square(rows).sum(1)[:, None] + squares - 2 * (rows @ others.coarse.T)
            for row, column in np.argwhere(distances <= reach):
                mine, theirs = start + int(row), int(column)
                difference = self.looks[mine].astype(np.float32) - others.looks[theirs].astype(np.float32)
                distance = float(np.sqrt(np.square(difference).mean()))
                if distance <= alike:
                    yield self.places[mine], others.places[theirs], distance


def _coarse(looks: NDArray[np.float16]) -> NDArray[np.float32]:
    """[n, 768] -> [n, 48]: means of 4×4 cells, a colour each."""
    some = [
        looks[start : start + ROWS].astype(np.float32).reshape(-1, 4, CELLS // 4, 4, CELLS // 4, 3).mean((2, 4))
        for start in range(0, len(looks), ROWS)
    ]
    return np.concatenate([np.empty((0, 48), np.float32), *(part.reshape(-1, 48) for part in some)])
