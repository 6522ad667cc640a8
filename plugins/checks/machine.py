"""Checks of the machine: what is installed on it, and what it has."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata

from harness import CheckResult, open_session

LIBRARIES = ("torch", "transformers", "datasets", "evaluate", "pycocoevalcap", "accelerate", "wandb")
FULL = 2 * 2**30
"""Bytes under which a disk counts as full."""


class Versions:
    """Python and the libraries that plugins stand on."""

    def run(self) -> CheckResult:
        found = [f"python {platform.python_version()}"]
        for name in ("vlm-harness", *LIBRARIES):
            try:
                found.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                found.append(f"{name} not installed")
        return CheckResult(True, ", ".join(found))


class Gpu:
    """An accelerator that torch can use."""

    def run(self) -> CheckResult:
        import torch

        if not torch.cuda.is_available():
            return CheckResult(False, "none that torch can use; models run on the CPU", "", required=False)
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return CheckResult(True, ", ".join(names))


class Java:
    """Java, which the official caption tokenizer and METEOR are written in."""

    def run(self) -> CheckResult:
        hint = "install a Java runtime, such as Debian's default-jre-headless"
        if shutil.which("java") is None:
            return CheckResult(False, "not installed; caption scores that need it are left out", hint)
        try:
            result = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return CheckResult(False, f"does not run ({error})", hint)
        return CheckResult(True, result.stderr.partition("\n")[0])


class Disk:
    """Room for predictions and checkpoints."""

    def run(self) -> CheckResult:
        with open_session() as session:
            home = session.home.absolute()
        folder = next(path for path in (home, *home.parents) if path.exists())
        free = shutil.disk_usage(folder).free
        detail = f"{free / 2**30:.0f} GiB free in {folder}"
        return CheckResult(free >= FULL, detail, "free some space, or set HARNESS_HOME to another disk", required=True)
