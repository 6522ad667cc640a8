"""From an encoded picture to pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from harness.errors import ImageError
from harness.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(ref: ImageRef) -> Image:
    """The whole picture in RGB, as it is stored (no EXIF rotation: reference scores were made without).

    Raises:
        ImageError: it is missing, truncated, no picture, or too large to be one in good faith.
    """
    from PIL import Image as pil

    encoded = ref.read()
    try:
        with pil.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, pil.DecompressionBombError) as error:
        raise ImageError(f"{ref.name}: not a readable picture ({error})") from error
