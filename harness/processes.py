"""Whether a process that once said so is still at work, as far as that can be told from here."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def this_process() -> str:
    """This process, as `is_gone` knows it again: machine, number, and when it began."""
    return f"{platform.node()} {os.getpid()} {_state(os.getpid())[1]}"


def is_gone(process: str) -> bool:
    """Whether a process has certainly ended; False where it runs on another machine or nothing can be told."""
    machine, number, birth = process.rsplit(" ", 2)
    if machine != platform.node() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, but there
    state, began = _state(int(number))
    return state in ("Z", "X") or began != birth


def in_words(process: str) -> str:
    """A process as a person looks for it."""
    machine, number, _ = process.rsplit(" ", 2)
    return f"process {number} on {machine}"


def _state(number: int) -> tuple[str, str]:
    """A process's state and when it began, where the system tells: numbers are given again after a while."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "", "-"
    return fields[0], fields[19]
