"""Whether Weights & Biases can be used."""

from __future__ import annotations

import importlib.util
import netrc
import os
from urllib.parse import urlsplit

from harness import CheckResult


class Login:
    """The SDK, and a login for its server; nothing is sent."""

    def run(self) -> CheckResult:
        if importlib.util.find_spec("wandb") is None:
            return CheckResult(
                False, "not installed; the embedded registry is used", "pip install 'vlm-harness[wandb]'"
            )
        server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        if os.environ.get("WANDB_API_KEY"):
            return CheckResult(True, f"key for {server} in WANDB_API_KEY")
        try:
            login = netrc.netrc().authenticators(urlsplit(server).hostname or server)
        except (OSError, netrc.NetrcParseError):
            login = None
        if login is not None:
            return CheckResult(True, f"logged in at {server}")
        return CheckResult(
            False, f"no login for {server}; runs stay in the workspace", "`wandb login`, where the team has it"
        )
