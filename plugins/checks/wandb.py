"""Whether Weights & Biases can be used."""

from __future__ import annotations

from harness import CheckResult
from plugins.wandb_sdk import is_installed, logged_in, server


class Login:
    """The SDK, and a login for its server; nothing is sent."""

    def run(self) -> CheckResult:
        if not is_installed():
            return CheckResult(
                False, "not installed; the embedded registry is used", "pip install 'vlm-harness[wandb]'"
            )
        if logged_in():
            return CheckResult(True, f"logged in at {server()}")
        return CheckResult(
            False, f"no login for {server()}; runs stay in the workspace", "`wandb login`, where the team has it"
        )
