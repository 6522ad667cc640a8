"""What reproducing a run needs to know of this machine and this process. Never a secret."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.host import Catalog
    from harness.types import Json

_SECRET = re.compile(r"((?:key|token|secret|password)[\w-]*[=: ])\S+", re.IGNORECASE)


def environment(catalog: Catalog) -> dict[str, Json]:
    """Versions, plugins, source revision, hardware and command line."""
    return {
        "command": redact(" ".join(sys.argv)),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "distributions": dict(_distributions(tuple(sys.path))),
        "plugins": {plugin.name: plugin.origin for plugin in catalog.plugins if not plugin.error},
        "git": _git_revision(),
    }


def redact(text: str) -> str:
    """The text with the values of what looks like a key or password replaced."""
    return _SECRET.sub(r"\1***", text)


@cache
def _distributions(path: tuple[str, ...]) -> dict[str, str]:
    """The versions of what can be imported from a path, by name. Hundreds of files: read once in a process."""
    found = [item.metadata for item in metadata.distributions(path=[*path])]
    return dict(sorted((item["Name"], item["Version"]) for item in found))


def _git_revision() -> str | None:
    """The revision of the current folder's repository, with `-dirty` where it has changes; None outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, cwd=Path.cwd())
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
