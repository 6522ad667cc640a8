"""A job that another process is at already."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

ELSEWHERE: Final = "this very training is under way in another process"
"""What `harness train` says, and ends as incomplete, where another process carries out the same."""


class Elsewhere(Exception):
    """Another process is at what a job is to do."""


def is_elsewhere(log: Path, start: int) -> bool:
    """Whether a job says that another process is at it.

    Args:
        start: where its output begins, in bytes; what is before was another attempt's.
    """
    with suppress(OSError), log.open("rb") as file:
        file.seek(start)
        return ELSEWHERE.encode() in file.read()
    return False
