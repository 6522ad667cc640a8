"""What must never stand in a job file, where it would be stored, logged and sent."""

from __future__ import annotations

import os
import re
from typing import Final

from harness import holds_token, names_secret

_PASSWORD: Final = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE)$", re.IGNORECASE)
PASSWORD_LENGTH: Final = 8
KEY_LENGTH: Final = 16
"""A shorter value of a variable may stand anywhere by chance."""


def looks_secret(text: str) -> bool:
    """Whether a text is, or holds, a key or password: of a known form, or the value of a variable so named here."""
    return holds_token(text) or any(_is_secret(name, value) and value in text for name, value in os.environ.items())


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable's value is told apart from a common word: `CACHE_KEY=training-job` may stand anywhere."""
    if _PASSWORD.search(name):
        return len(value) >= PASSWORD_LENGTH
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return names_secret(name) and len(value) >= KEY_LENGTH and mixed
