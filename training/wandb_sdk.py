"""What all who use the SDK of Weights & Biases must agree on: whom it talks to, for whom, and what it keeps to itself.

Nothing here asks anybody, and only `silent` imports the SDK, which takes a second. The plugins have the same of their
own, since neither room knows the other.
"""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

PROJECT: Final = "vlm-harness"
"""Where nobody names another."""
PUBLIC: Final = ("https://api.wandb.ai", "https://api.forge.coreweave.com")
"""Two names of the public server: logins are kept under either, whatever version of the SDK asked for them."""
UNSAID: Final[Mapping[str, Any]] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "program": "harness",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Settings of the SDK that keep to this machine what it would send by itself: the command line, folders, the user's and
the machine's name, the source code and its uncommitted changes, and what the process prints."""
UNSAID_VARIABLES: Final[Mapping[str, str]] = {
    f"WANDB_{name.upper()}": (str(value).lower() if isinstance(value, bool) else value or " ")
    for name, value in UNSAID.items()
    if name != "disable_job_creation"
}
"""The same for processes in which the SDK's own programs run, as variables; jobs of W&B Launch are theirs to make."""


def server() -> str:
    """The server's URL, with no slash at its end: as the SDK finds it, in WANDB_BASE_URL, else its settings files."""
    configured = os.environ.get("WANDB_BASE_URL") or next(filter(None, map(_base_url, _settings_files())), None)
    return (configured or next(filter(_has_key, PUBLIC), PUBLIC[0])).rstrip("/")


def logged_in() -> bool:
    """Whether there is a login for the server: in WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE or netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return _has_key(server())


def silent(**settings: Any) -> dict[str, Any]:
    """These and the settings of a run that sends nothing of this machine by itself and prints nothing.

    Those that the installed SDK does not know are left out.
    """
    import wandb

    wanted = {**UNSAID, "silent": True, **settings}
    return {name: value for name, value in wanted.items() if name in wandb.Settings.model_fields}


def _settings_files() -> tuple[Path, Path]:
    """Those of the current folder and of the user; what the first one says wins."""
    root = Path(os.environ.get("WANDB_DIR") or ".").expanduser()
    own = root / ".wandb" if (root / ".wandb").exists() else root / "wandb"
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    return own / "settings", user / "settings"


def _base_url(settings: Path) -> str | None:
    parser = configparser.ConfigParser()
    try:
        parser.read(settings)
        return parser.get("default", "base_url", fallback=None)
    except (OSError, configparser.Error):
        return None


def _has_key(url: str) -> bool:
    """Whether netrc has one for the server; some versions of the SDK keep it with the port, others without."""
    try:
        known = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser())
    except (OSError, netrc.NetrcParseError):
        return False
    parts = urlsplit(url)
    return any(known.authenticators(host) for host in (parts.netloc, parts.hostname) if host)
