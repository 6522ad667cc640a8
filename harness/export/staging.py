"""Files that appear whole or not at all: written beside their place, and renamed when all is written."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.errors import StoreError, UsageError


@contextmanager
def staged(*targets: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Files open for writing, one for each target, which takes its place where the block ends well.

    What lies there until then stays as it is. A link is followed.

    Raises:
        UsageError: a target is something that is no file.
        StoreError: one cannot be written; none was changed then.
    """
    places = [target.resolve() for target in targets]
    for target, place in zip(targets, places, strict=True):
        if place.exists() and not place.is_file():
            raise UsageError(f"{target}: is no file that could be replaced; name another one with --out")
    temporary = [place.with_name(f".{uuid.uuid4().hex}.tmp") for place in places]
    try:
        with ExitStack() as stack:
            yield tuple(stack.enter_context(path.open("xb")) for path in temporary)
        for path, place in zip(temporary, places, strict=True):
            path.replace(place)
    except OSError as error:
        raise _unwritable(", ".join(map(str, targets)), error) from error
    finally:
        for path in temporary:
            with suppress(OSError):
                path.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder where it is not there.

    Raises:
        StoreError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(str(folder), error) from error


def _unwritable(where: str, error: OSError) -> StoreError:
    return StoreError(
        f"{where}: cannot be written ({error.strerror or error}); free some space, or name another place with --out"
    )
