"""Which W&B server is meant, and whether there is a login for it; asks nobody."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

PUBLIC = "https://api.wandb.ai"


def server() -> str:
    """The server's URL: of WANDB_BASE_URL, else of the SDK's settings file, else the public one."""
    return (os.environ.get("WANDB_BASE_URL") or _configured() or PUBLIC).rstrip("/")


def logged_in() -> bool:
    """Whether there is a login for the server: in WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE or netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(server()).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _configured() -> str | None:
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    parser = configparser.ConfigParser()
    try:
        parser.read(folder / "settings")
    except (OSError, configparser.Error):
        return None
    return parser.get("default", "base_url", fallback=None)
