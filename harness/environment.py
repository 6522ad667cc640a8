"""What reproducing a run needs to know of this machine and this process. Never a secret."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.installed import versions

if TYPE_CHECKING:
    from harness.host import Catalog
    from harness.types import Json

_WORDS = "key|token|secret|password|passwd|passphrase|credentials?"
_NAME = re.compile(rf"(?:{_WORDS})$", re.IGNORECASE)
_NAMED = re.compile(rf"((?:{_WORDS})[\w-]*[=: ])\S+", re.IGNORECASE)
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|wandb_v\d_\w{20,}|local-[0-9a-f]{40}|xox[abp]-[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)",
    re.DOTALL,
)
"""What is a key or password by its form, wherever it stands."""


def environment(catalog: Catalog) -> dict[str, Json]:
    """Versions, plugins, source revision, hardware and command line."""
    return {
        "command": redact(" ".join(sys.argv)),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "distributions": versions(),
        "plugins": {plugin.name: plugin.origin for plugin in catalog.plugins if not plugin.error},
        "git": _git_revision(),
    }


def redact(text: str) -> str:
    """The text with keys and passwords replaced: those of a known form, and what follows a name of one."""
    return _NAMED.sub(r"\1***", _TOKEN.sub("***", text))


def holds_token(text: str) -> bool:
    """Whether a key or password of a known form stands in the text, such as those of Hugging Face, W&B or GitHub."""
    return _TOKEN.search(text) is not None


def names_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a key or password."""
    return _NAME.search(name) is not None


def _git_revision() -> str | None:
    """The revision of the current folder's repository, with `-dirty` where it has changes; None outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, cwd=Path.cwd())
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
