"""What must never stand in a job file, where it would be stored, logged and sent."""

from __future__ import annotations

import os
import re
from typing import Final

_NAMES: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE)
_VALUES: Final = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|wandb_v\d_\w{20,}|local-[0-9a-f]{40}|xox[abp]-[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@"
)
LENGTH: Final = 8
"""A shorter value of a variable may stand anywhere by chance."""


def names_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _NAMES.search(name) is not None


def looks_secret(text: str) -> bool:
    """Whether a text is, or holds, a key or password: of a known form, or the value of a variable so named here."""
    if _VALUES.search(text):
        return True
    return any(len(value) >= LENGTH and value in text for name, value in os.environ.items() if names_secret(name))
